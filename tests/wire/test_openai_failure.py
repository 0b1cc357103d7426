from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import KINDS, GatewayError
from trunkline.wire.failure import write_failure
from trunkline.wire.openai_failure import find_inside, read_said
from trunkline.wire.upstream_failure import read_failure
from wire.sample import any_json, read_case, some_examples

SECRET = "sk-proj-Zq3vXw81kLmN0pQrStUvWx"
DATE = b"Sat, 21 Nov 2026 12:00:00 GMT"


def read(
    status: int,
    error: Any = None,
    headers: Mapping[bytes, bytes] | None = None,
    *,
    own: bool = False,
) -> GatewayError:
    body = error if isinstance(error, bytes) else msgspec.json.encode({"error": error or {}})
    return read_failure(status, headers or {}, read_said(body), target="lab/m", own=own)


@pytest.mark.parametrize(
    ("status", "code", "shown"),
    [
        (199, "upstream_error", 502),
        (300, "upstream_error", 502),
        (302, "upstream_error", 502),
        (307, "upstream_error", 502),
        (399, "upstream_error", 502),
        (400, "upstream_rejected", 400),
        (401, "upstream_auth", 502),
        (402, "insufficient_quota", 429),
        (403, "upstream_auth", 502),
        (404, "model_not_found", 404),
        (405, "upstream_rejected", 400),
        (408, "upstream_timeout", 504),
        (409, "upstream_error", 502),
        (410, "model_not_found", 404),
        (413, "upstream_rejected", 413),
        (415, "upstream_rejected", 400),
        (418, "upstream_rejected", 400),
        (422, "upstream_rejected", 400),
        (424, "upstream_rejected", 400),
        (425, "upstream_rejected", 400),
        (429, "rate_limit_exceeded", 429),
        (499, "upstream_rejected", 400),
        (500, "upstream_error", 502),
        (501, "upstream_error", 502),
        (502, "upstream_error", 502),
        (503, "overloaded", 503),
        (504, "upstream_timeout", 504),
        (520, "upstream_error", 502),
        (529, "overloaded", 503),
        (599, "upstream_error", 502),
        (999, "upstream_error", 502),
    ],
)
def test_a_status_alone_decides(status: int, code: str, shown: int) -> None:
    for body in (b"", b"<html>no</html>", b"[]", b"null", b'{"detail":"no"}', b'{"error":"no"}'):
        error = read(status, body)
        assert (error.code, error.status) == (code, shown)
        assert "Target 'lab/m'" in error.message


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (429, {"code": "insufficient_quota"}, "insufficient_quota"),
        (429, {"type": "insufficient_quota"}, "insufficient_quota"),
        (403, {"code": "insufficient_quota"}, "upstream_auth"),
        (400, {"code": "insufficient_quota"}, "insufficient_quota"),
        (429, {"code": "rate_limit_exceeded"}, "rate_limit_exceeded"),
        (400, {"code": "invalid_api_key"}, "upstream_auth"),
        (400, {"code": "context_length_exceeded"}, "context_length_exceeded"),
        (413, {"code": "context_length_exceeded"}, "context_length_exceeded"),
        (404, {"code": "context_length_exceeded"}, "context_length_exceeded"),
        (400, {"code": 400, "type": "exceed_context_size_error"}, "context_length_exceeded"),
        (400, {"code": "x", "type": "context_length_exceeded"}, "context_length_exceeded"),
        (500, {"code": "context_length_exceeded"}, "upstream_error"),
        (404, {"code": "model_not_found"}, "model_not_found"),
        (400, {"message": "This model's maximum context length is 5"}, "upstream_rejected"),
        (400, {"code": {"a": 1}, "type": ["b"], "param": 5}, "upstream_rejected"),
    ],
)
def test_then_a_structured_code_decides_never_prose(status: int, error: object, code: str) -> None:
    assert read(status, error).code == code


def write_typed(word: str) -> dict[str, Any]:
    """An error whose word stands beside a code that is the status, as OpenRouter has it."""
    return {"error": {"code": 400, "message": "m", "metadata": {"error_type": word}}}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (429, {"error": "busy", "error_type": "overloaded"}, "overloaded"),
        (424, {"error": "no", "error_type": "generation"}, "upstream_error"),
        (422, {"error": "no", "error_type": "validation"}, "upstream_rejected"),
        (429, {"message": "m", "type": "too_many", "code": "queue_exceeded"}, "overloaded"),
        (400, {"message": "m", "code": "context_length_exceeded"}, "context_length_exceeded"),
        (400, {"error": {"param": "input_tokens", "code": 400}}, "context_length_exceeded"),
        (400, {"error": {"param": "max_tokens", "code": 400}}, "upstream_rejected"),
        (400, {"error": {"code": "model_decommissioned"}}, "model_not_found"),
        (403, {"error": {"type": "chat_completions_not_available"}}, "upstream_rejected"),
        (403, write_typed("content_policy_violation"), "upstream_rejected"),
        (403, write_typed("permission_denied"), "upstream_auth"),
        (400, write_typed("authentication"), "upstream_auth"),
        (400, write_typed("context_length_exceeded"), "context_length_exceeded"),
        (400, {"code": "A sentence", "error": "context_length_exceeded"}, "upstream_rejected"),
    ],
)
def test_every_shape_of_an_error_body_is_read(status: int, body: object, code: str) -> None:
    assert read(status, msgspec.json.encode(body)).code == code


@pytest.mark.parametrize("wrap", [lambda faults: faults, lambda faults: {"message": faults}])
def test_faults_of_fastapi_name_the_field(wrap: Any) -> None:
    faults = {"detail": [{"type": "extra_forbidden", "loc": ["body", "tools", 0, "x"], "msg": "m"}]}
    error = read(422, msgspec.json.encode(wrap(faults)))
    assert error.message.endswith("(status 422, code 'extra_forbidden', field 'tools.0.x')")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"error": {"code": 429, "metadata": {"retry_after_seconds": 17}}}, "rate_limit_exceeded"),
        ({"error": {"code": 400}}, "upstream_rejected"),
        ({"error": {"status_code": 429, "content": {}}}, "rate_limit_exceeded"),
        ({"error": {"code": 502}}, "upstream_error"),
        ({"error": {"code": 7}}, "upstream_error"),
        ({"error": {"code": "context_length_exceeded"}}, "context_length_exceeded"),
        ({"error": "lost"}, "upstream_error"),
        ({"x_groq": {"error": "lost"}}, "upstream_error"),
        ({"x_groq": {"id": "1"}, "error": None}, None),
        ({"x_groq": "1"}, None),
    ],
)
def test_an_error_inside_a_200_is_a_failure(value: Any, code: str | None) -> None:
    failure = find_inside(value)
    assert (failure.code if failure else None) == code
    if code == "rate_limit_exceeded":
        assert failure is not None
        assert failure.retry_after_s in (17, 1)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, 1),
        ({b"retry-after": b"7"}, 7),
        ({b"retry-after": b"0.5"}, 0.5),
        ({b"retry-after": b"0"}, 1),
        ({b"retry-after": b"soon"}, 1),
        ({b"retry-after": b""}, 1),
        ({b"retry-after": b"\xff"}, 1),
        ({b"retry-after-ms": b"1500"}, 1.5),
        ({b"retry-after-ms": b"1500", b"retry-after": b"9"}, 1.5),
        ({b"retry-after-ms": b"x", b"retry-after": b"9"}, 9),
        ({b"retry-after": b"Sat, 21 Nov 2026 12:00:30 GMT", b"date": DATE}, 30),
        ({b"retry-after": b"Sat, 21 Nov 2026 12:00:30 GMT"}, 1),
        ({b"retry-after": b"Sat, 21 Nov 2026 12:00:30 GMT", b"date": b"now"}, 1),
        ({b"retry-after": b"Sat, 21 Nov 2026 12:00:30", b"date": DATE}, 1),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_upstreams_advice_is_handed_on(
    status: int, headers: dict[bytes, bytes], wait_s: float
) -> None:
    assert read(status, headers=headers).retry_after_s == wait_s


def test_a_rejection_names_the_structured_words_only() -> None:
    error = read(
        422, {"message": "leaks", "code": "bad_value", "param": "messages[0].content", "type": "t"}
    )
    assert error.message == (
        "Target 'lab/m' refused the request (status 422, code 'bad_value', "
        "field 'messages[0].content')"
    )
    assert error.param == "messages[0].content"
    assert "code 'invalid_request_error'" in read(400, {"type": "invalid_request_error"}).message


@pytest.mark.parametrize("status", range(300, 600))
def test_no_upstream_text_leaks(status: int) -> None:
    error = read(
        status,
        {
            "message": f"Incorrect API key provided: {SECRET}",
            "code": SECRET,
            "type": f"key {SECRET}",
            "param": SECRET,
            "inner": {"message": SECRET},
        },
        {b"retry-after": SECRET.encode(), b"www-authenticate": SECRET.encode()},
    )
    assert SECRET.encode() not in write_failure(error, "req_1")
    assert b"Incorrect" not in write_failure(error, "req_1")


@pytest.mark.parametrize(
    "secret",
    [SECRET, "0123456789abcdef0123456789abcdef", "123e4567-e89b-42d3-a456-426614174000", "a" * 99],
)
@pytest.mark.parametrize("field", ["code", "type", "param"])
def test_what_could_be_a_key_is_no_word(secret: str, field: str) -> None:
    assert secret.encode() not in write_failure(read(400, {field: secret}), "req_1")


def test_an_engine_of_ours_may_explain_itself() -> None:
    body = read_case("llama_cpp/refused.json")
    said = "All non-assistant messages must contain 'content'"
    assert said in read(400, body, own=True).message
    assert said not in read(400, body, own=False).message


def test_an_engines_explanation_is_one_short_printable_line() -> None:
    error = read(400, {"message": "a\r\nb\x00\u2028" + "c" * 10_000}, own=True)
    assert error.message.isprintable()
    assert "a  b  c" in error.message
    assert len(error.message) < 700


def test_an_engine_that_gives_no_reason_adds_none() -> None:
    for message in ("", None):
        assert read(400, {"message": message}, own=True).message.endswith("(status 400)")


def test_an_overflow_is_told_with_the_phrase_and_the_counts() -> None:
    error = read(400, read_case("llama_cpp/overflow.json"), own=True)
    assert error.code == "context_length_exceeded"
    assert "This model's maximum context length is 2048 tokens." in error.message
    assert "The prompt has 6031 tokens." in error.message
    bare = read(400, {"code": "context_length_exceeded", "n_ctx": "many", "n_prompt_tokens": None})
    assert "This model's maximum context length is" in bare.message


def test_a_wrong_key_of_ours_is_not_the_clients_fault() -> None:
    error = read(401, read_case("llama_cpp/no_key.json"), own=True)
    assert (error.code, error.status, error.kind.retryable) == ("upstream_auth", 502, False)
    assert "Invalid API Key" not in error.message


@some_examples
@given(st.integers(100, 999), any_json | st.binary(), st.binary(), st.booleans())
def test_any_answer_is_classified(status: int, said: object, wait: bytes, own: bool) -> None:
    body = said if isinstance(said, bytes) else msgspec.json.encode({"error": said})
    headers = {b"retry-after": wait, b"date": wait}
    error = read_failure(status, headers, read_said(body), target="lab/m", own=own)
    assert error.code in KINDS
    assert write_failure(error, "req_1")
