from typing import Any

import msgspec
import pytest
from hypothesis import given

from trunkline.errors import GatewayError
from trunkline.wire.anthropic_failure import fail_inside, read_said
from trunkline.wire.upstream_failure import read_failure
from wire.sample import any_json, some_examples

LONG = "prompt is too long: 208310 tokens > 200000 maximum"
MUCH = (
    "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input "
    "length or `max_tokens` and try again"
)
OLD_MUCH = MUCH.replace("`", "")


def read(status: int, error: Any, **headers: str) -> GatewayError:
    wrapped = {"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}
    sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    body = error if isinstance(error, bytes) else msgspec.json.encode(wrapped)
    return read_failure(status, sent, read_said(body), target="x/m", own=False)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, {"type": "invalid_request_error", "message": "messages: bad"}, "upstream_rejected"),
        (401, {"type": "authentication_error", "message": "no"}, "upstream_auth"),
        (400, {"type": "authentication_error", "message": "no"}, "upstream_auth"),
        (402, {"type": "billing_error", "message": "no"}, "insufficient_quota"),
        (403, {"type": "permission_error", "message": "no"}, "upstream_auth"),
        (404, {"type": "not_found_error", "message": "model: x"}, "model_not_found"),
        (413, {"type": "request_too_large", "message": "big"}, "upstream_rejected"),
        (429, {"type": "rate_limit_error", "message": "slow"}, "rate_limit_exceeded"),
        (500, {"type": "api_error", "message": "oops"}, "upstream_error"),
        (504, {"type": "timeout_error", "message": "late"}, "upstream_timeout"),
        (529, {"type": "overloaded_error", "message": "Overloaded"}, "overloaded"),
        (
            400,
            {
                "type": "invalid_request_error",
                "message": "limit",
                "details": {"error_code": "enforced_spend_limit_reached"},
            },
            "insufficient_quota",
        ),
        (400, {"type": "invalid_request_error", "message": LONG}, "context_length_exceeded"),
        (400, {"type": "invalid_request_error", "message": MUCH}, "context_length_exceeded"),
        (400, {"type": "invalid_request_error", "message": OLD_MUCH}, "context_length_exceeded"),
        (
            400,
            {"type": "invalid_request_error", "message": "prompt is too long"},
            "context_length_exceeded",
        ),
        (400, {"type": "invalid_request_error", "message": f"I said: {LONG}"}, "upstream_rejected"),
        (400, {"type": "other_error", "message": LONG}, "upstream_rejected"),
        (
            400,
            {
                "code": 400,
                "type": "exceed_context_size_error",
                "message": "no",
                "n_prompt_tokens": 9,
                "n_ctx": 5,
            },
            "context_length_exceeded",
        ),
        (400, b"<html>", "upstream_rejected"),
        (502, b"", "upstream_error"),
        (400, b"[1]", "upstream_rejected"),
        (400, b'{"type":"error","error":"text"}', "upstream_rejected"),
    ],
)
def test_a_failure_is_told_by_status_and_code(status: int, error: Any, code: str) -> None:
    assert read(status, error).code == code


def test_the_narrowest_code_is_shown_and_no_prose() -> None:
    error = {
        "type": "invalid_request_error",
        "message": "secret words",
        "details": {"error_code": "image_dimensions_too_large"},
    }
    shown = read(400, error).message
    assert "image_dimensions_too_large" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("message", "window", "asked"), [(LONG, 200000, 208310), (MUCH, 200000, 178959)]
)
def test_an_overflow_is_counted(message: str, window: int, asked: int) -> None:
    error = read(400, {"type": "invalid_request_error", "message": message})
    assert f"maximum context length is {window} tokens" in error.message
    assert f"The prompt has {asked} tokens" in error.message


def test_the_wait_is_the_vendors() -> None:
    assert read(429, {"type": "rate_limit_error"}, retry_after="7").retry_after_s == 7


@pytest.mark.parametrize(
    ("kind", "code", "wait_s"),
    [
        ("overloaded_error", "overloaded", 1),
        ("rate_limit_error", "rate_limit_exceeded", 1),
        ("timeout_error", "upstream_timeout", None),
        ("api_error", "upstream_error", None),
        ("invalid_request_error", "upstream_error", None),
        (["odd"], "upstream_error", None),
    ],
)
def test_a_failure_inside_a_reply(kind: object, code: str, wait_s: float | None) -> None:
    error = fail_inside({"type": "error", "error": {"type": kind, "message": "secret"}})
    assert (error.code, error.retry_after_s) == (code, wait_s)
    assert "secret" not in error.message


@some_examples
@given(any_json)
def test_any_body_is_read(value: Any) -> None:
    read_said(msgspec.json.encode(value))
    read_said(msgspec.json.encode({"type": "error", "error": value}))
    read_said(msgspec.json.encode({"error": {"type": value, "message": value, "details": value}}))
    fail_inside(value)
