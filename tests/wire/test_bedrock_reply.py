from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire import bedrock_request
from trunkline.wire.bedrock_failure import read_said
from trunkline.wire.event_stream import write_message
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

FOLDER = "bedrock/reply"
NAMES = list_cases(FOLDER)
TOOLS = [{"type": "function", "function": {"name": "f"}}]
FORM = {"tools": TOOLS, "response_format": {"type": "json_object"}}
TYPE = {":content-type": "application/json"}


def open_pair(*, answer: bool = False) -> TranslatedPair:
    """A call to Nova, which is made to call a tool where it shall answer in JSON."""
    chat = make_chat(ASKED | (FORM if answer else {}))
    return make_pair(translate(bedrock_request, chat, "us.amazon.nova-pro-v1:0")[0])


def write_event(kind: str, payload: Any) -> bytes:
    headers = {":event-type": kind, **TYPE, ":message-type": "event"}
    return write_message(headers, msgspec.json.encode(payload))


def write_exception(kind: str, payload: Any) -> bytes:
    headers = {":exception-type": kind, **TYPE, ":message-type": "exception"}
    return write_message(headers, msgspec.json.encode(payload))


def write_stream(case: dict[str, Any]) -> bytes:
    return b"".join(write_event(kind, payload) for kind, payload in case["stream"])


def compact(seen: dict[str, Any]) -> dict[str, Any]:
    """The same with its JSON texts decoded, for each form of a reply has blanks of its own."""
    for call in seen.get("tool_calls", ()):
        call["function"]["arguments"] = msgspec.json.decode(call["function"]["arguments"])
    if seen.get("content", "").startswith("{"):
        seen["content"] = msgspec.json.decode(seen["content"])
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_answer_is_what_the_client_shall_see(name: str) -> None:
    case = load_case(FOLDER, name)
    answer = open_pair(answer="answer" in case).read_answer(msgspec.json.encode(case["whole"]))
    assert compact(see_whole(answer.body)) == compact(case["client"])
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
    pieces = split(stream, *places)
    assert play(open_pair(answer=answer).open_stream(), *pieces) == play(
        open_pair(answer=answer).open_stream(), stream
    )


@some_examples
@given(st.sampled_from(NAMES), st.data())
def test_a_cut_is_an_error_wherever_it_falls(name: str, data: st.DataObject) -> None:
    case = load_case(FOLDER, name)
    stream = write_stream(case)
    # Behind messageStop the reply is complete: usage alone may lack.
    end = len(stream) - len(write_event(*case["stream"][-1]))
    place = data.draw(st.integers(0, len(stream) - 1).filter(lambda place: place != end))
    _, error = fail(open_pair(answer="answer" in case).open_stream(), stream[:place])
    assert error.code == "upstream_error"


def test_what_nobody_knows_is_passed_over() -> None:
    case = load_case(FOLDER, "text")
    start, *rest = case["stream"]
    case["stream"] = [
        start,
        ["contentBlockStart", {"contentBlockIndex": 7, "start": {"image": {"format": "png"}}}],
        ["contentBlockDelta", {"contentBlockIndex": 7, "delta": {"image": {"source": {}}}}],
        ["contentBlockDelta", {"contentBlockIndex": 8, "delta": {"hologram": [1]}}],
        ["newEvent", {"a": 1}],
        *rest,
        ["messageStop", {"stopReason": "end_turn"}],
    ]
    out = play(open_pair().open_stream(), write_stream(case))
    assert see_stream(read_frames(out)) == case["client"]
    case["whole"]["output"]["message"]["content"].append({"hologram": {"a": 1}})
    answer = open_pair().read_answer(msgspec.json.encode(case["whole"]))
    assert see_whole(answer.body) == case["client"]


@pytest.mark.parametrize("word", ["malformed_model_output", "malformed_tool_use"])
def test_a_reply_that_its_model_spoiled_is_an_error(word: str) -> None:
    case = load_case(FOLDER, "text")
    with pytest.raises(GatewayError) as caught:
        open_pair().read_answer(msgspec.json.encode(patch(case["whole"], "stopReason", word)))
    assert caught.value.code == "upstream_error"
    case["stream"][-2][1]["stopReason"] = word
    out, error = fail(open_pair().open_stream(), write_stream(case))
    assert (b"yes" in out, error.code) == (True, "upstream_error")


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        ("throttlingException", {"message": "Too many requests"}, "rate_limit_exceeded"),
        ("serviceUnavailableException", {"message": "unwelcome"}, "overloaded"),
        ("internalServerException", {"message": "unwelcome"}, "upstream_error"),
        ("modelStreamErrorException", {"originalStatusCode": 400}, "upstream_error"),
        ("modelTimeoutException", {}, "upstream_timeout"),
        ("validationException", {"message": "unwelcome"}, "upstream_rejected"),
        (
            "validationException",
            {"message": "Input is too long for requested model."},
            "context_length_exceeded",
        ),
        ("ValidationException", {"message": "unwelcome"}, "upstream_rejected"),
        ("surprisingException", "odd", "upstream_error"),
    ],
)
def test_an_exception_inside_the_stream_is_a_failure(kind: str, payload: Any, code: str) -> None:
    said = write_event("contentBlockDelta", {"delta": {"text": "Hi"}, "contentBlockIndex": 0})
    out, error = fail(open_pair().open_stream(), said + write_exception(kind, payload))
    assert (b"Hi" in out, error.code) == (True, code)
    assert "unwelcome" not in error.message


def test_an_error_message_is_a_failure() -> None:
    headers = {":message-type": "error", ":error-code": "500", ":error-message": "odd"}
    _, error = fail(open_pair().open_stream(), write_message(headers, b""))
    assert error.code == "upstream_error"


@pytest.mark.parametrize("whole", [b"", b"{}", b"[]", b"<html>", b'{"message":"unwelcome"}'])
def test_what_is_no_answer_is_an_error(whole: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        open_pair().read_answer(whole)
    assert caught.value.code == "upstream_error"


@pytest.mark.parametrize("given", ['{"city": "Par', [], 7, True])
def test_arguments_that_are_no_object_are_an_error(given: Any) -> None:
    call = {"toolUse": {"toolUseId": "a", "name": "f", "input": given}}
    message = {"role": "assistant", "content": [call]}
    whole = {"output": {"message": message}, "stopReason": "tool_use"}
    with pytest.raises(GatewayError) as caught:
        open_pair().read_answer(msgspec.json.encode(whole))
    assert caught.value.code == "upstream_error"


@some_examples
@given(st.sampled_from(NAMES), st.data(), any_json)
def test_parts_of_other_types_never_crash(name: str, data: st.DataObject, odd: Any) -> None:
    case = load_case(FOLDER, name)
    place = data.draw(st.integers(0, len(case["stream"]) - 1))
    path = data.draw(
        st.sampled_from(
            ["1", "1.delta", "1.start", "1.contentBlockIndex", "1.stopReason", "1.usage", "1.role"]
        )
    )
    case["stream"][place] = patch(case["stream"][place], path, odd)
    with may_fail("upstream_error"):
        play(open_pair(answer="answer" in case).open_stream(), write_stream(case))
    path = data.draw(
        st.sampled_from(["output", "output.message.content", "stopReason", "usage", "metrics"])
    )
    with may_fail("upstream_error"):
        open_pair().read_answer(msgspec.json.encode(patch(case["whole"], path, odd)))


def read(status: int, body: Any, headers: Mapping[bytes, bytes] | None = None) -> GatewayError:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    said = read_said(raw, headers)
    return read_failure(status, headers or {}, said, target="bedrock/m", own=False)


NAMED = b"x-amzn-errortype"


@pytest.mark.parametrize(
    ("status", "name", "message", "code"),
    [
        (400, b"ValidationException", "bad", "upstream_rejected"),
        (400, b"", "Input is too long for requested model.", "context_length_exceeded"),
        (
            400,
            b"ValidationException:http://internal.amazon.com/coral/",
            "Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
            "context_length_exceeded",
        ),
        (
            400,
            b"ValidationException",
            "This model's maximum context length is 8192 tokens.",
            "context_length_exceeded",
        ),
        (400, b"ServiceQuotaExceededException", "prompt is too long", "insufficient_quota"),
        (403, b"AccessDeniedException", "unwelcome", "upstream_auth"),
        (403, b"ExpiredTokenException", "unwelcome", "upstream_auth"),
        (404, b"ResourceNotFoundException", "unwelcome", "model_not_found"),
        (408, b"ModelTimeoutException", "unwelcome", "upstream_timeout"),
        (424, b"ModelErrorException", "unwelcome", "upstream_error"),
        (424, b"", "unwelcome", "upstream_rejected"),
        (429, b"ThrottlingException", "unwelcome", "rate_limit_exceeded"),
        (429, b"ModelNotReadyException", "unwelcome", "rate_limit_exceeded"),
        (500, b"InternalServerException", "prompt is too long", "upstream_error"),
        (503, b"ServiceUnavailableException", "unwelcome", "overloaded"),
    ],
)
def test_a_failure_is_read(status: int, name: bytes, message: str, code: str) -> None:
    error = read(status, {"message": message}, {NAMED: name} if name else {})
    assert error.code == code
    assert message not in error.message


def test_the_name_may_stand_in_the_body() -> None:
    for field in ("__type", "code"):
        body = {field: "com.amazon.coral#ServiceQuotaExceededException", "Message": "unwelcome"}
        assert read(400, body).code == "insufficient_quota"
    assert "ConflictException" in read(400, {"__type": "ConflictException"}).message


def test_a_model_that_broke_is_known_by_its_body_alone() -> None:
    assert read(424, {"message": "unwelcome", "originalStatusCode": 500}).code == "upstream_error"


def test_an_overflow_tells_its_counts() -> None:
    message = (
        "The model returned the following errors: prompt is too long: 215 tokens > 200 maximum"
    )
    error = read(400, {"message": message})
    assert error.code == "context_length_exceeded"
    assert "200 tokens" in error.message
    assert "215 tokens" in error.message


@some_examples
@given(any_json | st.binary())
def test_any_error_body_is_read(body: Any) -> None:
    assert read(400, body).code in ("upstream_rejected", "context_length_exceeded")
