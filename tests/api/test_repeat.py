"""A request that repeats the head of the one before means what the parser would read in it."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import KEY, run_gateway, run_upstream
from scripted import Peer
from trunkline.api.direct import DirectProtocol
from trunkline.repeat import Repeat, learn_request

NAMES = ("x-api-key", "accept", "Authorization", "x-note", "Content-type", "traceparent")
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "upstream-model",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Parsed:
    """What llhttp reads in some bytes: whole messages, as headers and body."""

    def __init__(self, data: bytes) -> None:
        self.messages: list[tuple[dict[bytes, bytes], bytes]] = []
        self.is_open = False
        self._headers: dict[bytes, bytes] = {}
        self._body = b""
        httptools.HttpRequestParser(self).feed_data(data)

    def on_message_begin(self) -> None:
        self._headers, self._body, self.is_open = {}, b"", True

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.messages.append((self._headers, self._body))
        self.is_open = False


def build(lines: list[tuple[str, str]], length: str, body: bytes, place: int = 0) -> bytes:
    """A request with its content-length among the other lines."""
    fields = [f"{name}: {value}" for name, value in lines]
    fields.insert(place % (len(fields) + 1), f"Content-Length: {length}")
    head = "\r\n".join(["POST /v1/chat/completions HTTP/1.1", *fields, "", ""])
    return head.encode() + body


def learn(data: bytes) -> Repeat | None:
    (headers, _), *_ = Parsed(data).messages
    return learn_request(data, headers)


LINES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.text("ab1 :-\t", max_size=6).map(str.strip)),
    max_size=4,
    unique_by=lambda line: line[0].lower(),
)
BODIES = st.binary(max_size=30)


@given(LINES, BODIES, BODIES, st.integers(0, 4), st.data())
def test_what_matches_is_what_the_parser_reads(
    lines: list[tuple[str, str]], first: bytes, second: bytes, place: int, data: st.DataObject
) -> None:
    repeat = learn(build(lines, str(len(first)), first, place))
    assert repeat is not None
    again = bytearray(build(lines, str(len(second)), second, place))
    assert repeat.match(bytes(again)) == (second, 0)
    # Any change may make it another request; none may make it match and mean something else.
    kind = data.draw(st.sampled_from(["change", "cut", "add", "length"]))
    if kind == "change":
        at = data.draw(st.integers(0, len(again) - 1))
        again[at] = data.draw(st.sampled_from(b"\r\n :0129+-aZ\x00\xff"))
    elif kind == "cut":
        del again[data.draw(st.integers(0, len(again))) :]
    elif kind == "add":
        again += data.draw(st.binary(min_size=1, max_size=9))
    else:
        text = data.draw(
            st.sampled_from(["", "+1", "-1", "0x1", "1,1", "\uff11", "00", " 1", "1 "])
        )
        again = bytearray(build(lines, text, second, place))
    found = repeat.match(bytes(again))
    if found is not None:
        body, missing = found
        parsed = Parsed(bytes(again) + b"x" * missing)
        assert not parsed.is_open
        [(headers, read)] = parsed.messages
        assert read == body + b"x" * missing
        length = {b"content-length": headers[b"content-length"]}
        assert headers == {**repeat.headers, **length}


@pytest.mark.parametrize(
    "line",
    ["Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: h2c", "Connection: close"],
)
def test_heads_that_change_the_reading_are_not_learned(line: str) -> None:
    name, value = line.split(": ")
    data = build([], "2", b"{}").replace(b"\r\n\r\n", f"\r\n{line}\r\n\r\n".encode())
    assert learn_request(data, {name.lower().encode(): value.encode()}) is None


def test_a_length_that_is_not_the_data_s_is_not_learned() -> None:
    whole = build([], "2", b"{}")
    headers = {b"content-length": b"2"}
    assert learn_request(whole, headers) is not None
    assert learn_request(whole[:-1], headers) is not None  # the rest of the body comes later
    assert learn_request(whole[:-3], headers) is None
    assert learn_request(whole + b"x", headers) is None
    assert (
        learn_request(whole.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n"), headers) is None
    )


async def answer_each(peer: Peer) -> None:
    """Answer every request with its own last word."""
    while True:
        request = await peer.request()
        words = json.loads(request.body)["messages"][-1]["content"]
        choice = {**ANSWER["choices"][0], "message": {"role": "assistant", "content": words}}  # type: ignore[index]
        await peer.answer(json.dumps({**ANSWER, "choices": [choice]}).encode())


def write_call(words: str, key: str = KEY) -> bytes:
    body = {"model": "model", "messages": [{"role": "user", "content": words}]}
    lines = [("host", "x"), ("x-api-key", key), ("content-type", "application/json")]
    data = json.dumps(body).encode()
    return build(lines, str(len(data)), data)


def read_answer(sock: socket.socket, buffer: bytearray) -> tuple[int, Any]:
    while b"\r\n\r\n" not in buffer:
        buffer += sock.recv(65536)
    head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(rest) < length:
        rest += sock.recv(65536)
    buffer[:] = rest[length:]
    return int(head.split(b" ")[1]), json.loads(rest[:length])


def test_requests_on_one_connection_keep_their_own_body_and_key(tmp_path: Path) -> None:
    with (
        run_upstream(answer_each) as upstream,
        run_gateway(tmp_path, upstream.port) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock,
    ):
        buffer = bytearray()

        def ask(*pieces: bytes) -> tuple[int, Any]:
            for piece in pieces:
                sock.sendall(piece)
            status, answer = read_answer(sock, buffer)
            return status, answer["choices"][0]["message"]["content"] if status == 200 else None

        for words in ("one", "two", "a much longer question than those before " * 9, "four"):
            assert ask(write_call(words)) == (200, words)
        other = KEY[:-1] + ("x" if KEY[-1] != "x" else "y")
        assert ask(write_call("stolen", key=other))[0] == 401
        assert ask(write_call("five")) == (200, "five")
        assert ask(write_call("six")) == (200, "six")
        seven = write_call("seven")
        assert ask(seven[:9], seven[9:60], seven[60:-3], seven[-3:]) == (200, "seven")
        assert ask(write_call("eight")) == (200, "eight")
        for at in range(5):  # as most clients of Python do: the head by itself, then the body
            words = f"in two pieces {at} " * 9**at
            head, _, body = write_call(words).partition(b"\r\n\r\n")
            sock.sendall(head + b"\r\n\r\n" + body[: 3 * at])
            time.sleep(0.05)
            assert ask(body[3 * at :]) == (200, words)
        # One and a half: what is behind the body is the next request.
        head, _, body = write_call("before").partition(b"\r\n\r\n")
        sock.sendall(head + b"\r\n\r\n")
        time.sleep(0.05)
        assert ask(body + write_call("behind")) == (200, "before")
        status, answer = read_answer(sock, buffer)
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "behind")
        # Two at once: the second one waits for the answer to the first.
        assert ask(write_call("nine") + write_call("ten")) == (200, "nine")
        status, answer = read_answer(sock, buffer)
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "ten")
        assert ask(write_call("eleven")) == (200, "eleven")
        assert ask(write_call("twelve")) == (200, "twelve")
        broken = write_call("thirteen").replace(b"POST", b"P@ST")
        sock.sendall(broken)
        assert read_answer(sock, buffer)[0] == 400


def test_a_head_that_repeats_is_parsed_once_though_its_body_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, begun = DirectProtocol.on_message_begin, 0

    def note(protocol: DirectProtocol) -> None:
        nonlocal begun
        begun += 1
        begin(protocol)

    monkeypatch.setattr(DirectProtocol, "on_message_begin", note)
    with (
        run_upstream(answer_each) as upstream,
        run_gateway(tmp_path, upstream.port) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock,
    ):
        buffer = bytearray()
        for words in ("one", "two", "a longer question", "four"):
            head, _, body = write_call(words).partition(b"\r\n\r\n")
            sock.sendall(head + b"\r\n\r\n")
            time.sleep(0.05)  # so that they are two reads there
            sock.sendall(body)
            status, answer = read_answer(sock, buffer)
            assert (status, answer["choices"][0]["message"]["content"]) == (200, words)
    assert begun == 1


def test_a_repeat_is_of_the_request_before_it_and_no_other(tmp_path: Path) -> None:
    with (
        run_upstream(answer_each) as upstream,
        run_gateway(tmp_path, upstream.port) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock,
    ):
        buffer = bytearray()

        def tell(words: str) -> str:
            data = json.dumps({"model": "model", "prompt": words}).encode()
            native = build([("host", "x"), ("x-api-key", KEY)], str(len(data)), data)
            sock.sendall(native.replace(b"/v1/chat/completions", b"/v4/completions", 1))
            status, answer = read_answer(sock, buffer)
            return str(answer["completion"]["text"] if status == 200 else answer)

        def chat(words: str) -> str:
            sock.sendall(write_call(words))
            status, answer = read_answer(sock, buffer)
            return str(answer["choices"][0]["message"]["content"] if status == 200 else answer)

        long = "far more than one read " * 50_000
        for at in range(20):
            assert tell(f"{at}") == f"{at}"
            assert chat(long) == long  # it comes in many reads, so its own head is not learned
            assert tell(f"{at} again") == f"{at} again"
            assert chat(f"{at}") == f"{at}"
