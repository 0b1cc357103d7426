"""Bodies given out where they arrive: pieces, pauses, failures, deadlines."""

import asyncio
import time
from collections.abc import Callable

import pytest

from scripted import Peer, Script, ScriptedServer
from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.upstream import Origin, Response, Upstream

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"
PATIENT = Deadlines()
QUICK = Deadlines(connect_s=5, first_token_s=5, idle_s=0.6, total_s=20)


async def ask(server: ScriptedServer, deadlines: Deadlines = PATIENT) -> Response:
    upstream = Upstream(Origin("http", "127.0.0.1", server.port))
    return await upstream.send(HEAD, b"", deadlines)


def into(received: bytearray) -> Callable[[bytes], bool]:
    def take(data: bytes) -> bool:
        received.extend(data)
        return False

    return take


def sending_pieces(count: int, *, ends: bool = True) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        for number in range(count):
            await peer.chunk(b"<%d>" % number)
            await asyncio.sleep(0)
        if ends:
            await peer.end_chunked()

    return script


async def test_every_byte_arrives_in_order() -> None:
    received = bytearray()
    async with ScriptedServer(sending_pieces(500)) as server:
        response = await ask(server)
        is_full = await response.pump(into(received))
        assert is_full is False
        assert await response.pump(lambda _: True) is False
        response.close()
    assert bytes(received) == b"".join(b"<%d>" % number for number in range(500))


async def test_a_full_taker_is_waited_for() -> None:
    received = bytearray()
    pauses = 0

    def take(data: bytes) -> bool:
        received.extend(data)
        return True

    async with ScriptedServer(sending_pieces(50)) as server:
        response = await ask(server)
        while await response.pump(take):
            pauses += 1
            await asyncio.sleep(0)
        response.close()
    assert pauses > 0
    assert bytes(received) == b"".join(b"<%d>" % number for number in range(50))


async def test_a_cut_body_is_an_error_after_what_came() -> None:
    received = bytearray()
    async with ScriptedServer(sending_pieces(3, ends=False)) as server:
        response = await ask(server)
        with pytest.raises(GatewayError) as caught:
            await response.pump(into(received))
        response.close()
    assert caught.value.code == "upstream_error"
    assert bytes(received) == b"<0><1><2>"


async def test_what_the_taker_raises_comes_out_and_closes() -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        await asyncio.sleep(0.05)
        await peer.chunk(b"x")
        await peer.wait_closed()
        closed.set()

    def take(_data: bytes) -> bool:
        raise GatewayError("upstream_error", "broken inside")

    async with ScriptedServer(script) as server:
        response = await ask(server)
        with pytest.raises(GatewayError, match="broken inside"):
            await response.pump(take)
        response.close()
        async with asyncio.timeout(5):
            await closed.wait()


async def test_silence_ends_in_a_timeout_counted_from_the_last_piece() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        for _ in range(5):
            await asyncio.sleep(0.2)
            await peer.chunk(b"x")
        await peer.wait_closed()

    received = bytearray()
    async with ScriptedServer(script) as server:
        response = await ask(server, QUICK)
        start_s = time.monotonic()
        with pytest.raises(GatewayError) as caught:
            await response.pump(into(received))
        response.close()
    assert caught.value.code == "upstream_timeout"
    assert "idle_s" in caught.value.message
    assert bytes(received) == b"xxxxx"
    assert time.monotonic() - start_s > 1.5


async def test_the_total_ends_even_a_busy_body() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        while not peer.writer.is_closing():
            await peer.chunk(b"x")
            await asyncio.sleep(0.01)

    async with ScriptedServer(script) as server:
        response = await ask(server, Deadlines(idle_s=5, total_s=0.3))
        with pytest.raises(GatewayError, match="total_s"):
            await response.pump(lambda _: False)
        response.close()


async def test_cancelling_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        await peer.chunk(b"x")
        await peer.wait_closed()
        closed.set()

    async with ScriptedServer(script) as server:
        response = await ask(server)
        task = asyncio.create_task(response.pump(lambda _: False))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        response.close()
        async with asyncio.timeout(5):
            await closed.wait()


def taking(received: bytearray) -> Callable[[bytes, int, float], bool]:
    def take_chunk(chunk: bytes, start: int, _now: float) -> bool:
        received.extend(chunk[start:-2])
        return False

    return take_chunk


async def test_every_byte_arrives_in_order_by_the_short_way_too() -> None:
    together, short, pauses = bytearray(), 0, 0

    def take_chunk(chunk: bytes, start: int, _now: float) -> bool:
        nonlocal short
        short += 1
        together.extend(chunk[start:-2])
        return short % 7 == 0

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        for number in range(300):
            await peer.chunk(b"<%d>" % number)
            await asyncio.sleep(0.001)
        await peer.end_chunked()

    async with ScriptedServer(script) as server:
        response = await ask(server)
        while await response.pump(into(together), take_chunk):
            pauses += 1
            await asyncio.sleep(0)
        response.close()
    assert bytes(together) == b"".join(b"<%d>" % number for number in range(300))
    assert short > pauses > 0


async def test_silence_is_counted_from_the_last_chunk_that_went_the_short_way() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        for _ in range(5):
            await asyncio.sleep(0.2)
            await peer.chunk(b"x")
        await peer.wait_closed()

    received = bytearray()
    async with ScriptedServer(script) as server:
        response = await ask(server, QUICK)
        start_s = time.monotonic()
        with pytest.raises(GatewayError, match="idle_s") as caught:
            await response.pump(into(received), taking(received))
        response.close()
    assert caught.value.code == "upstream_timeout"
    assert bytes(received) == b"xxxxx"
    assert time.monotonic() - start_s > 1.5


async def test_the_total_ends_a_body_of_nothing_but_short_ways() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        while not peer.writer.is_closing():
            await peer.chunk(b"x")
            await asyncio.sleep(0.01)

    async with ScriptedServer(script) as server:
        response = await ask(server, Deadlines(idle_s=5, total_s=0.3))
        with pytest.raises(GatewayError, match="total_s"):
            await response.pump(lambda _: False, taking(bytearray()))
        response.close()
