from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import KINDS, GatewayError
from trunkline.wire.failure import write_failure
from trunkline.wire.gemini_failure import read_inside, read_tail
from trunkline.wire.gemini_request import read_said
from trunkline.wire.upstream_failure import read_failure
from wire.sample import any_json, some_examples

RPC = "type.googleapis.com/google.rpc."
SECRET = "AIzaSyD9tSrke72PouQMnMX-a7eZSW0jkFMBWYx"
TOO_LONG = "The input token count (3475108) exceeds the maximum number of tokens allowed (1048576)."
VERTEX_TOO_LONG = (
    "Unable to submit request because the input token count is 1251952 but model only supports "
    "up to 1048576. Reduce the input token count and try again."
)


def read(
    status: int, error: Any = None, headers: Mapping[bytes, bytes] | None = None
) -> GatewayError:
    body = error if isinstance(error, bytes) else msgspec.json.encode({"error": error or {}})
    return read_failure(status, headers or {}, read_said(body), target="x/m", own=False)


def detail(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": RPC + kind, **fields}


def invalid(message: str, *details: Any) -> dict[str, Any]:
    return {
        "code": 400,
        "message": message,
        "status": "INVALID_ARGUMENT",
        "details": list(details),
    }


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, invalid("Request contains an invalid argument."), "upstream_rejected"),
        (
            400,
            invalid("API key not valid.", detail("ErrorInfo", reason="API_KEY_INVALID")),
            "upstream_auth",
        ),
        (400, {"code": 400, "status": "FAILED_PRECONDITION"}, "upstream_rejected"),
        (401, {"code": 401, "status": "UNAUTHENTICATED"}, "upstream_auth"),
        (400, {"code": 401, "status": "UNAUTHENTICATED"}, "upstream_auth"),
        (403, {"code": 403, "status": "PERMISSION_DENIED"}, "upstream_auth"),
        (404, {"code": 404, "status": "NOT_FOUND"}, "model_not_found"),
        (413, {"code": 413, "status": "INVALID_ARGUMENT"}, "upstream_rejected"),
        (429, {"code": 429, "status": "RESOURCE_EXHAUSTED"}, "rate_limit_exceeded"),
        (499, {"code": 499, "status": "CANCELLED"}, "upstream_rejected"),
        (500, {"code": 500, "status": "INTERNAL"}, "upstream_error"),
        (503, {"code": 503, "status": "UNAVAILABLE"}, "overloaded"),
        (504, {"code": 504, "status": "DEADLINE_EXCEEDED"}, "upstream_timeout"),
        (500, invalid(TOO_LONG), "upstream_error"),
        (400, {**invalid(TOO_LONG), "status": "INTERNAL"}, "upstream_rejected"),
        (400, invalid("maximum number of tokens allowed"), "upstream_rejected"),
        (400, {"code": 400, "status": ["x"], "details": {"a": 1}}, "upstream_rejected"),
        (429, b"", "rate_limit_exceeded"),
        (503, b"<html>", "overloaded"),
        (400, b"[]", "upstream_rejected"),
        (400, b"[5]", "upstream_rejected"),
    ],
)
def test_status_and_googles_words_decide(status: int, error: object, code: str) -> None:
    assert read(status, error).code == code


@pytest.mark.parametrize(
    ("message", "asked", "window"),
    [
        (TOO_LONG, 3475108, 1048576),
        (VERTEX_TOO_LONG, 1251952, 1048576),
        (
            "The input token count exceeds the maximum number of tokens allowed 1048576.",
            None,
            1048576,
        ),
    ],
)
@pytest.mark.parametrize("in_list", [False, True])
def test_an_overflow_is_told_with_its_counts(
    message: str, asked: int | None, window: int, *, in_list: bool
) -> None:
    body: Any = {"error": invalid(message)}
    said = read_said(msgspec.json.encode([body] if in_list else body))
    assert (said.overflow, said.prompt_tokens, said.window_tokens) == (True, asked, window)
    error = read_failure(400, {}, said, target="x/m", own=False)
    assert error.code == "context_length_exceeded"
    assert f"maximum context length is {window} tokens" in error.message


@pytest.mark.parametrize(
    ("delay", "headers", "wait_s"),
    [
        ("34s", {}, 34),
        ("34.074824224s", {}, 34.074824224),
        ("0s", {}, 1),
        ("34", {}, 1),
        ("-3s", {}, 1),
        ("9" * 400 + "s", {}, 1),
        (34, {}, 1),
        (None, {}, 1),
        ("34s", {b"retry-after": b"7"}, 7),
    ],
)
def test_the_vendors_advice_is_handed_on(
    delay: object, headers: dict[bytes, bytes], wait_s: float
) -> None:
    limit = detail("QuotaFailure", violations=[{"quotaId": "GenerateRequestsPerMinute"}])
    details = [limit, detail("RetryInfo", retryDelay=delay), detail("Help", links=[])]
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}
    assert read(429, error, headers).retry_after_s == wait_s


def test_a_rejection_names_code_and_field_only() -> None:
    faults = [{"description": "leaks"}, {"field": "generation_config.temperature"}, {"field": "b"}]
    error = read(400, invalid(f"leaks {SECRET}", detail("BadRequest", fieldViolations=faults)))
    assert error.message == (
        "Target 'x/m' refused the request (status 400, code 'INVALID_ARGUMENT', "
        "field 'generation_config.temperature')"
    )
    narrower = read(400, invalid("x", detail("ErrorInfo", reason="MODEL_RETIRED")))
    assert "code 'MODEL_RETIRED'" in narrower.message


def test_a_gateway_that_fails_in_openais_words_is_understood() -> None:
    error = {"message": "no", "type": "invalid_request_error", "param": None, "code": "400"}
    assert read(400, error).code == "upstream_rejected"
    assert read(400, {"code": "context_length_exceeded"}).code == "context_length_exceeded"
    assert read(429, {"type": "insufficient_quota"}).code == "insufficient_quota"
    too_long = {**error, "message": "litellm.ContextWindowExceededError: request (9 tokens)"}
    assert read(400, too_long).code == "context_length_exceeded"
    assert read(500, too_long).code == "upstream_error"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_no_secret_leaks(status: int) -> None:
    details = [
        detail("ErrorInfo", reason=SECRET, metadata={"key": SECRET}),
        detail("BadRequest", fieldViolations=[{"field": SECRET, "description": SECRET}]),
        detail("RetryInfo", retryDelay=SECRET),
    ]
    error = {"code": status, "status": SECRET, "message": SECRET, "details": details}
    for words in (error, {**error, "status": "INVALID_ARGUMENT"}):
        assert SECRET.encode() not in write_failure(read(status, words), "req_1")
        assert SECRET.encode() not in write_failure(read_inside(words), "req_1")


@pytest.mark.parametrize(
    "rest", [b"", b"\r", b"data: {", b'data: {"error": {}}', b"{", b"[", b"[{}]", b'{"error": 5}']
)
def test_half_a_frame_is_no_failure_by_itself(rest: bytes) -> None:
    assert read_tail(rest) is None


@some_examples
@given(st.integers(100, 999), any_json | st.binary(), st.booleans())
def test_any_body_is_classified(status: int, said: object, in_list: bool) -> None:
    value: Any = {"error": {"status": "INVALID_ARGUMENT", "details": [said], "message": said}}
    for body in (
        said if isinstance(said, bytes) else msgspec.json.encode({"error": said}),
        b"" if isinstance(said, bytes) else msgspec.json.encode([value] if in_list else value),
    ):
        error = read_failure(status, {}, read_said(body), target="x/m", own=False)
        assert error.code in KINDS
        assert write_failure(error, "req_1")
    inside = read_inside(value["error"] if in_list else said)
    assert inside.code in KINDS
