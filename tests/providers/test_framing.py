"""Where an answer ends: every split gives the same body, every cut is an error."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripted import Peer, ScriptedServer, build_head, sending
from trunkline.errors import GatewayError
from trunkline.providers.connection import BODY, DONE, Connection

Reach = Callable[..., Any]

CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    b"7\r\ndata: 1\r\n2;x=y\r\n\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\nx-trailer: t\r\n\r\n"
)
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\ndata: 1\n\ndata: 2\n\n"
PLAIN = b"data: 1\n\ndata: 2\n\n"


class RecordingTransport(asyncio.Transport):
    """A transport without a socket, for what must be shown thousands of times."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return "abort" in self.calls

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


def make_connection() -> tuple[Connection, RecordingTransport]:
    transport = RecordingTransport()
    loop = asyncio.SelectorEventLoop()
    loop.close()  # no wait happens: the loop is only named
    connection = Connection(loop, lambda _: None)
    connection.connection_made(transport)
    connection.begin()
    return connection, transport


def feed(connection: Connection, pieces: list[bytes]) -> bytes:
    body = b""
    for piece in pieces:
        connection.data_received(piece)
        body += connection.take()
    return body


@pytest.mark.parametrize("answer", [CHUNKED, SIZED], ids=["chunked", "sized"])
def test_split_in_three_anywhere_the_body_is_the_same(answer: bytes) -> None:
    for first in range(1, len(answer)):
        for second in range(first, len(answer), 3):
            connection, _ = make_connection()
            pieces = [answer[:first], answer[first:second], answer[second:]]
            assert feed(connection, [piece for piece in pieces if piece]) == PLAIN
            assert connection.phase == DONE
            assert connection.is_reusable
            assert b"x-trailer" not in connection.fields


@given(
    parts=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=8),
)
def test_any_chunks_in_any_reads_give_the_body(parts: list[bytes], sizes: list[int]) -> None:
    answer = build_head(200, {"transfer-encoding": "chunked"})
    answer += b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    connection, _ = make_connection()
    pieces, at, turn = [], 0, 0
    while at < len(answer):
        size = sizes[turn % len(sizes)]
        pieces.append(answer[at : at + size])
        at, turn = at + size, turn + 1
    assert feed(connection, pieces) == b"".join(parts)
    assert connection.phase == DONE


@pytest.mark.parametrize("answer", [CHUNKED, SIZED], ids=["chunked", "sized"])
def test_cut_anywhere_the_answer_has_not_ended(answer: bytes) -> None:
    for size in range(len(answer)):
        connection, _ = make_connection()
        feed(connection, [answer[:size]] if size else [])
        connection.eof_received()
        assert connection.phase != DONE
        assert connection.failure == "closed"
        assert not connection.is_reusable


@pytest.mark.parametrize("answer", [CHUNKED, SIZED], ids=["chunked", "sized"])
async def test_split_at_every_byte_over_a_socket(reach: Reach, answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for at in range(len(answer)):
                await peer.write(answer[at : at + 1])
                await asyncio.sleep(0)

    async with ScriptedServer(script) as server:
        client = reach(server)
        assert await client.fetch() == PLAIN
        assert await client.fetch() == PLAIN
        assert len(server.peers) == 1


@pytest.mark.parametrize("by_reset", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        build_head(200, {"transfer-encoding": "chunked"}) + b"4\r\nda",
        build_head(200, {"transfer-encoding": "chunked"}) + b"4\r\ndata\r\n",
        build_head(200, {"transfer-encoding": "chunked"}) + b"4\r\ndata\r\n0\r\n",
        build_head(200, {"content-length": "10"}) + b"data",
        build_head(200, {"content-length": "10"}),
    ],
)
async def test_a_cut_body_is_an_error_after_its_bytes(
    reach: Reach, answer: bytes, by_reset: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer)
        await has_read.wait()
        peer.reset() if by_reset else peer.cut()

    has_read = asyncio.Event()
    async with ScriptedServer(script) as server:
        response = await reach(server).send()
        if not answer.endswith(b"\r\n\r\n"):
            assert b"data".startswith(await response.read())
        has_read.set()
        for _ in range(2):
            with pytest.raises(GatewayError, match="before the end of its answer") as caught:
                await response.read()
            assert caught.value.code == "upstream_error"


async def test_a_body_without_length_ends_with_the_connection(reach: Reach) -> None:
    async with ScriptedServer(sending(build_head(200, {"x": "y"}) + b"to the end")) as server:
        client = reach(server)
        assert await client.fetch() == b"to the end"
        assert await client.fetch() == b"to the end"
        assert len(server.peers) == 2


async def test_a_body_without_length_that_is_reset_is_cut(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.write(build_head(200, {}) + b"part")
        await has_read.wait()
        peer.reset()

    has_read = asyncio.Event()
    async with ScriptedServer(script) as server:
        response = await reach(server).send()
        assert await response.read() == b"part"
        has_read.set()
        with pytest.raises(GatewayError, match="before the end"):
            await response.read()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_answer_is_an_error(reach: Reach, answer: bytes) -> None:
    async with ScriptedServer(sending(answer)) as server:
        with pytest.raises(GatewayError, match=r"not an HTTP/1\.1 answer") as caught:
            await reach(server).fetch()
        assert caught.value.code == "upstream_error"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(300)) + b"\r\n",
        b"HTTP/1.1 103 Early\r\nx: y\r\n\r\n" * 4_000,
        build_head(200, {"transfer-encoding": "chunked"}) + b"0\r\nx: " + b"y" * 70_000,
    ],
    ids=["endless", "long", "many", "interim", "trailer"],
)
async def test_heads_and_trailers_have_a_limit(reach: Reach, answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for start in range(0, len(answer), 4096):
            await peer.write(answer[start : start + 4096])
        await peer.wait_closed()

    async with ScriptedServer(script) as server:
        with pytest.raises(GatewayError, match="too large") as caught:
            await reach(server).fetch()
        assert caught.value.code == "upstream_error"


def test_a_long_head_in_one_read_is_refused() -> None:
    connection, transport = make_connection()
    head = b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\ncontent-length: 2\r\n\r\nok"
    connection.data_received(head)
    assert connection.failure == "oversized"
    assert transport.calls == ["abort"]


def test_a_connection_that_ended_before_its_use_is_not_written_to() -> None:
    transport = RecordingTransport()
    loop = asyncio.SelectorEventLoop()
    loop.close()
    connection = Connection(loop, lambda _: None)
    connection.connection_made(transport)
    connection.eof_received()
    connection.begin()
    connection.write(b"POST / HTTP/1.1")  # the transport here would raise
    assert connection.failure == "closed"


def test_a_transport_that_is_gone_is_not_aborted() -> None:
    connection, transport = make_connection()
    connection.connection_lost(None)
    connection.abort()
    assert transport.calls == []
    assert connection.failure == "closed"


def test_reading_pauses_until_the_body_is_taken() -> None:
    connection, transport = make_connection()
    connection.data_received(build_head(200, {"content-length": "1000000"}))
    connection.data_received(b"x" * 200_000)
    assert transport.calls == []
    connection.data_received(b"x" * 100_000)
    assert transport.calls == ["pause"]
    assert len(connection.take()) == 300_000
    assert transport.calls == ["pause", "resume"]
    assert connection.phase == BODY
