"""Back-pressure both ways, cancellation, and many exchanges at once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from scripted import Peer, ScriptedServer, answering, wait_until
from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.connection import MAX_UNREAD_BYTES
from trunkline.providers.dial import Dialer, ProtocolT
from trunkline.providers.upstream import Origin

Reach = Callable[..., Any]

MEBIBYTE = 1 << 20


async def test_an_upstream_waits_while_nobody_reads(reach: Reach) -> None:
    total = 64 * MEBIBYTE
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        piece = bytes(MEBIBYTE // 4)
        while sent < total:
            await peer.write(piece)
            sent += len(piece)

    async with ScriptedServer(script) as server:
        response = await reach(server).send()
        connection = response._connection
        transport = server.peers[0].writer.transport
        await wait_until(lambda: connection.is_read_paused)
        await wait_until(lambda: transport.get_write_buffer_size() > 0)
        unread = sum(map(len, connection.chunks))
        assert MAX_UNREAD_BYTES <= unread < MAX_UNREAD_BYTES + MEBIBYTE
        assert sent < total
        size = 0
        while data := await response.read():
            assert len(data) < MAX_UNREAD_BYTES + MEBIBYTE
            size += len(data)
        assert size == total


async def test_a_long_request_body_waits_for_the_upstream(reach: Reach) -> None:
    body = bytes(range(256)) * (64 * MEBIBYTE // 256)

    async def script(peer: Peer) -> None:
        _, _, headers, _ = await peer.read_head()
        await go.wait()
        taken = await peer.reader.readexactly(int(headers["content-length"]))
        await peer.answer(b"%d" % (taken == body))

    go = asyncio.Event()
    async with ScriptedServer(script) as server:
        client = reach(server)
        connection = await client.upstream._connect(asyncio.get_running_loop(), Deadlines())
        client.upstream._release(connection)
        sending = asyncio.ensure_future(client.fetch(body))
        await wait_until(lambda: connection.is_write_paused)
        assert connection.transport.get_write_buffer_size() < MEBIBYTE
        go.set()
        assert await asyncio.wait_for(sending, 30) == b"1"


async def test_an_answer_may_come_before_the_body_is_sent(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.answer(b"too large", 413)
        await peer.wait_closed()

    async with ScriptedServer(script, answering(b"next")) as server:
        client = reach(server)
        response = await asyncio.wait_for(client.send(bytes(64 * MEBIBYTE)), 10)
        assert response.status == 413
        assert await response.read_all(100) == b"too large"
        response.close()
        assert await client.fetch() == b"next"
        assert len(server.peers) == 2


@pytest.mark.parametrize("moment", ["head", "body", "upload"])
async def test_cancelling_closes_the_connection_at_once(reach: Reach, moment: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_head()
        if moment == "body":
            await peer.begin_sse()
            await peer.frames(["1"])
        has_begun.set()
        if moment == "upload":
            await wait_until(task.done)
        await peer.wait_closed()
        has_left.set()

    async def call() -> None:
        response = await client.send(bytes(64 * MEBIBYTE) if moment == "upload" else b"{}")
        while await response.read():
            pass

    has_begun, has_left = asyncio.Event(), asyncio.Event()
    async with ScriptedServer(script) as server:
        client = reach(server)
        task = asyncio.create_task(call())
        await has_begun.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(has_left.wait(), 5)
        assert client.upstream._idle == []


async def test_a_connection_is_closed_that_comes_about_as_its_call_is_cancelled(
    reach: Reach,
) -> None:
    class LastMoment(Dialer):
        async def open(self, make: Callable[[], ProtocolT], within_s: float) -> ProtocolT:
            protocol = await super().open(make, within_s)
            asyncio.get_running_loop().call_soon(task.cancel)
            return protocol

    async def script(peer: Peer) -> None:
        await peer.wait_closed()
        has_left.set()

    has_left = asyncio.Event()
    async with ScriptedServer(script) as server:
        client = reach(server, dialer=LastMoment(Origin("http", server.host, server.port)))
        task = asyncio.create_task(client.send())
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(has_left.wait(), 5)


async def test_two_hundred_at_once_never_mix(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            number = int(request.body)
            if number % 3 == 0:
                await peer.answer(request.body * 3)
                continue
            await peer.begin_chunked()
            for _ in range(3):
                await peer.chunk(request.body)
                await asyncio.sleep(0)
            await peer.end_chunked()

    async def call(client: Any, number: int) -> None:
        body = b"%06d" % number
        assert await client.fetch(body) == body * 3

    async with ScriptedServer(script) as server:
        client = reach(server, max_idle=50)
        for start in (0, 200, 400):
            await asyncio.gather(*(call(client, start + n) for n in range(200)))
        assert len(server.requests) == 600
        assert len(client.upstream._idle) == 50
        assert len(server.peers) == 200 + 150 + 150


async def test_a_failure_leaves_the_others_alone(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.body == b"bad":
                peer.reset()
                return
            await peer.answer(request.body)

    async with ScriptedServer(script) as server:
        client = reach(server)
        results = await asyncio.gather(
            *(client.fetch(b"bad" if n % 2 else b"good") for n in range(20)),
            return_exceptions=True,
        )
        assert results[::2] == [b"good"] * 10
        assert all(isinstance(each, GatewayError) for each in results[1::2])
