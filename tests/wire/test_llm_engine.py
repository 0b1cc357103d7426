from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import ImageRef, TextRequest
from trunkline.errors import GatewayError
from trunkline.events import Began, Finish, TextDelta, Usage
from trunkline.wire.change import Changes
from trunkline.wire.llm_engine import PromptCall, open_call, read_said
from trunkline.wire.reply import StreamReply
from trunkline.wire.sgp import CompletionWriter, read_request
from trunkline.wire.translate import TranslatedPair
from trunkline.wire.upstream_failure import read_failure
from wire.sample import (
    CASES,
    any_json,
    fail,
    make_stamp,
    may_fail,
    play,
    read_case,
    read_frames,
    some_examples,
    split,
)
from wire.strict import read_native, read_native_stream

REQUESTS = sorted((CASES / "llm_engine").glob("*.request.json"))
STREAM = read_case("llm_engine/stream.sse")


def make_request(**more: Any) -> TextRequest:
    return TextRequest(**{"model": "m", "prompt": "p", "stream": True, "temperature": 0.2, **more})


def make_call(limit: int = 100) -> PromptCall:
    return open_call(make_request(max_tokens=limit), "endpoint", Changes())


def pair_up(limit: int = 100) -> TranslatedPair:
    metadata = {"model": "endpoint", "provider": "llm-engine"}
    return TranslatedPair(make_call(limit), CompletionWriter(make_stamp(), metadata))


def open_reply(limit: int = 100) -> StreamReply:
    return pair_up(limit).open_stream()


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.name.partition(".")[0])
def test_a_recorded_request_becomes_the_recorded_body(path: Path) -> None:
    case = msgspec.json.decode(path.read_bytes())
    changes = Changes()
    call = open_call(read_request(msgspec.json.encode(case["request"])), case["model"], changes)
    assert call.path == case["path"]
    assert msgspec.json.decode(call.write_request()) == case["body"]
    assert changes.words == case["changes"]


def test_required_fields_are_always_sent() -> None:
    changes = Changes()
    call = open_call(make_request(temperature=None, stream=False), "m", changes)
    assert msgspec.json.decode(call.write_request()) == {
        "prompt": "p",
        "temperature": 0.2,
        "max_new_tokens": 100,
    }
    assert changes.words == [
        "defaulted:max_tokens=100",
        "defaulted:temperature=0.2",
        "renamed:max_tokens=max_new_tokens",
    ]


def test_images_are_refused() -> None:
    with pytest.raises(GatewayError, match="takes no images") as caught:
        open_call(make_request(images=(ImageRef("https://e.test"),)), "m", Changes())
    assert (caught.value.code, caught.value.param) == ("invalid_request", "images")


@pytest.mark.parametrize(
    "more", [{"presence_penalty": -1}, {"top_k": -2}, {"top_p": 1.5}, {"reasoning_effort": "low"}]
)
def test_a_strict_client_loses_nothing(more: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        open_call(make_request(**more), "m", Changes(strict=True))
    assert caught.value.param == next(iter(more))


def test_a_whole_answer_is_read() -> None:
    body = read_case("llm_engine/sync.json")
    assert list(make_call().read_answer(body)) == [
        Began("5a8b3c9e-0000-4000-8000-written-by-hand"),
        TextDelta(" a canvas of Grüße"),
        Usage(5, 6, 11),
        Finish("stop", ""),
    ]
    written = pair_up().read_answer(body)
    seen = read_native(written.body)
    assert (seen.completion.text, seen.completion.finish_reason) == (" a canvas of Grüße", "stop")
    assert seen.token_usage is not None
    assert seen.token_usage.total == 11
    assert seen.completion.response_metadata == {
        "id": "5a8b3c9e-0000-4000-8000-written-by-hand",
        "model": "endpoint",
        "provider": "llm-engine",
        "native_finish_reason": "",
    }
    assert (written.usage, written.finish_reason) == (Usage(5, 6, 11), "stop")


def test_an_answer_that_does_not_count_the_prompt_has_no_usage() -> None:
    written = pair_up().read_answer(read_case("llm_engine/sync_tokens.json"))
    assert written.usage is None
    assert msgspec.json.decode(written.body)["token_usage"] is None
    assert read_native(written.body).completion.text == " a canvas"


@pytest.mark.parametrize(("limit", "reason"), [(5, "length"), (6, "length"), (7, "stop")])
def test_an_answer_as_long_as_its_limit_was_cut(limit: int, reason: str) -> None:
    assert pair_up(limit).read_answer(read_case("llm_engine/sync.json")).finish_reason == reason
    *_, last = read_frames(play(open_reply(limit), STREAM))
    assert last["finish_reason"] == reason


def test_a_stream_passes_the_client() -> None:
    reply = open_reply()
    *pieces, last = read_native_stream(play(reply, STREAM))
    assert [piece.completion.text for piece in pieces] == [" a", " canvas", " of Grüße", " 👋"]
    assert (last.completion.text, last.completion.finish_reason) == ("", "stop")
    assert last.token_usage is not None
    assert (last.token_usage.prompt, last.token_usage.completion) == (5, 6)
    assert reply.usage == Usage(5, 6, 11)


def test_a_stream_with_fields_left_out_is_read() -> None:
    reply = open_reply()
    chunks = list(read_frames(play(reply, read_case("llm_engine/cut.sse"))))
    assert [chunk["completion"]["text"] for chunk in chunks] == [" one", " two", ""]
    assert chunks[-1]["finish_reason"] == "length"
    assert reply.usage == Usage(5, 100, 105)


def test_a_prompt_that_is_counted_once_is_counted() -> None:
    first = b'data: {"output":{"text":"a","finished":false,"num_prompt_tokens":5}}\n\n'
    last = b'data: {"output":{"text":"b","finished":true,"num_completion_tokens":2}}\n\n'
    reply = open_reply()
    play(reply, first, last)
    assert reply.usage == Usage(5, 2, 7)


def test_a_streams_text_is_the_whole_answers() -> None:
    texts = [chunk["completion"]["text"] for chunk in read_frames(play(open_reply(), STREAM))]
    body = {
        "request_id": "r1",
        "output": {"text": "".join(texts), "num_prompt_tokens": 5, "num_completion_tokens": 6},
    }
    whole = msgspec.json.decode(pair_up().read_answer(msgspec.json.encode(body)).body)
    *_, last = read_frames(play(open_reply(), STREAM))
    assert whole["token_usage"] == last["token_usage"]
    assert whole["completion"]["finish_reason"] == last["completion"]["finish_reason"]


@some_examples
@given(st.lists(st.integers(0, len(STREAM)), max_size=9))
def test_no_way_of_cutting_matters(places: list[int]) -> None:
    assert play(open_reply(), *split(STREAM, *places)) == play(open_reply(), STREAM)


def test_an_end_before_the_last_frame_is_an_error() -> None:
    whole = play(open_reply(), STREAM)
    complete = STREAM.rindex(b"data:")
    for end in range(complete + 1):
        out, error = fail(open_reply(), STREAM[:end])
        assert error.code == "upstream_error"
        assert whole.startswith(out)


@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        ("failed", "upstream_error", [" a", " canvas"]),
        ("busy", "overloaded", []),
    ],
)
def test_a_failure_told_in_a_stream_is_one(case: str, code: str, said: list[str]) -> None:
    out, error = fail(open_reply(), read_case(f"llm_engine/{case}.sse"))
    assert [chunk["completion"]["text"] for chunk in read_frames(out)] == said
    assert error.code == code
    assert "sk-secret" not in error.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"<html>",
        b'{"output":null}',
        b'{"output":{}}',
        b'{"output":{"text":null}}',
        b'{"output":{"text":"a","num_completion_tokens":"many"}}',
        b'{"output":{"text":"a"},"error":{"status_code":500}}',
        b'{"detail":"x"}',
    ],
)
def test_what_is_no_answer_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        pair_up().read_answer(body)
    assert caught.value.code == "upstream_error"
    _, error = fail(open_reply(), b"data: " + (body or b"x") + b"\r\n\r\n")
    assert error.code == "upstream_error"


def test_an_end_mark_and_later_frames_change_nothing() -> None:
    later = b'data: {"output":{"text":"","finished":true,"num_completion_tokens":100}}\r\n\r\n'
    whole = play(open_reply(), STREAM)
    assert play(open_reply(), STREAM + b"data: [DONE]\r\n\r\n") == whole
    assert play(open_reply(), STREAM + later) == whole
    _, error = fail(open_reply(), b"data: [DONE]\r\n\r\n")
    assert error.code == "upstream_error"


@pytest.mark.parametrize(
    ("status", "body", "code", "shown"),
    [
        (400, {"detail": "Prompt is too long"}, "upstream_rejected", 400),
        (401, {"detail": "No authentication was passed in"}, "upstream_auth", 502),
        (404, {"detail": "The specified endpoint could not be found."}, "model_not_found", 404),
        (422, {"detail": [{"loc": ["body"], "msg": "x"}]}, "upstream_rejected", 400),
        (429, {"detail": "slow down"}, "rate_limit_exceeded", 429),
        (500, {"error": "Internal error occurred", "request_id": "r"}, "upstream_error", 502),
        (503, {}, "overloaded", 503),
    ],
)
def test_its_error_bodies_are_classified(status: int, body: Any, code: str, shown: int) -> None:
    said = read_said(msgspec.json.encode(body))
    error = read_failure(status, {}, said, target="llm-engine/m", own=False)
    assert (error.code, error.status) == (code, shown)
    assert "too long" not in error.message


@some_examples
@given(any_json | st.binary())
def test_any_error_body_is_read(body: Any) -> None:
    read_said(body if isinstance(body, bytes) else msgspec.json.encode(body))


@some_examples
@given(any_json)
def test_any_frame_is_read_or_refused(value: Any) -> None:
    with may_fail("upstream_error"), may_fail("overloaded"):
        play(open_reply(), b"data: " + msgspec.json.encode(value) + b"\r\n\r\n")
