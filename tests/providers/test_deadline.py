import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from scripted import Peer, ScriptedServer, answering
from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.upstream import ConnectFailed, Origin

Reach = Callable[..., Any]


class Silent:
    """A script that takes a request and gives nothing more than the bytes it was told to."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first
        self.left = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.write(self.first)
        await peer.wait_closed()
        self.left.set()


async def expect_timeout(waiting: Any, word: str) -> None:
    with pytest.raises(GatewayError, match=word) as caught:
        await asyncio.wait_for(waiting, 5)
    assert caught.value.code == "upstream_timeout"
    assert caught.value.status == 504
    assert not isinstance(caught.value, ConnectFailed)


@pytest.mark.parametrize(
    ("deadlines", "word"),
    [
        (Deadlines(first_token_s=0.05), "begin to answer within 0.05 s"),
        (Deadlines(total_s=0.05), "within 0.05 s .total_s"),
    ],
)
async def test_a_head_that_does_not_come(reach: Reach, deadlines: Deadlines, word: str) -> None:
    silent = Silent()
    async with ScriptedServer(silent) as server:
        await expect_timeout(reach(server).send(deadlines=deadlines), word)
        await asyncio.wait_for(silent.left.wait(), 5)


@pytest.mark.parametrize(
    ("deadlines", "word"),
    [
        (Deadlines(idle_s=0.05), "nothing more for 0.05 s"),
        (Deadlines(total_s=0.05), "end its answer within 0.05 s"),
    ],
)
async def test_a_body_that_stops(reach: Reach, deadlines: Deadlines, word: str) -> None:
    silent = Silent(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart")
    async with ScriptedServer(silent) as server:
        response = await reach(server).send(deadlines=deadlines)
        assert await response.read() == b"part"
        await expect_timeout(response.read(), word)
        await asyncio.wait_for(silent.left.wait(), 5)
        await expect_timeout(response.read(), word)


async def test_a_stream_that_never_ends_meets_the_total(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        while True:
            await peer.chunk(b"more")
            await asyncio.sleep(0)

    async with ScriptedServer(script) as server:
        response = await reach(server).send(deadlines=Deadlines(total_s=0.1))

        async def read_on() -> None:
            while await response.read():
                pass

        await expect_timeout(read_on(), "end its answer within 0.1 s")


async def test_a_shorter_deadline_counts_on_a_kept_connection(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()
        await peer.wait_closed()

    async with ScriptedServer(script) as server:
        client = reach(server)
        await client.fetch(deadlines=Deadlines(first_token_s=60))
        await expect_timeout(client.fetch(deadlines=Deadlines(first_token_s=0.05)), "0.05 s")
        assert len(server.peers) == 1


async def test_a_timer_left_from_before_does_not_end_a_longer_wait(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"first")
        await peer.request()
        asyncio.get_running_loop().call_later(0.15, has_passed.set)
        await has_passed.wait()
        await peer.answer(b"second")

    has_passed = asyncio.Event()
    async with ScriptedServer(script) as server:
        client = reach(server)
        assert await client.fetch(deadlines=Deadlines(first_token_s=0.1)) == b"first"
        assert await client.fetch(deadlines=Deadlines(first_token_s=30)) == b"second"


async def test_an_upload_that_is_not_taken(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_head()
        await left.wait()

    left = asyncio.Event()
    async with ScriptedServer(script) as server:
        body = bytes(32 << 20)
        sending = reach(server).send(body, Deadlines(idle_s=0.1))
        with pytest.raises(GatewayError) as caught:
            await asyncio.wait_for(sending, 5)
        assert caught.value.code == "upstream_timeout"
        left.set()


async def test_no_connection_in_time(reach: Reach) -> None:
    # The kernel accepts one connection that nobody takes, and leaves the others waiting.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        client = reach(Origin("http", "127.0.0.1", full.getsockname()[1]))
        with pytest.raises(ConnectFailed, match=r"within 0\.05 s") as caught:
            await asyncio.wait_for(client.send(deadlines=Deadlines(connect_s=0.05)), 5)
        assert caught.value.code == "upstream_timeout"


async def test_deadlines_leave_no_timer_per_request(reach: Reach) -> None:
    async with ScriptedServer(answering()) as server:
        client = reach(server)
        await client.fetch()
        (connection,) = client.upstream._idle
        timer = connection._timer
        for _ in range(10):
            await client.fetch()
        assert connection._timer is timer
