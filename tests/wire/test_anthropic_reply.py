import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.events import Began, Event, Finish, TextDelta, ToolDelta, Usage
from trunkline.wire.anthropic_reply import MessageReader, read_message
from wire.anthropic_sample import (
    REPLIES,
    decode_content,
    fold_stream,
    open_pair,
    read_expected,
    read_reply,
    show_answer,
)
from wire.sample import any_json, fail, may_fail, patch, play, some_examples, split
from wire.strict import read_chat, read_chat_stream

START = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}
STOP = {"type": "message_stop"}


def write(*events: Any, named: bool = True) -> bytes:
    """A stream of these events."""
    return b"".join(
        (b"event: " + str(event["type"]).encode() + b"\n" if named else b"")
        + b"data: "
        + msgspec.json.encode(event)
        + b"\n\n"
        for event in events
    )


def make_delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    delta = {"type": kind, **fields}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def make_start(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    block = {"type": kind, **fields}
    return {"type": "content_block_start", "index": index, "content_block": block}


def make_end(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def read(*events: Any, answer: str = "") -> list[Event]:
    reader = MessageReader(answer)
    return [*reader.feed(write(*events)), *reader.finish()]


@pytest.mark.parametrize("name", REPLIES)
def test_a_stream_is_what_was_expected(name: str) -> None:
    stream = play(open_pair(name).open_stream(), read_reply(f"{name}.sse"))
    assert decode_content(fold_stream(stream), name) == read_expected(name)
    read_chat_stream(stream)


@pytest.mark.parametrize("name", REPLIES)
def test_a_whole_answer_is_the_same(name: str) -> None:
    answer = open_pair(name).read_answer(read_reply(f"{name}.json"))
    expected = read_expected(name)
    assert decode_content(show_answer(answer.body), name) == expected
    assert answer.finish_reason == expected["finish_reason"]
    read_chat(answer.body)


@pytest.mark.parametrize("name", REPLIES)
def test_byte_by_byte_is_the_same(name: str) -> None:
    data = read_reply(f"{name}.sse")
    whole = play(open_pair(name).open_stream(), data)
    pieces = [bytes([byte]) for byte in data]
    assert play(open_pair(name).open_stream(), *pieces) == whole


@some_examples
@given(st.sampled_from(REPLIES), st.lists(st.integers(0, 5000), max_size=6))
def test_any_chunking_is_the_same(name: str, places: list[int]) -> None:
    data = read_reply(f"{name}.sse")
    whole = play(open_pair(name).open_stream(), data)
    assert play(open_pair(name).open_stream(), *split(data, *places)) == whole


@pytest.mark.parametrize("name", REPLIES)
def test_a_cut_anywhere_is_an_error(name: str) -> None:
    data = read_reply(f"{name}.sse")
    whole = play(open_pair(name).open_stream(), data)
    end = data.index(b"}", data.index(b"event: message_stop")) + 1
    for cut in range(0, end, 7 if len(data) > 3000 else 3):
        got, error = fail(open_pair(name).open_stream(), data[:cut])
        assert error.code == "upstream_error"
        assert whole.startswith(got)
    assert play(open_pair(name).open_stream(), data[:end]) == whole


def test_events_without_a_name_are_known_by_their_type() -> None:
    data = write(
        START,
        make_start(0, "text", text=""),
        make_delta(0, "text_delta", text="Hi"),
        make_end(output_tokens=2),
        STOP,
        named=False,
    )
    reader = MessageReader()
    events = [*reader.feed(data), *reader.finish()]
    assert events[-1] == Finish("stop", "end_turn")
    assert TextDelta("Hi") in events


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "stop"),
        ("made_up", "stop"),
    ],
)
def test_why_it_ended(word: str, reason: str) -> None:
    assert read(START, make_end(word), STOP)[-1] == Finish(reason, word)  # type: ignore[arg-type]
    body = msgspec.json.encode({"content": [], "stop_reason": word})
    assert list(read_message(body))[-1] == Finish(reason, word)  # type: ignore[arg-type]


def test_an_end_needs_a_reason_and_a_stop() -> None:
    for events in ([START], [START, STOP], [START, make_end(None), STOP], [START, make_end()]):
        with pytest.raises(GatewayError) as caught:
            read(*events)
        assert caught.value.code == "upstream_error"
    with pytest.raises(GatewayError) as whole:
        open_pair().read_answer(b'{"content":[]}')
    assert whole.value.code == "upstream_error"


@pytest.mark.parametrize(
    ("kind", "code"),
    [("overloaded_error", "overloaded"), ("api_error", "upstream_error")],
)
def test_an_error_inside_a_reply_ends_it(kind: str, code: str) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "secret"}}
    data = write(START, make_delta(0, "text_delta", text="Hi"), error, make_end(), STOP)
    got, failure = fail(open_pair().open_stream(), data)
    assert failure.code == code
    assert b"Hi" in got
    with pytest.raises(GatewayError) as caught:
        open_pair().read_answer(msgspec.json.encode(error))
    assert caught.value.code == code


def test_another_servers_error_inside_a_stream_is_one() -> None:
    bare = b'event: error\ndata: {"code":500,"message":"secret","type":"server_error"}\n\n'
    got, failure = fail(open_pair().open_stream(), write(START), bare)
    assert (got, failure.code) == (b"", "upstream_error")
    assert "secret" not in failure.message


def test_another_servers_error_inside_a_200_is_one() -> None:
    for body in (b'{"error":{"code":500,"message":"no"}}', b'{"error":"no"}', b"[]", b"<html>"):
        with pytest.raises(GatewayError) as caught:
            open_pair().read_answer(body)
        assert caught.value.code == "upstream_error"


@pytest.mark.parametrize(
    "event",
    [
        make_delta(0, "text_delta", text=5),
        make_delta(0, "text_delta"),
        make_delta(0, "input_json_delta", partial_json={}),
        {"type": "content_block_delta", "index": 0},
        {"type": "content_block_start", "index": 0},
        make_start(0, "tool_use", id="a", name=5),
        {"type": "message_delta", "delta": 5},
    ],
)
def test_a_known_part_of_a_wrong_type_is_an_upstream_error(event: Any) -> None:
    _, failure = fail(open_pair().open_stream(), write(START, event, make_end(), STOP))
    assert failure.code == "upstream_error"


def test_a_call_told_at_once_is_told_in_full() -> None:
    events = read(
        START,
        make_start(0, "tool_use", id="a", name="f", input={"a": [1, 2.50]}),
        {"type": "content_block_stop", "index": 0},
        make_start(1, "tool_use", id="b", name="g"),
        make_end("tool_use"),
        STOP,
    )
    pieces = [event for event in events if isinstance(event, ToolDelta)]
    assert pieces == [ToolDelta(0, '{"a":[1,2.5]}'), ToolDelta(1, "{}")]
    assert events[-1] == Finish("tool_calls", "tool_use")


@pytest.mark.parametrize("given", ['"{\\"city\\": \\"Par"', "[]", "7", "true"])
def test_arguments_that_are_no_object_are_an_error(given: str) -> None:
    block = f'{{"type":"tool_use","id":"a","name":"f","input":{given}}}'
    body = f'{{"content":[{block}],"stop_reason":"tool_use"}}'.encode()
    with pytest.raises(GatewayError) as caught:
        list(read_message(body))
    assert caught.value.code == "upstream_error"


def test_arguments_keep_every_digit() -> None:
    number = "123456789012345678901234567890.10"
    block = f'{{"type":"tool_use","id":"a","name":"f","input":{{"a": {number}}}}}'
    body = f'{{"content":[{block}],"stop_reason":"tool_use"}}'.encode()
    assert ToolDelta(0, f'{{"a": {number}}}') in list(read_message(body))


def test_counts_only_grow() -> None:
    events = read(
        START,
        make_end(None, input_tokens=0, output_tokens=5),
        make_end(input_tokens=9, cache_read_input_tokens=4, output_tokens=7),
        STOP,
    )
    usages = [event for event in events if isinstance(event, Usage)]
    counts = [(usage.prompt_tokens, usage.completion_tokens) for usage in usages]
    assert counts == [(3, 1), (3, 5), (13, 7)]
    assert usages[-1].total_tokens == 20


def test_without_input_tokens_nothing_is_counted() -> None:
    events = read({"type": "message_start", "message": {}}, make_end(output_tokens=5), STOP)
    assert events == [Began(), Finish("stop", "end_turn")]


def test_words_beside_the_answers_tool_are_kept_in_order() -> None:
    events = read(
        START,
        make_start(0, "tool_use", id="a", name="json_answer"),
        make_delta(0, "input_json_delta", partial_json='{"a":'),
        make_delta(0, "input_json_delta", partial_json="1}"),
        {"type": "content_block_stop", "index": 0},
        make_start(1, "tool_use", id="b", name="f"),
        make_end("tool_use"),
        STOP,
        answer="json_answer",
    )
    assert [event.text for event in events if isinstance(event, TextDelta)] == ['{"a":', "1}"]
    assert events[-1] == Finish("tool_calls", "tool_use")


def test_an_answer_without_fields_is_an_object() -> None:
    events = read(
        START,
        make_start(0, "tool_use", id="a", name="json_answer", input={}),
        {"type": "content_block_stop", "index": 0},
        make_end("tool_use"),
        STOP,
        answer="json_answer",
    )
    assert TextDelta("{}") in events
    assert events[-1] == Finish("stop", "tool_use")


STREAM = [
    START,
    make_start(0, "thinking", thinking="", signature=""),
    make_delta(0, "thinking_delta", thinking="Hm."),
    make_delta(0, "signature_delta", signature="s"),
    {"type": "content_block_stop", "index": 0},
    make_start(1, "text", text="", citations=[]),
    make_delta(1, "text_delta", text="Hi"),
    make_delta(1, "citations_delta", citation={"url": "https://example.com", "title": "t"}),
    {"type": "content_block_stop", "index": 1},
    make_start(2, "tool_use", id="a", name="f", input={}),
    make_delta(2, "input_json_delta", partial_json="{}"),
    {"type": "content_block_stop", "index": 2},
    make_end(output_tokens=3),
    STOP,
]
PATHS = [
    "type",
    "index",
    "delta",
    "usage",
    "message",
    "message.usage",
    "message.usage.input_tokens",
    "content_block",
    "content_block.type",
    "content_block.text",
    "content_block.name",
    "content_block.input",
    "content_block.citations",
    "delta.type",
    "delta.text",
    "delta.partial_json",
    "delta.citation",
    "delta.citation.url",
    "delta.citation.title",
    "delta.stop_reason",
    "delta.stop_details",
]


@some_examples
@given(st.integers(0, len(STREAM) - 1), st.sampled_from(PATHS), any_json)
def test_a_wrong_part_is_an_upstream_error_or_passed_over(at: int, path: str, value: Any) -> None:
    events = [*STREAM]
    try:
        events[at] = patch(events[at], path, value)
    except (KeyError, TypeError):
        return
    names = [event["type"] for event in STREAM]
    data = b"".join(
        b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"
        for name, event in zip(names, events, strict=True)
    )
    with may_fail("upstream_error"):
        stream = play(open_pair().open_stream(), data)
        assert fold_stream(stream)["finish_reason"]


@some_examples
@given(st.sampled_from(REPLIES), st.sampled_from(["content", "stop_reason", "usage", "id", "model",
       "content.0", "content.0.type", "content.0.text", "content.0.input"]), any_json)  # fmt: skip
def test_a_wrong_whole_answer_likewise(name: str, path: str, value: Any) -> None:
    whole = msgspec.json.decode(read_reply(f"{name}.json"))
    try:
        broken = patch(whole, path, value)
    except LookupError:
        return
    with may_fail("upstream_error"):
        read_chat(open_pair().read_answer(msgspec.json.encode(broken)).body)


texts = st.lists(st.text(), min_size=1, max_size=5)
inputs = st.dictionaries(st.text(), any_json, max_size=3)


@some_examples
@given(texts, st.lists(inputs, max_size=3), st.lists(st.integers(0, 3000), max_size=4))
def test_streamed_and_whole_say_the_same(
    pieces: list[str], calls: list[Any], places: list[int]
) -> None:
    content: list[Any] = [{"type": "text", "text": "".join(pieces)}]
    events: list[Any] = [START, make_start(0, "text", text="")]
    events += [make_delta(0, "text_delta", text=piece) for piece in pieces]
    events.append({"type": "content_block_stop", "index": 0})
    for at, given_input in enumerate(calls, 1):
        block = {"type": "tool_use", "id": f"t{at}", "name": "f"}
        content.append({**block, "input": given_input})
        events.append({"type": "content_block_start", "index": at, "content_block": block})
        written = msgspec.json.encode(given_input).decode()
        for start, end in itertools.pairwise([0, len(written) // 2, len(written)]):
            piece = written[start:end]
            events.append(make_delta(at, "input_json_delta", partial_json=piece))
        events.append({"type": "content_block_stop", "index": at})
    reason = "tool_use" if calls else "end_turn"
    usage = {"input_tokens": 3, "output_tokens": 9}
    whole = {"content": content, "stop_reason": reason, "usage": usage}
    stream = write(*events, make_end(reason, output_tokens=9), STOP)
    folded = fold_stream(play(open_pair().open_stream(), *split(stream, *places)))
    answered = show_answer(open_pair().read_answer(msgspec.json.encode(whole)).body)
    assert folded == answered
