import asyncio
import socket
import zlib
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


def pinging(first: bytes = b"", *, every_s: float = 0.02) -> Any:
    """A script that sends something, and then nothing but signs of life."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        if first:
            await peer.chunk(first)
        while True:
            await peer.chunk(b": alive\n\n")
            await asyncio.sleep(every_s)

    return script


class Tokens:
    """Takes a body and counts the tokens in it."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, data: bytes) -> bool:
        self.count += data.count(b"token")
        return False


@pytest.mark.parametrize(
    ("deadlines", "word"),
    [
        (Deadlines(first_token_s=0.2, idle_s=0.05), "no content within 0.2 s .first_token_s"),
        (Deadlines(first_token_s=0.2, idle_s=60), "no content within 0.2 s .first_token_s"),
        (Deadlines(total_s=0.2, idle_s=0.05), "within 0.2 s .total_s"),
    ],
)
@pytest.mark.parametrize("every_s", [0.02, 10])
async def test_signs_of_life_are_no_first_token(
    reach: Reach, deadlines: Deadlines, word: str, every_s: float
) -> None:
    tokens = Tokens()
    async with ScriptedServer(pinging(every_s=every_s)) as server:
        response = await reach(server).send(deadlines=deadlines)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await expect_timeout(response.pump(tokens.take, None, lambda: tokens.count), word)
        assert 0.15 < loop.time() - began < 3


@pytest.mark.parametrize("every_s", [0.02, 10])
async def test_signs_of_life_break_no_silence_for_ever(reach: Reach, every_s: float) -> None:
    tokens = Tokens()
    async with ScriptedServer(pinging(b"token", every_s=every_s)) as server:
        response = await reach(server).send(deadlines=Deadlines(idle_s=0.2))
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = response.pump(tokens.take, None, lambda: tokens.count)
        await expect_timeout(waiting, "nothing more for 0.2 s")
        assert 0.15 < loop.time() - began < 3


async def test_a_silence_before_the_first_token_may_be_longer_than_one_after(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        asyncio.get_running_loop().call_later(0.3, has_passed.set)
        await has_passed.wait()
        await peer.chunk(b"token")
        await peer.end_chunked()

    has_passed, tokens = asyncio.Event(), Tokens()
    async with ScriptedServer(script) as server:
        response = await reach(server).send(deadlines=Deadlines(first_token_s=30, idle_s=0.1))
        assert await response.pump(tokens.take, None, lambda: tokens.count) is False
        assert tokens.count == 1


async def test_tokens_that_keep_coming_meet_no_deadline_but_the_total(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        for _ in range(25):
            await peer.chunk(b"token")
            await asyncio.sleep(0.02)
        await peer.end_chunked()

    tokens = Tokens()
    async with ScriptedServer(script) as server:
        response = await reach(server).send(deadlines=Deadlines(first_token_s=0.4, idle_s=0.4))
        assert await response.pump(tokens.take, None, lambda: tokens.count) is False
        assert tokens.count == 25


async def test_a_packed_stream_of_signs_of_life_ends_too(reach: Reach) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked(headers={"content-encoding": "gzip"})
        packer = zlib.compressobj(wbits=31)
        while True:
            await peer.chunk(packer.compress(b": alive\n\n") + packer.flush(zlib.Z_SYNC_FLUSH))
            await asyncio.sleep(0.02)

    async with ScriptedServer(script) as server:
        response = await reach(server).send(deadlines=Deadlines(first_token_s=0.2))
        await expect_timeout(response.pump(Tokens().take, None, int), "no content within 0.2 s")
