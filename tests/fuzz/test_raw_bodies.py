"""Raw bytes against every inference route: a good answer or a clear refusal, and always soon."""

import json
import re
import socket
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.served import ANSWER_WITHIN_S, Served
from fuzz.wire import JSON, PATHS, check_answer, exchange, write_head, write_request
from trunkline.api.openapi import write_document

SCHEMAS = write_document()["components"]["schemas"]
FUZZ = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

CHAT: Final = {"model": b'"model"', "messages": b'[{"role":"user","content":"hi"}]'}
TEXT: Final = {"model": b'"model"', "prompt": b'"hi"'}
LITERALS: Final = (
    *(b"null", b"true", b'""', b"[]", b"{}", b"[null]", b'{"":null}', b"[[[]]]", b'"model"'),
    *(b"0", b"-0", b"-1", b"1.0", b"0.5", b"1e999", b"-1e999", b"1E-999", b"9" * 400),
    *(b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616", b"3.5" + b"0" * 99),
    *(b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"+1", b"0x1", b"1_0"),
    *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\\x"', b"'a'"),
    *(b'"\xff\xfe"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x80\xa8"'),
    *(b'"\x00"', b'"\n"', b'"\r\\n: x"', b'"unclosed', b"[1,", b"[1 2]", b"{1:2}", b"//c\n1"),
    *(b"[" * 500 + b"]" * 500, b'{"a":' * 500 + b"1" + b"}" * 500, b"[" * 5000 + b"]" * 5000),
    *(b'"' + b"x" * 100_000 + b'"', b"[" + b"1," * 20_000 + b"1]", b'["a","b","c","d","e"]'),
    *(b'[{"role":1}]', b'[{"image_url":"x"}]', b'{"temperature":2}', b'{"include_usage":true}'),
    b'{"topP":0.1,"top_p":0.2}',
)
DEEP: Final = 100_000


def write_body(fields: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(json.dumps(k).encode() + b":" + v for k, v in fields.items()) + b"}"


def name_header(line: str) -> str:
    return line.partition(":")[0].lower()


def find_base(path: str) -> dict[str, bytes]:
    return CHAT if "chat" in path else TEXT


def list_fields(path: str) -> list[str]:
    if "chat" in path:
        return list(SCHEMAS["ChatBody"]["properties"])
    name = "TextBody" if "/v1/" in path else "CompletionBody"
    return list(SCHEMAS[name]["properties"])


@st.composite
def bodies(draw: st.DrawFn, path: str) -> bytes:
    """A valid body with some fields spoilt, and sometimes the whole."""
    names = st.sampled_from([*list_fields(path), "unknown", ""])
    fields = find_base(path) | draw(st.dictionaries(names, st.sampled_from(LITERALS), max_size=4))
    if draw(st.booleans()):
        fields |= {"stream": draw(st.sampled_from((b"true", b"false")))}
    body = write_body(fields)
    match draw(st.sampled_from(("as is", "twice", "cut", "tail", "bytes", "encoding", "space"))):
        case "twice":
            return body[:-1] + b"," + write_body({draw(names): draw(st.sampled_from(LITERALS))})[1:]
        case "cut":
            return body[: draw(st.integers(0, len(body)))]
        case "tail":
            return body + draw(st.binary(min_size=1, max_size=20))
        case "bytes":
            place = draw(st.integers(0, len(body)))
            return body[:place] + draw(st.binary(max_size=8)) + body[place + 2 :]
        case "encoding":
            text = body.decode("latin-1")
            return text.encode(draw(st.sampled_from(("utf-16", "utf-32-be", "utf-8-sig", "utf-7"))))
        case "space":
            return b" \t\r\n" * draw(st.integers(1, 500)) + body
        case _:
            return body


@FUZZ
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=3000))
def test_random_bytes(served: Served, path: str, body: bytes) -> None:
    check_answer(exchange(served, write_request(path, body)))


@FUZZ
@given(data=st.data(), path=st.sampled_from(PATHS))
def test_spoilt_json(served: Served, data: st.DataObject, path: str) -> None:
    check_answer(exchange(served, write_request(path, data.draw(bodies(path)))))


@pytest.mark.parametrize("stream", [b"true", b"false"])
@pytest.mark.parametrize(
    "path", ["/v4/completions", "/v4/beta/chat/completions", "/v1/completions"]
)
def test_every_field_with_every_odd_value(served: Served, path: str, stream: bytes) -> None:
    for name in list_fields(path):
        for literal in LITERALS:
            fields = {"stream": stream} | find_base(path) | {name: literal}
            check_answer(exchange(served, write_request(path, write_body(fields))))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b'{"model":"model","prompt":"hi","messages":[{}],"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"model":"model","prompt":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"model":"model","messages":[' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"]}",
    ],
    ids=["open", "lists", "objects", "unknown field", "prompt", "messages"],
)
def test_deep_json_is_refused_and_the_process_lives(served: Served, path: str, body: bytes) -> None:
    answer = exchange(served, write_request(path, body))
    check_answer(answer)
    assert answer.status == 422
    served.check_health()


@pytest.mark.parametrize("path", ["/v4/completions", "/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    "value",
    [b"7" * 1_000_000, b"0." + b"7" * 1_000_000, b'"' + b"\\u00e9" * 300_000 + b'"',
     b"[" + b"[]," * 200_000 + b"[]]", b"{" + b'"a":1,' * 200_000 + b'"b":2}'],
    ids=["integer", "fraction", "text", "list", "object"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["model", "prompt", "messages", "stop", "temperature", "x"])
def test_huge_values_are_answered_soon(served: Served, path: str, name: str, value: bytes) -> None:
    body = write_body(find_base(path) | {name: value})
    check_answer(exchange(served, write_request(path, body)))


HEADERS: Final = (
    *("content-type: text/plain", "content-type: application/json; charset=utf-16"),
    *("content-type:", "content-type: \xff\xfe", "CONTENT-TYPE: APPLICATION/JSON"),
    *("accept: text/html", "accept: text/event-stream", "accept-encoding: gzip;q=0"),
    *(
        f"x-stainless-read-timeout: {value}"
        for value in ("nan", "inf", "-1", "0", "1e999", "x", "")
    ),
    *(f"x-selected-account-id: {value}" for value in ("", " ", "default", "\xe9", "x" * 5000)),
    *("authorization: Basic \xff", "authorization: Bearer", "authorization: Basic bm8=="),
    *("content-encoding: gzip", "te: trailers", "connection: close", "connection: upgrade"),
    *("x-request-id: \xe9", "cookie: " + "a=b; " * 500, "traceparent: 00-zz-zz-00", "origin: null"),
)


@FUZZ
@given(
    path=st.sampled_from(PATHS),
    headers=st.lists(st.sampled_from(HEADERS), max_size=4, unique_by=name_header),
    stream=st.booleans(),
)
def test_odd_headers(served: Served, path: str, headers: list[str], stream: bool) -> None:
    body = write_body(find_base(path) | {"stream": b"true" if stream else b"false"})
    answer = exchange(served, write_request(path, body, headers))
    check_answer(answer)
    account_known = not any("account-id: \xe9" in each or "xxx" in each for each in headers)
    assert answer.status == (200 if account_known else 403)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("length", [["content-length: 0"], []], ids=["zero", "none"])
@pytest.mark.parametrize("kind", [[JSON], []], ids=["json", "untyped"])
def test_no_body(served: Served, path: str, length: list[str], kind: list[str]) -> None:
    answer = exchange(served, write_head(path, [*length, *kind]))
    check_answer(answer)
    assert answer.status == 422


@FUZZ
@given(
    path=st.sampled_from(PATHS),
    cuts=st.lists(st.integers(1, 60), max_size=6),
    stream=st.booleans(),
    expects=st.booleans(),
)
def test_chunked_bodies(
    served: Served, path: str, cuts: list[int], stream: bool, expects: bool
) -> None:
    rest = write_body(find_base(path) | {"stream": b"true" if stream else b"false"})
    expect = ["expect: 100-continue"] if expects else []
    pieces = [write_head(path, ["transfer-encoding: chunked", JSON, *expect])]
    for cut in [*cuts, len(rest)]:
        piece, rest = rest[:cut], rest[cut:]
        if piece:
            pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
    answer = exchange(served, *pieces, b"0\r\n\r\n")
    check_answer(answer)
    assert answer.status == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_waits_for_permission_to_send_gets_it(served: Served, path: str) -> None:
    body = write_body(find_base(path))
    head = write_head(path, [JSON, "expect: 100-continue", f"content-length: {len(body)}"])
    answer = exchange(served, head, body)
    check_answer(answer)
    assert answer.status == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(served: Served, path: str, method: str) -> None:
    request = write_request(path, write_body(find_base(path)), method=method)
    answer = exchange(served, request, method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    if method != "HEAD":
        check_answer(answer)


@FUZZ
@given(path=st.text(st.characters(codec="ascii", exclude_characters="\r\n ?#"), max_size=60))
def test_paths_that_do_not_exist(served: Served, path: str) -> None:
    answer = exchange(served, write_head(f"/nothing/{path}", [], "GET"), method="GET")
    check_answer(answer)
    assert answer.status in (400, 404)  # 400: the path is no HTTP


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v4/completions HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n",
        b"POST /v4/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v4/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v4/completions HTTP/9.9\r\nhost: x\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    ],
    ids=["length", "negative", "chunk", "version", "line", "tls"],
)
def test_what_is_no_http_is_refused_at_once(served: Served, head: bytes) -> None:
    answer = exchange(served, head)
    check_answer(answer)
    assert answer.status == 400


@pytest.mark.parametrize(
    "request_",
    [
        write_head("/v4/completions", [JSON, "content-length: 500"]) + b'{"model":',
        write_head("/v4/completions", [JSON, "transfer-encoding: chunked"]) + b"5\r\n{",
        write_head("/v4/completions", [JSON])[:60],
    ],
    ids=["length", "chunked", "head"],
)
def test_a_request_that_breaks_off_ends_at_once(served: Served, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), ANSWER_WITHIN_S) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_requests_sent_at_once_are_answered_in_order(served: Served) -> None:
    whole, stream = write_body(TEXT), write_body(TEXT | {"stream": b"true"})
    with socket.create_connection(("127.0.0.1", served.port), ANSWER_WITHIN_S) as connection:
        connection.sendall(
            write_request("/v4/completions", whole)
            + write_request("/v4/completions", stream)
            + write_request("/v4/completions", b"")
            + write_request("/v4/completions", whole, ("connection: close",))
        )
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+) ", said) == [b"200", b"200", b"422", b"200"]
    assert said.count(b"content-type: text/event-stream") == 1


def test_the_process_has_survived(served: Served) -> None:
    served.check_health()
