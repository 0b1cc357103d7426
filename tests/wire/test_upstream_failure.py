"""Statuses, headers and what may be shown: tests/wire/test_openai_failure.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import KINDS, GatewayError
from trunkline.wire.failure import write_failure, write_failure_headers
from trunkline.wire.upstream_failure import Said, read_failure, read_word
from wire.sample import some_examples

STATUSES = (400, 404, 413, 422, 429, 500, 503, 529)


def read(status: int, said: Said, *, own: bool = False) -> GatewayError:
    return read_failure(status, {}, said, target="lab/m", own=own)


@pytest.mark.parametrize("status", STATUSES)
def test_a_refused_key_or_a_used_up_quota_goes_before_the_status(status: int) -> None:
    assert read(status, Said(key=True, quota=True, overflow=True)).code == "upstream_auth"
    assert read(status, Said(quota=True, overflow=True)).code == "insufficient_quota"


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_an_overflow_is_told_with_the_counts_that_are_known(status: int) -> None:
    error = read(status, Said(overflow=True, window_tokens=8192, prompt_tokens=9000))
    assert (error.code, error.status, error.param) == ("context_length_exceeded", 400, "messages")
    assert "This model's maximum context length is 8192 tokens." in error.message
    assert "The prompt has 9000 tokens." in error.message
    bare = read(status, Said(overflow=True))
    assert "This model's maximum context length is smaller than the request." in bare.message
    assert "The prompt has" not in bare.message


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_overflow_does_not_excuse_a_servers_own_failure(status: int) -> None:
    assert read(status, Said(overflow=True)).code != "context_length_exceeded"


@pytest.mark.parametrize("status", [429, 503, 529])
def test_the_bodys_advice_is_used_where_the_headers_have_none(status: int) -> None:
    assert read(status, Said(retry_after_s=17.5)).retry_after_s == 17.5
    headers = {b"retry-after": b"3"}
    said = Said(retry_after_s=17.5)
    assert read_failure(status, headers, said, target="lab/m", own=False).retry_after_s == 3


@pytest.mark.parametrize("status", [429, 503])
def test_what_an_upstream_did_not_say_is_not_told_as_its_word(status: int) -> None:
    assert (read(status, Said()).told_s, read(status, Said()).retry_after_s) == (None, 1)
    assert read(status, Said(retry_after_s=17.5)).told_s == 17.5


@pytest.mark.parametrize("code", ["content_filter", "data_inspection_failed", "invalid_value"])
def test_a_content_filters_refusal_is_marked(code: str) -> None:
    error = read(400, Said(code=code))
    assert error.code == "upstream_rejected"
    assert error.cause == ("" if code == "invalid_value" else "filter")


@pytest.mark.parametrize("advice", [b"nan", b"inf", b"-inf", b"-5", b"1e400", b"0"])
def test_no_advice_of_an_upstream_breaks_the_answer(advice: bytes) -> None:
    error = read_failure(429, {b"retry-after": advice}, Said(), target="lab/m", own=False)
    headers = dict(write_failure_headers(error, "req_1"))
    assert 1 <= int(headers[b"retry-after"]) <= 60
    assert 1000 <= int(headers[b"retry-after-ms"]) <= 60_000


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("invalid_value", "invalid_value"),
        ("messages[0].content", "messages[0].content"),
        ("", None),
        (None, None),
        (400, None),
        ("sk-123", None),
        ("two words", None),
        ("a" * 24, None),
        ("line\n", None),
        ("ключ", None),
    ],
)
def test_only_a_short_plain_word_is_shown(word: object, shown: str | None) -> None:
    assert read_word(word) == shown


@some_examples
@given(
    st.integers(100, 999),
    st.builds(
        Said,
        code=st.none() | st.text(),
        param=st.none() | st.text(),
        message=st.text(),
        overflow=st.booleans(),
        window_tokens=st.none() | st.integers(),
        prompt_tokens=st.none() | st.integers(),
        quota=st.booleans(),
        key=st.booleans(),
        retry_after_s=st.none() | st.floats(),
    ),
    st.booleans(),
)
def test_any_failure_is_one_of_the_closed_codes(status: int, said: Said, own: bool) -> None:
    error = read(status, said, own=own)
    assert error.code in KINDS
    assert error.message.isprintable()
    assert write_failure(error, "req_1")
    assert write_failure_headers(error, "req_1")
