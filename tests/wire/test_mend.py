"""Each deviation is refused by at least one official client, and accepted by all once mended."""

from typing import Any

import msgspec
import pytest

from trunkline.errors import GatewayError
from trunkline.events import Usage
from trunkline.wire import openai_chat, openai_text
from trunkline.wire.mend import mend_chunk
from wire.sample import (
    CHAT_STREAMS,
    make_chunk,
    make_stamp,
    open_chat,
    patch,
    play,
    read_case,
    read_frames,
    write_frames,
)
from wire.strict import SSE, ask_chat, find_refusers, read_chat, read_chat_stream, read_text

CLIENTS = {"v4", "v5", "openai"}
GOOD = msgspec.json.decode(read_case("openai/chat.json"))
TOOL = msgspec.json.decode(read_case("openai/tool.json"))
SCORED = msgspec.json.decode(read_case("openai/full.json"))
TEXT = msgspec.json.decode(read_case("openai/text_logprobs.json"))
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHUNK = make_chunk({"role": "assistant", "content": "Hi", "tool_calls": [CALL]}, "stop")
CHOICE = "choices.0"
MESSAGE = "choices.0.message"
TOOLS = "choices.0.message.tool_calls.0"
TOKEN = "choices.0.logprobs.content.0"
DELTA = "choices.0.delta"
PIECE = "choices.0.delta.tool_calls.0"

# (good answer, place of the deviation, what stands there, what stands there once mended)
DEVIATIONS: list[tuple[Any, str, Any, Any]] = [
    (TOOL, f"{CHOICE}.finish_reason", None, "tool_calls"),
    (TOOL, f"{CHOICE}.finish_reason", "", "tool_calls"),
    (GOOD, f"{CHOICE}.finish_reason", "eos", "stop"),
    (GOOD, f"{CHOICE}.finish_reason", "end_turn", "stop"),
    (GOOD, f"{CHOICE}.finish_reason", "MAX_TOKENS", "length"),
    (GOOD, f"{CHOICE}.index", ..., 0),
    (GOOD, f"{CHOICE}.index", None, 0),
    (GOOD, "created", 1741569952.5, 1741569952),
    (GOOD, "created", ..., 1_700_000_000),
    (GOOD, "created", None, 1_700_000_000),
    (GOOD, "created", "yesterday", 1_700_000_000),
    (GOOD, "id", ..., "chatcmpl-stamped"),
    (GOOD, "id", None, "chatcmpl-stamped"),
    (GOOD, "id", 7, "chatcmpl-stamped"),
    (GOOD, "model", ..., "asked/model"),
    (GOOD, "model", None, "asked/model"),
    (GOOD, "object", ..., "chat.completion"),
    (GOOD, "object", "chat.completion.chunk", "chat.completion"),
    (GOOD, "service_tier", "standard", ...),
    (GOOD, "service_tier", "fast", ...),
    (GOOD, "system_fingerprint", 5, ...),
    (GOOD, "usage.total_tokens", ..., 29),
    (GOOD, "usage.total_tokens", None, 29),
    (GOOD, "usage.prompt_tokens", None, 19),
    (GOOD, "usage.completion_tokens", "many", 10),
    (GOOD, "usage", {"total_tokens": 5}, None),
    (GOOD, "usage", "unknown", None),
    (GOOD, "usage.prompt_tokens_details", "none", ...),
    (GOOD, "usage.completion_tokens_details", {"reasoning_tokens": "x", "audio_tokens": 1}, {
        "reasoning_tokens": None,
        "audio_tokens": 1,
    }),
    (GOOD, f"{MESSAGE}.role", ..., "assistant"),
    (GOOD, f"{MESSAGE}.role", "model", "assistant"),
    (GOOD, f"{MESSAGE}.content", [{"type": "text", "text": "a"}, {"text": "b"}, {}], "ab"),
    (GOOD, f"{MESSAGE}.annotations", [{"type": "file", "file": {}}], []),
    (SCORED, f"{MESSAGE}.annotations.0.type", ..., "url_citation"),
    (TOOL, f"{TOOLS}.type", ..., "function"),
    (TOOL, f"{TOOLS}.type", None, "function"),
    (TOOL, f"{TOOLS}.id", ..., "call_chatcmpl-stamped_0"),
    (TOOL, f"{TOOLS}.id", None, "call_chatcmpl-stamped_0"),
    (TOOL, f"{TOOLS}.function.arguments", {"a": [1]}, '{"a":[1]}'),
    (TOOL, f"{TOOLS}.function.arguments", {}, "{}"),
    (TOOL, f"{TOOLS}.function.arguments", None, "{}"),
    (TOOL, f"{TOOLS}.function.arguments", ..., "{}"),
    (GOOD, f"{MESSAGE}.function_call", {"name": "f", "arguments": {}}, {
        "name": "f",
        "arguments": "{}",
    }),
    (SCORED, f"{TOKEN}.top_logprobs", ..., []),
    (SCORED, f"{TOKEN}.top_logprobs", None, []),
    (SCORED, f"{TOKEN}.logprob", None, -9999.0),
    (GOOD, f"{CHOICE}.logprobs", [], ...),
]  # fmt: skip
CHUNK_DEVIATIONS: list[tuple[Any, str, Any, Any]] = [
    (CHUNK, f"{CHOICE}.finish_reason", "eos", "stop"),
    (CHUNK, f"{CHOICE}.finish_reason", "end_turn", "stop"),
    (CHUNK, f"{CHOICE}.index", ..., 0),
    (CHUNK, "created", 1.5, 1),
    (CHUNK, "created", ..., 1_700_000_000),
    (CHUNK, "id", ..., "chatcmpl-stamped"),
    (CHUNK, "model", None, "asked/model"),
    (CHUNK, "object", ..., "chat.completion.chunk"),
    (CHUNK, "object", "chat.completion", "chat.completion.chunk"),
    (CHUNK, "service_tier", "standard", ...),
    (CHUNK, "usage", {"prompt_tokens": 1, "completion_tokens": 2}, {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
    }),
    (CHUNK, DELTA, None, {}),
    (CHUNK, DELTA, ..., {}),
    (CHUNK, f"{DELTA}.role", "", ...),
    (CHUNK, f"{DELTA}.role", "model", ...),
    (CHUNK, f"{DELTA}.content", [{"type": "text", "text": "Hi"}], "Hi"),
    (CHUNK, f"{DELTA}.tool_calls", CALL, [CALL]),
    (CHUNK, f"{PIECE}.index", ..., 0),
    (CHUNK, f"{PIECE}.index", None, 0),
    (CHUNK, f"{PIECE}.type", "", ...),
    (CHUNK, f"{PIECE}.function.arguments", {"a": 1}, '{"a":1}'),
    (CHUNK, f"{CHOICE}.logprobs", {"content": [{"token": "a", "logprob": -1}]}, {
        "content": [{"token": "a", "logprob": -1, "top_logprobs": []}]
    }),
]  # fmt: skip


def name_deviation(value: object) -> str:
    return "absent" if value is ... else str(value)[:30] if not isinstance(value, dict) else "{}"


def list_refusers(body: bytes, *, stream: bool = False) -> set[str]:
    if stream:
        return find_refusers(ask_chat(body, SSE, stream=True))
    return find_refusers(ask_chat(body))


@pytest.mark.parametrize(("good", "path", "bad", "mended"), DEVIATIONS, ids=name_deviation)
def test_a_whole_answer_is_mended(good: Any, path: str, bad: Any, mended: Any) -> None:
    body = msgspec.json.encode(patch(good, path, bad))
    assert list_refusers(body)
    _, payload = openai_chat.read_answer(body, make_stamp())
    assert msgspec.json.decode(payload) == patch(good, path, mended)
    assert set(read_chat(payload)) == CLIENTS


@pytest.mark.parametrize(("good", "path", "bad", "mended"), CHUNK_DEVIATIONS, ids=name_deviation)
def test_a_chunk_is_mended(good: Any, path: str, bad: Any, mended: Any) -> None:
    stream = write_frames(patch(good, path, bad))
    assert list_refusers(stream, stream=True)
    out = play(open_chat(), stream)
    assert list(read_frames(out)) == [patch(good, path, mended)]
    assert {name: len(chunks) for name, chunks in read_chat_stream(out).items()} == dict.fromkeys(
        CLIENTS, 1
    )


@pytest.mark.parametrize(
    "name",
    [
        "openai/chat.json",
        "openai/tool.json",
        "openai/full.json",
        "llama_cpp/chat.json",
        "llama_cpp/chat_logprobs.json",
    ],
)
def test_a_good_answer_is_forwarded_byte_for_byte(name: str) -> None:
    body = read_case(name)
    _, payload = openai_chat.read_answer(body, make_stamp())
    assert payload is body
    assert set(read_chat(payload)) == CLIENTS


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_every_recorded_stream_passes_all_clients(name: str) -> None:
    out = play(open_chat(include_usage=True), read_case(name))
    frames = len(list(read_frames(out)))
    chunks = read_chat_stream(out)
    assert {client: len(seen) for client, seen in chunks.items()} == dict.fromkeys(CLIENTS, frames)


@pytest.mark.parametrize("top", [{"a": -1.5}, None])
def test_legacy_log_probabilities_become_chats(top: Any) -> None:
    lists = {"tokens": ["a", "b"], "token_logprobs": [-1.5, None, -3], "top_logprobs": [top]}
    body = msgspec.json.encode(patch(GOOD, f"{CHOICE}.logprobs", lists))
    _, payload = openai_chat.read_answer(body, make_stamp())
    for answer in read_chat(payload).values():
        first, second = answer.choices[0].logprobs.content
        assert (first.token, first.logprob, second.token, second.logprob) == ("a", -1.5, "b", -9999)
        assert [each.token for each in first.top_logprobs] == (["a"] if top else [])


def test_everything_at_once() -> None:
    body = b'{"choices":[{"message":{},"finish_reason":"eos"}]}'
    _, payload = openai_chat.read_answer(body, make_stamp())
    for answer in read_chat(payload).values():
        assert answer.choices[0].finish_reason == "stop"
    chunk = b'{"choices":[{}]}'
    _, payload = openai_chat.read_chunk(chunk, make_stamp())
    assert msgspec.json.decode(payload)["choices"] == [
        {"index": 0, "delta": {}, "finish_reason": None}
    ]


def test_unknown_fields_stay_where_others_are_mended() -> None:
    body = msgspec.json.encode(patch(SCORED, "created", ...))
    _, payload = openai_chat.read_answer(body, make_stamp())
    mended = msgspec.json.decode(payload)
    assert mended["provider"] == SCORED["provider"]
    assert mended["usage"] == SCORED["usage"]
    assert mended["choices"] == SCORED["choices"]


@pytest.mark.parametrize("body", [b"{}", b'{"detail":"Not Found"}', b'{"choices":null}'])
def test_an_object_without_choices_is_no_answer(body: bytes) -> None:
    for read in (openai_chat.read_answer, openai_text.read_answer):
        with pytest.raises(GatewayError) as caught:
            read(body, make_stamp())
        assert caught.value.code == "upstream_error"


def place_calls(*deltas: list[dict[str, Any]]) -> list[int]:
    """The indices that tool call pieces without one are given, a chunk a list."""
    stream = write_frames(*(make_chunk({"tool_calls": calls}) for calls in deltas))
    frames = read_frames(play(open_chat(), stream + write_frames(make_chunk({}, "length"))))
    return [
        call["index"]
        for frame in frames
        for call in frame["choices"][0]["delta"].get("tool_calls", ())
    ]


def test_tool_calls_without_index_are_kept_apart() -> None:
    def begin(name: str | None) -> dict[str, Any]:
        return {"id": name, "function": {"name": "f", "arguments": "{}"}}

    more = {"function": {"arguments": "{}"}}
    assert place_calls([begin("a"), begin("b")]) == [0, 1]
    assert place_calls([begin("a")], [begin("b")], [begin("a")]) == [0, 1, 0]
    assert place_calls([begin("")], [begin("")]) == [0, 1]
    assert place_calls([begin(None)], [begin(None)]) == [0, 1]
    assert place_calls([begin("a")], [more], [begin("b")], [more]) == [0, 0, 1, 1]
    assert place_calls([more]) == [0]


def test_recorded_tool_calls_without_index_are_kept_apart() -> None:
    out = play(open_chat(), read_case("provider/gemini_tool.sse"))
    calls = [
        call
        for chunk in read_chat_stream(out)["openai"]
        for call in chunk.choices[0].delta.tool_calls or ()
    ]
    assert [(call.index, call.function.arguments) for call in calls] == [
        (0, '{"city":"Oslo"}'),
        (1, '{"city":"Rome"}'),
    ]


@pytest.mark.parametrize("count", ["10", 10.0, 10.5])
def test_counts_that_can_be_read_are_kept(count: object) -> None:
    body = msgspec.json.encode(patch(GOOD, "usage.completion_tokens", count))
    answer, payload = openai_chat.read_answer(body, make_stamp())
    assert msgspec.json.decode(payload) == GOOD
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 10


TEXT_DEVIATIONS: list[tuple[str, Any, Any]] = [
    (f"{CHOICE}.finish_reason", "eos", "stop"),
    (f"{CHOICE}.finish_reason", "tool_calls", "stop"),
    (f"{CHOICE}.finish_reason", "max_tokens", "length"),
    (f"{CHOICE}.index", ..., 0),
    (f"{CHOICE}.text", None, ""),
    ("created", 1.5, 1),
    ("id", ..., "chatcmpl-stamped"),
    ("object", "chat.completion", "text_completion"),
    ("usage.total_tokens", ..., 12),
]


@pytest.mark.parametrize(("path", "bad", "mended"), TEXT_DEVIATIONS, ids=name_deviation)
def test_a_legacy_text_answer_is_mended(path: str, bad: Any, mended: Any) -> None:
    body = msgspec.json.encode(patch(TEXT, path, bad))
    _, payload = openai_text.read_answer(body, make_stamp())
    assert msgspec.json.decode(payload) == patch(TEXT, path, mended)
    assert read_text(payload).choices[0].finish_reason in {"stop", "length"}


def test_chats_log_probabilities_become_the_legacy_lists() -> None:
    _, payload = openai_text.read_answer(read_case("llama_cpp/text_logprobs.json"), make_stamp())
    scored = read_text(payload).choices[0].logprobs
    assert scored.tokens == [" a", " canvas", " of"]
    assert scored.token_logprobs == [-1.1734780073165894, -1.4393419027328491, -0.8504153490066528]
    assert scored.text_offset == [0, 2, 9]
    assert [len(top) for top in scored.top_logprobs] == [2, 2, 2]


@pytest.mark.parametrize(
    ("prompt", "completion", "total", "counted"),
    [
        (19, 10, 29, (19, 10, 29)),
        (32, 9, 135, (32, 103, 135)),  # thoughts beside the completion
        (21, 0, 81, (21, 60, 81)),
        (19, 10, 0, (19, 10, 29)),
        (19, 10, 28, (19, 10, 29)),
        (19, None, 29, (19, 10, 29)),
        (19, None, None, (19, 0, 19)),
        (None, 10, 29, (19, 10, 29)),
        (None, 10, None, (0, 10, 10)),
        (None, 10, 5, (0, 10, 10)),
    ],
)
def test_a_total_is_the_sum(prompt: Any, completion: Any, total: Any, counted: Any) -> None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    usage = dict(zip(names, (prompt, completion, total), strict=True))
    for read, good in ((openai_chat.read_answer, GOOD), (openai_text.read_answer, TEXT)):
        body = msgspec.json.encode({**good, "usage": usage})
        answer, payload = read(body, make_stamp())
        assert answer.usage == Usage(*counted)
        assert [msgspec.json.decode(payload)["usage"][name] for name in names] == list(counted)
        assert (payload is body) == ((prompt, completion, total) == counted)


def test_a_streams_usage_is_mended_too() -> None:
    reply = open_chat(include_usage=True)
    *_, last = read_frames(play(reply, read_case("provider/xai.sse")))
    assert reply.usage is not None
    assert (reply.usage.completion_tokens, reply.usage.total_tokens) == (103, 135)
    assert last["usage"]["completion_tokens"] == 103
    assert last["usage"]["num_sources_used"] == 0


def thinking(*texts: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text} for text in texts]}


# (what an upstream adds to the message or delta, what the client gets of it)
THOUGHTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"reasoning": "Hm"}, {"reasoning_content": "Hm"}),
    ({"reasoning": "Hm", "reasoning_content": "Hm"}, {"reasoning_content": "Hm"}),
    ({"reasoning": "Hm", "reasoning_content": None}, {"reasoning_content": "Hm"}),
    ({"reasoning": "Hm", "reasoning_content": ""}, {"reasoning_content": "Hm"}),
    ({"reasoning": [{"type": "text", "text": "Hm"}]}, {"reasoning_content": "Hm"}),
    ({"reasoning": ""}, {}),
    ({"reasoning": {"effort": "low"}}, {}),
    ({"reasoning_content": ["Hm"]}, {}),
    ({"reasoning_content": [{"text": "H"}, {"text": "m"}]}, {"reasoning_content": "Hm"}),
    ({"content": [thinking("H", "m")]}, {"content": "", "reasoning_content": "Hm"}),
    (
        {"content": [thinking("H"), {"type": "text", "text": "Yes"}, thinking("m")]},
        {"content": "Yes", "reasoning_content": "Hm"},
    ),
    (
        {"content": [{"type": "thinking", "thinking": "Hm"}, {"type": "reference"}, 5]},
        {"content": "", "reasoning_content": "Hm"},
    ),
    ({"content": [{"type": "thinking", "thinking": 5}]}, {"content": ""}),
]


@pytest.mark.parametrize(("added", "got"), THOUGHTS, ids=str)
def test_thoughts_go_by_one_name(added: dict[str, Any], got: dict[str, Any]) -> None:
    for kind, good in (("message", GOOD), ("delta", CHUNK)):
        place = good["choices"][0][kind]
        body = msgspec.json.encode(patch(good, f"choices.0.{kind}", {**place, **added}))
        read = openai_chat.read_answer if kind == "message" else openai_chat.read_chunk
        _, payload = read(body, make_stamp())
        assert msgspec.json.decode(payload)["choices"][0][kind] == {**place, **got}


@pytest.mark.parametrize(("added", "got"), THOUGHTS, ids=str)
def test_the_short_way_of_a_thought_is_the_long_one(added: Any, got: Any) -> None:
    elsewhere = {"more": {"reasoning": "Hm"}}
    for chunk in (make_chunk(added), make_chunk(added, **elsewhere), make_chunk({}, **elsewhere)):
        body = msgspec.json.encode(chunk)
        assert msgspec.json.decode(openai_chat.read_chunk(body, make_stamp())[1]) == mend_chunk(
            msgspec.json.decode(body), make_stamp()
        )


@pytest.mark.parametrize("name", ["mistral", "openrouter", "vllm", "xai"])
def test_every_client_reads_the_thoughts_of_a_recorded_stream(name: str) -> None:
    out = play(open_chat(), read_case(f"provider/{name}.sse"))
    for chunks in read_chat_stream(out).values():
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
        thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
        assert thought in {
            "Two and three. Done.", "Let me see.", "Two and thrée.", "Two and three."
        }  # fmt: skip
        assert "".join(delta.content or "" for delta in deltas).startswith("Five")
    assert b'"reasoning":' not in out
