import contextlib
import typing
from typing import Any

import msgspec
import openai
import pytest
import scale_gp
import scale_gp_beta
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import KINDS, Code, FieldFault, GatewayError
from trunkline.wire.failure import write_failure, write_failure_headers
from trunkline.wire.sse import write_error_frame
from wire.sample import some_examples
from wire.strict import SSE, ask_chat, find_refusers

CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
ERRORS = (scale_gp.APIStatusError, scale_gp_beta.APIStatusError, openai.APIStatusError)
FAULTS = (FieldFault(("body", "messages", 0), "Expected `object`", "value_error"),)
codes = st.sampled_from(typing.get_args(Code))


def make_error(code: Code, **more: Any) -> GatewayError:
    faults = FAULTS if code == "validation_error" else ()
    return GatewayError(code, "What is wrong.", param="model", faults=faults, **more)


@pytest.mark.parametrize("code", KINDS)
def test_the_body_serves_both_worlds(code: Code) -> None:
    error = make_error(code)
    body = msgspec.json.decode(write_failure(error, "req_1"))
    detail: object = "What is wrong."
    if code == "validation_error":
        detail = [
            {"loc": ["body", "messages", 0], "msg": "Expected `object`", "type": "value_error"}
        ]
    assert body == {
        "detail": detail,
        "error": {
            "message": "What is wrong.",
            "type": KINDS[code].type,
            "param": "model",
            "code": code,
        },
        "request_id": "req_1",
    }


@pytest.mark.parametrize("code", KINDS)
def test_every_client_raises_its_class_for_the_status(code: Code) -> None:
    error = make_error(code)
    headers = {k.decode(): v.decode() for k, v in write_failure_headers(error, "req_1")}
    wanted = CLASSES.get(
        error.status, "InternalServerError" if error.status >= 500 else "APIStatusError"
    )
    calls = ask_chat(write_failure(error, "req_1"), headers, error.status)
    assert set(calls) == {"v4", "v5", "openai"}
    for name, call in calls.items():
        with pytest.raises(ERRORS) as caught:
            call()
        seen: Any = caught.value
        assert type(seen).__name__ == wanted
        assert seen.status_code == error.status
        assert "What is wrong." in str(seen)
        if name == "openai":
            assert (seen.code, seen.type, seen.param) == (code, KINDS[code].type, "model")
            assert seen.request_id == "req_1"


def test_in_a_stream_two_clients_raise_by_themselves() -> None:
    frame = write_error_frame(make_error("upstream_error"), "req_1")
    calls = ask_chat(frame, SSE, stream=True)
    with pytest.raises(scale_gp.APIStatusError, match=r"What is wrong\."):
        list(calls["v4"]())
    with pytest.raises(openai.APIError, match=r"What is wrong\."):
        list(calls["openai"]())
    # The v5 client sees nothing of it: that is why the connection is cut as well.
    assert find_refusers({"v5": calls["v5"]}) == set()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GatewayError("rate_limit_exceeded", "x", retry_after_s=2.5), ("3", "2500", None)),
        (GatewayError("rate_limit_exceeded", "x", retry_after_s=0), ("1", "1000", None)),
        (GatewayError("rate_limit_exceeded", "x", retry_after_s=-5), ("1", "1000", None)),
        (GatewayError("overloaded", "x", retry_after_s=3600), ("60", "60000", None)),
        (GatewayError("overloaded", "x", retry_after_s=float("inf")), ("60", "60000", None)),
        (GatewayError("overloaded", "x", retry_after_s=float("nan")), ("1", "1000", None)),
        (GatewayError("overloaded", "x"), ("1", "1000", None)),
        (GatewayError("insufficient_quota", "x"), (None, None, "false")),
        (GatewayError("upstream_auth", "x"), (None, None, "false")),
        (GatewayError("internal_error", "x"), (None, None, "false")),
        (GatewayError("upstream_error", "x"), (None, None, None)),
        (GatewayError("upstream_timeout", "x"), (None, None, None)),
        (GatewayError("invalid_request", "x"), (None, None, None)),
    ],
)
def test_retry_advice(error: GatewayError, expected: tuple[str | None, ...]) -> None:
    headers = dict(write_failure_headers(error, "req_1"))
    names = (b"retry-after", b"retry-after-ms", b"x-should-retry")
    assert tuple(headers[n].decode() if n in headers else None for n in names) == expected


@some_examples
@given(codes, st.none() | st.floats())
def test_advice_is_always_what_clients_follow(code: Code, wait_s: float | None) -> None:
    headers = dict(write_failure_headers(make_error(code, retry_after_s=wait_s), "req_1"))
    assert headers[b"x-request-id"] == b"req_1"
    assert headers[b"content-type"] == b"application/json"
    with contextlib.suppress(KeyError):
        assert 1 <= int(headers[b"retry-after"]) <= 60
        assert 1000 <= int(headers[b"retry-after-ms"]) <= 60_000


def test_a_missing_key_is_told_how_to_be_sent() -> None:
    headers = dict(write_failure_headers(GatewayError("invalid_api_key", "x"), "r"))
    assert headers[b"www-authenticate"] == b"Bearer"


def test_a_wrong_method_is_told_the_right_one() -> None:
    headers = dict(write_failure_headers(GatewayError("method_not_allowed", "x"), "r"))
    assert headers[b"allow"] == b"POST"
