import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.mend import mend_chunk
from trunkline.wire.openai_reply import CHAT_CHUNK, ChatChunk
from trunkline.wire.reply import decode_object, decode_reply, native_reason
from trunkline.wire.sse import write_frame
from wire.sample import any_json, make_chunk, make_stamp, may_fail, some_examples
from wire.strict import read_chat_stream


def read(body: bytes) -> tuple[ChatChunk, bytes]:
    return decode_reply(CHAT_CHUNK, body, make_stamp(), mend_chunk)


@pytest.mark.parametrize(
    "body",
    [
        msgspec.json.encode(make_chunk({"content": "é"}, "stop")),
        json.dumps(make_chunk({"content": "é"}), indent=2).encode(),
        msgspec.json.encode(make_chunk({"content": ""}, None, future={"field": [1]})),
    ],
)
def test_what_fits_is_forwarded_byte_for_byte(body: bytes) -> None:
    chunk, payload = read(body)
    assert payload is body
    assert chunk.id == "c1"


def test_what_does_not_fit_is_mended() -> None:
    chunk, payload = read(msgspec.json.encode(make_chunk({"content": "é"}, "eos")))
    assert chunk.choices[0].finish_reason == "stop"
    assert json.loads(payload) == make_chunk({"content": "é"}, "stop")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b'{"id":',
        b'{"id":"\xff\xfe"}',
        b'{"choices":[1]}',
        b'{"choices":{}}',
        b'{"choices":"x"}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"choices":[{"delta":{"content":5}}]}',
        b'{"choices":[{"delta":{"tool_calls":"x"}}]}',
        b'{"choices":[{"delta":{"tool_calls":{"a":1}}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"function":7}]}}]}',
        b'{"choices":[{"logprobs":{"content":[{"top_logprobs":[1]}]}}]}',
        b'{"choices":[],"created":1e999}',
        b'{"choices":[],"usage":{"prompt_tokens":1e999}}',
        b'{"choices":[],"x":' + b"9" * 5000 + b",}",
    ],
)
def test_what_cannot_be_mended_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read(body)
    assert caught.value.code == "upstream_error"


@pytest.mark.parametrize("error", ["failed", {"message": "sk-secret", "code": 500}, ["x"], True])
@pytest.mark.parametrize("whole", [True, False])
def test_an_error_inside_a_200_is_an_upstream_error(error: object, *, whole: bool) -> None:
    body = make_chunk({}, "stop", error=error) if whole else {"error": error}
    with pytest.raises(GatewayError) as caught:
        read(msgspec.json.encode(body))
    assert caught.value.code == "upstream_error"
    assert "sk-secret" not in caught.value.message


@pytest.mark.parametrize("error", [None, {}, "", False])
def test_an_error_field_that_says_nothing_is_none(error: object) -> None:
    chunk, _ = read(msgspec.json.encode(make_chunk({}, "stop", error=error)))
    assert chunk.choices[0].finish_reason == "stop"


def test_nan_and_infinity_are_never_passed_on() -> None:
    body = json.dumps(make_chunk({"content": "é"}, None, timing=float("nan"), top=float("inf")))
    assert "NaN" in body
    chunk, payload = read(body.encode())
    assert chunk.choices[0].delta.content == "é"
    assert msgspec.json.decode(payload) == make_chunk({"content": "é"}, None, timing=None, top=None)


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        ("\\ud83d", "\ufffd"),
        ("a\\udc4b!", "a\ufffd!"),
        ("\\ud83d\\ud83d\\udc4b", "\ufffd👋"),
        ("\\\\ud83d", "\\ud83d"),
    ],
)
def test_escapes_of_lone_surrogates_reach_the_client(escaped: str, text: str) -> None:
    body = msgspec.json.encode(make_chunk({"content": "@"})).replace(b"@", escaped.encode())
    chunk, payload = read(body)
    assert chunk.choices[0].delta.content == text
    sent = json.loads(body)["choices"][0]["delta"]["content"]
    assert json.loads(payload)["choices"][0]["delta"]["content"] == sent
    assert write_frame(payload).isascii()
    for chunks in read_chat_stream(write_frame(payload)).values():
        assert chunks[0].choices[0].delta.content == sent


@some_examples
@given(any_json)
def test_any_json_is_read_or_refused(value: object) -> None:
    with may_fail("upstream_error"):
        _, payload = read(msgspec.json.encode(value))
        assert isinstance(msgspec.json.decode(payload, type=ChatChunk), ChatChunk)


@some_examples
@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with may_fail("upstream_error"):
        assert isinstance(decode_object(body), dict)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"choices": [{"finish_reason": "eos"}]}, "eos"),
        ({"choices": [{"finish_reason": None}]}, ""),
        ({"choices": [{}]}, ""),
        ({"choices": []}, ""),
        ({}, ""),
    ],
)
def test_the_native_reason_is_the_providers_own_word(body: object, reason: str) -> None:
    assert native_reason(msgspec.json.encode(body)) == reason
