from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import Reasoning, Text, ToolUse
from trunkline.errors import GatewayError
from trunkline.events import (
    Began,
    Citation,
    Event,
    Finish,
    FinishReason,
    PromptDetails,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    ToolStart,
    Usage,
)
from trunkline.wire.openai_write import ChatWriter
from wire.asked import HI, read
from wire.sample import make_stamp, read_frames, some_examples
from wire.strict import read_chat, read_chat_stream

USAGE = Usage(3, 2, 5, PromptDetails(cached_tokens=1))
STOP = Finish("stop", "end_turn")
CALLS: list[Event] = [
    ToolStart(0, "c1", "weather", "sig"),
    ToolDelta(0, '{"city":'),
    ToolDelta(0, '"Oslo"}'),
    ToolStart(1, "c2", "time"),
    ToolDelta(1, "{}"),
]


def open_writer(
    *, legacy: bool = False, done: bool = False, include_usage: bool = False
) -> ChatWriter:
    return ChatWriter(make_stamp(), legacy=legacy, done=done, include_usage=include_usage)


def stream(events: Sequence[Event], **options: bool) -> bytes:
    writer = open_writer(**options)
    return b"".join([*(writer.write(event) for event in events), writer.end()])


def answer(events: Sequence[Event], **options: bool) -> Any:
    return msgspec.json.decode(open_writer(**options).write_answer(events).body)


def fold(out: bytes) -> list[Any]:
    """The choices that a client puts together of a stream."""
    choices: dict[int, Any] = {}
    for frame in read_frames(out):
        for piece in frame["choices"]:
            choice = choices.setdefault(
                piece["index"], {"index": piece["index"], "message": {"content": None}}
            )
            choice["logprobs"], choice["finish_reason"] = None, piece["finish_reason"]
            add(choice["message"], piece["delta"])
    return [choices[index] for index in sorted(choices)]


def add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            for call in value:
                slot = call.pop("index")
                calls = message.setdefault(name, [])
                if slot < len(calls):
                    calls[slot]["function"]["arguments"] += call["function"]["arguments"]
                else:
                    calls.append(call)
        elif name == "function_call":
            call = message.setdefault(name, {"name": "", "arguments": ""})
            for key, text in value.items():
                call[key] += text
        elif message.get(name) is None:
            message[name] = value
        else:
            message[name] = message[name] + value


def test_a_streamed_text_is_what_openai_would_send() -> None:
    events: list[Event] = [Began("up-1", "up"), TextDelta("Grüße"), TextDelta("! 👋"), USAGE, STOP]
    head = {
        "id": "chatcmpl-stamped",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "asked/model",
    }

    def choice(delta: Any, reason: Any = None) -> Any:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}

    frames = [
        {**head, "choices": [choice({"role": "assistant", "content": "Grüße"})]},
        {**head, "choices": [choice({"content": "! 👋"})]},
        {**head, "choices": [choice({}, "stop")]},
    ]
    assert list(read_frames(stream(events))) == frames
    *first, last, done = read_frames(stream(events, done=True, include_usage=True))
    assert (first, done) == (frames, "[DONE]")
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 5)
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 1


def test_a_whole_text_is_what_openai_would_send() -> None:
    written = open_writer().write_answer([TextDelta("Hi"), TextDelta("!"), USAGE, STOP])
    assert (written.usage, written.finish_reason) == (USAGE, "stop")
    assert msgspec.json.decode(written.body) == {
        "id": "chatcmpl-stamped",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "asked/model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi!"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": msgspec.to_builtins(USAGE),
    }
    assert answer([TextDelta("Hi"), STOP])["usage"] is None


def test_two_calls_pass_every_client_streamed_and_whole() -> None:
    events: list[Event] = [TextDelta("Look"), *CALLS, STOP]
    for seen in read_chat(open_writer().write_answer(events).body).values():
        choice = seen.choices[0]
        assert choice.finish_reason == "tool_calls"
        assert [
            (call.id, call.type, call.function.name, call.function.arguments)
            for call in choice.message.tool_calls
        ] == [("c1", "function", "weather", '{"city":"Oslo"}'), ("c2", "function", "time", "{}")]
    for chunks in read_chat_stream(stream(events)).values():
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        assert [call.index for call in calls] == [0, 0, 0, 1, 1]
        assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_thoughts_with_their_seals_come_back_as_they_went_out() -> None:
    events: list[Event] = [
        ReasoningDelta("H"),
        ReasoningDelta("m"),
        ReasoningSeal("sig-1"),
        ReasoningSeal(redacted="xyz"),
        ReasoningDelta("So"),
        ReasoningSeal("sig-2"),
        TextDelta("Look"),
        *CALLS,
        Finish("tool_calls", "tool_use"),
    ]
    message = answer(events)["choices"][0]["message"]
    assert message["reasoning_content"] == "HmSo"
    told = read(HI, message, *({**HI, "role": "tool", "tool_call_id": c} for c in ("c1", "c2")))
    assert told.turns[1].parts == (
        Reasoning("Hm", "sig-1"),
        Reasoning(redacted="xyz"),
        Reasoning("So", "sig-2"),
        Text("Look"),
        ToolUse("c1", "weather", '{"city":"Oslo"}', "sig"),
        ToolUse("c2", "time", "{}"),
    )
    assert fold(stream(events))[0]["message"] == message
    for seen in read_chat_stream(stream(events)).values():
        assert seen[0].choices[0].delta.reasoning_content == "H"


def test_a_citation_and_a_refusal_pass_every_client() -> None:
    cited: list[Event] = [TextDelta("There"), Citation("https://e.test", "E", 0, 5), STOP]
    for seen in read_chat(open_writer().write_answer(cited).body).values():
        [note] = seen.choices[0].message.annotations
        where = note.url_citation
        assert (note.type, where.url, where.title) == ("url_citation", "https://e.test", "E")
        assert (where.start_index, where.end_index) == (0, 5)
    assert len(read_chat_stream(stream(cited))["v5"]) == 3
    refused: list[Event] = [
        RefusalDelta("I "),
        RefusalDelta("won't."),
        Finish("content_filter", "refusal"),
    ]
    for seen in read_chat(open_writer().write_answer(refused).body).values():
        choice = seen.choices[0]
        assert (choice.message.refusal, choice.message.content) == ("I won't.", None)
        assert choice.finish_reason == "content_filter"
    assert fold(stream(refused))[0]["message"]["refusal"] == "I won't."


def test_a_legacy_client_is_told_of_the_first_call_in_its_words() -> None:
    events: list[Event] = [*CALLS, Finish("tool_calls", "tool_use")]
    for seen in read_chat(open_writer(legacy=True).write_answer(events).body).values():
        choice = seen.choices[0]
        assert choice.finish_reason == "function_call"
        assert choice.message.tool_calls is None
        called = choice.message.function_call
        assert (called.name, called.arguments) == ("weather", '{"city":"Oslo"}')
    out = stream(events, legacy=True)
    assert fold(out) == answer(events, legacy=True)["choices"]
    assert len(read_chat_stream(out)["openai"]) == 4


@pytest.mark.parametrize(
    ("reason", "called", "told"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("tool_calls", True, "tool_calls"),
        ("length", True, "length"),
        ("content_filter", True, "content_filter"),
    ],
)
def test_a_call_ends_a_turn_whatever_the_vendor_says(
    reason: Any, told: str, *, called: bool
) -> None:
    events: list[Event] = [TextDelta("a"), *(CALLS if called else []), Finish(reason, "x")]
    assert answer(events)["choices"][0]["finish_reason"] == told
    assert fold(stream(events))[0]["finish_reason"] == told
    assert open_writer().write_answer(events).finish_reason == told


@pytest.mark.parametrize(
    "events",
    [
        [],
        [TextDelta("a")],
        [TextDelta("a"), USAGE],
        [TextDelta("a"), STOP, TextDelta("b", 1)],
        [TextDelta("a", 1), STOP],
    ],
)
def test_an_alternative_without_a_finish_reason_is_no_answer(events: list[Event]) -> None:
    for write in (stream, answer):
        with pytest.raises(GatewayError) as caught:
            write(events)
        assert caught.value.code == "upstream_error"


def test_an_answer_of_nothing_is_an_empty_text() -> None:
    assert answer([STOP])["choices"][0]["message"] == {"role": "assistant", "content": ""}
    [frame] = read_frames(stream([STOP]))
    assert frame["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(read_chat_stream(stream([STOP]))["v4"]) == 1


def test_alternatives_are_kept_apart() -> None:
    events: list[Event] = [
        TextDelta("a", 1),
        ReasoningDelta("Hm", 0),
        TextDelta("b", 0),
        ReasoningSeal("sig", index=0),
        ToolStart(0, "c", "f", index=1),
        Finish("length", "", 1),
        Finish("stop", "", 0),
    ]
    zero, one = answer(events)["choices"]
    assert zero["message"]["thinking_blocks"][0]["thinking"] == "Hm"
    assert (zero["message"]["content"], zero["finish_reason"]) == ("b", "stop")
    assert (one["message"]["content"], one["finish_reason"]) == ("a", "length")
    assert one["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": ""}
    assert fold(stream(events)) == [zero, one]


words = st.text(max_size=4)


@st.composite
def replies(draw: st.DrawFn) -> list[Event]:
    """Events of one to three alternatives, interleaved as an upstream may."""
    count = draw(st.integers(1, 3))
    open_calls = [0] * count
    events: list[Event] = []
    for _ in range(draw(st.integers(0, 12))):
        index = draw(st.integers(0, count - 1))
        kind = draw(st.sampled_from(["text", "thought", "seal", "call", "refusal", "note"]))
        if kind == "text":
            events.append(TextDelta(draw(words), index))
        elif kind == "thought":
            events.append(ReasoningDelta(draw(words), index))
        elif kind == "seal":
            events.append(ReasoningSeal(draw(words), draw(words), index))
        elif kind == "refusal":
            events.append(RefusalDelta(draw(words), index))
        elif kind == "note":
            events.append(Citation("https://e.test", draw(words), 0, 1, index))
        else:
            slot, open_calls[index] = open_calls[index], open_calls[index] + 1
            events.append(ToolStart(slot, f"c{slot}", "f", draw(words), index))
            pieces = draw(st.sampled_from([("{}",), ('{"a', '":1}'), ("[", "", "2]")]))
            events += [ToolDelta(slot, piece, index) for piece in pieces]
    reasons: st.SearchStrategy[FinishReason] = st.sampled_from(["stop", "length", "content_filter"])
    return [*events, USAGE, *(Finish(draw(reasons), "x", index) for index in range(count))]


@some_examples
@given(replies(), st.booleans())
def test_a_stream_put_together_is_the_whole_answer(events: list[Event], legacy: bool) -> None:
    whole, out = answer(events, legacy=legacy), stream(events, legacy=legacy)
    assert fold(out) == whole["choices"]
    assert whole["usage"]["total_tokens"] == 5


@some_examples
@given(replies(), st.booleans())
def test_every_client_takes_any_reply(events: list[Event], legacy: bool) -> None:
    whole = open_writer(legacy=legacy).write_answer(events).body
    assert set(read_chat(whole)) == {"v4", "v5", "openai"}
    out = stream(events, legacy=legacy, include_usage=True)
    frames = len(list(read_frames(out)))
    assert {len(chunks) for chunks in read_chat_stream(out).values()} == {frames}
