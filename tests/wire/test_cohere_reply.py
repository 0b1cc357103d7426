from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire import cohere_request
from trunkline.wire.cohere_reply import read_said
from trunkline.wire.translate import TranslatedPair
from trunkline.wire.upstream_failure import read_failure
from wire.sample import any_json, fail, may_fail, patch, play, read_frames, some_examples, split
from wire.strict import read_chat, read_chat_stream
from wire.translated import (
    ASKED,
    list_cases,
    load_case,
    make_chat,
    make_pair,
    see_stream,
    see_whole,
    translate,
)

FOLDER = "cohere/reply"
NAMES = list_cases(FOLDER)
TOOLS = [{"type": "function", "function": {"name": "f"}}]
FORM = {"tools": TOOLS, "response_format": {"type": "json_object"}}


def open_pair(*, answer: bool = False) -> TranslatedPair:
    chat = make_chat(ASKED | (FORM if answer else {}))
    return make_pair(translate(cohere_request, chat, "command-a-03-2025")[0])


def write_event(event: Any) -> bytes:
    kind = event["type"] if isinstance(event, dict) else "odd"
    return b"event: %b\ndata: %b\n\n" % (str(kind).encode(), msgspec.json.encode(event))


def write_stream(case: dict[str, Any]) -> bytes:
    return b"".join(write_event(event) for event in case["stream"])


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_answer_is_what_the_client_shall_see(name: str) -> None:
    case = load_case(FOLDER, name)
    answer = open_pair(answer="answer" in case).read_answer(msgspec.json.encode(case["whole"]))
    assert see_whole(answer.body) == case["client"]
    for seen in read_chat(answer.body).values():
        assert seen.choices[0].finish_reason == case["client"]["finish_reason"]


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_says_the_same(name: str) -> None:
    case = load_case(FOLDER, name)
    out = play(open_pair(answer="answer" in case).open_stream(), write_stream(case))
    assert see_stream(read_frames(out)) == case["client"]
    for chunks in read_chat_stream(out).values():
        assert chunks[-2].choices[0].finish_reason == case["client"]["finish_reason"]


@some_examples
@given(st.sampled_from(NAMES), st.data())
def test_any_pieces_give_the_same_bytes(name: str, data: st.DataObject) -> None:
    case = load_case(FOLDER, name)
    stream, answer = write_stream(case), "answer" in case
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    assert play(open_pair(answer=answer).open_stream(), *split(stream, *places)) == play(
        open_pair(answer=answer).open_stream(), stream
    )


@some_examples
@given(st.sampled_from(NAMES), st.data())
def test_a_cut_is_an_error_wherever_it_falls(name: str, data: st.DataObject) -> None:
    case = load_case(FOLDER, name)
    stream = write_stream(case)
    # The last event is whole without its blank line.
    place = data.draw(st.integers(0, len(stream) - 3))
    _, error = fail(open_pair(answer="answer" in case).open_stream(), stream[:place])
    assert error.code == "upstream_error"


def test_what_nobody_knows_is_passed_over() -> None:
    case = load_case(FOLDER, "text")
    start, *rest = case["stream"]
    hologram = {"type": "content-delta", "index": 3, "delta": {"message": {"content": {"h": 1}}}}
    case["stream"] = [start, {"type": "debug", "prompt": "p"}, {"type": "new"}, hologram, *rest]
    out = play(open_pair().open_stream(), write_stream(case) + b"data: [DONE]\n\n")
    assert see_stream(read_frames(out)) == case["client"]
    case["whole"]["message"]["content"].append({"type": "hologram", "h": 1})
    answer = open_pair().read_answer(msgspec.json.encode(case["whole"]))
    assert see_whole(answer.body) == case["client"]


def test_calls_may_come_as_lists_and_with_all_their_arguments() -> None:
    case = load_case(FOLDER, "tools")
    calls = case["whole"]["message"]["tool_calls"]
    case["stream"][3:-1] = [
        {"type": "tool-call-start", "index": at, "delta": {"message": {"tool_calls": [call]}}}
        for at, call in enumerate(calls)
    ]
    out = play(open_pair().open_stream(), write_stream(case))
    assert see_stream(read_frames(out)) == case["client"]


@pytest.mark.parametrize("word", ["ERROR", "TIMEOUT", ""])
def test_a_reply_that_its_model_gave_up_is_an_error(word: str) -> None:
    case = load_case(FOLDER, "text")
    with pytest.raises(GatewayError) as caught:
        open_pair().read_answer(msgspec.json.encode(patch(case["whole"], "finish_reason", word)))
    assert caught.value.code == "upstream_error"
    case["stream"][-1]["delta"] = {"finish_reason": word or None, "error": "unwelcome"}
    out, error = fail(open_pair().open_stream(), write_stream(case))
    assert (b"yes" in out, error.code) == (True, "upstream_error")
    assert "unwelcome" not in error.message


def test_an_error_inside_the_stream_is_a_failure() -> None:
    case = load_case(FOLDER, "text")
    case["stream"][3:] = [{"type": "error", "message": "unwelcome"}]
    out, error = fail(open_pair().open_stream(), write_stream(case))
    assert (b"Bl" in out, error.code) == (True, "upstream_error")


@pytest.mark.parametrize("whole", [b"", b"{}", b"[]", b"<html>", b'{"message":"no"}'])
def test_what_is_no_answer_is_an_error(whole: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        open_pair().read_answer(whole)
    assert caught.value.code == "upstream_error"


@some_examples
@given(st.sampled_from(NAMES), st.data(), any_json)
def test_parts_of_other_types_never_crash(name: str, data: st.DataObject, odd: Any) -> None:
    case = load_case(FOLDER, name)
    place = data.draw(st.integers(0, len(case["stream"]) - 1))
    path = data.draw(st.sampled_from(["delta", "index", "type", "id"]))
    case["stream"][place] = patch(case["stream"][place], path, odd)
    with may_fail("upstream_error"):
        play(open_pair(answer="answer" in case).open_stream(), write_stream(case))
    path = data.draw(
        st.sampled_from(["message", "message.content", "finish_reason", "usage", "id"])
    )
    with may_fail("upstream_error"):
        open_pair().read_answer(msgspec.json.encode(patch(case["whole"], path, odd)))


def read(status: int, body: Any) -> GatewayError:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return read_failure(status, {}, read_said(raw), target="cohere/m", own=False)


LONG = "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292."
SIZE = "too many tokens: size limit exceeded by 11326 tokens. Try using shorter or fewer inputs."
LIMIT = "too many tokens: max tokens must be less than or equal to 4096, the maximum output"


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "invalid request: unwelcome", "upstream_rejected"),
        (400, LONG, "context_length_exceeded"),
        (400, SIZE, "context_length_exceeded"),
        (400, LIMIT, "upstream_rejected"),
        (401, "invalid api token", "upstream_auth"),
        (402, "unwelcome", "insufficient_quota"),
        (403, "unwelcome", "upstream_auth"),
        (404, "model not found", "model_not_found"),
        (422, "unwelcome", "upstream_rejected"),
        (429, LONG, "rate_limit_exceeded"),
        (498, "unwelcome", "upstream_rejected"),
        (499, "request cancelled", "upstream_rejected"),
        (500, "unwelcome", "upstream_error"),
        (501, "unwelcome", "upstream_error"),
        (503, "unwelcome", "overloaded"),
        (504, "unwelcome", "upstream_timeout"),
    ],
)
def test_a_failure_is_read(status: int, message: str, code: str) -> None:
    error = read(status, {"message": message, "id": "8b7d"})
    assert error.code == code
    assert message not in error.message


def test_an_overflow_tells_its_counts() -> None:
    message = read(400, {"message": LONG}).message
    assert "4081 tokens" in message
    assert "4292 tokens" in message


@some_examples
@given(any_json | st.binary())
def test_any_error_body_is_read(body: Any) -> None:
    assert read(400, body).code == "upstream_rejected"
