import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import pytest

from scripted import Peer, ScriptedServer, answering, build_head, sending, wait_until
from trunkline.errors import GatewayError

Reach = Callable[..., Any]


async def test_a_request_arrives_as_written_with_its_length(reach: Reach) -> None:
    async with ScriptedServer(answering(b'{"ok":1}', headers={"X-One": "1"})) as server:
        response = await reach(server).send(b'{"a":1}')
        assert response.status == 200
        assert response.headers[b"x-one"] == b"1"
        assert await response.read_all(100) == b'{"ok":1}'
        assert await response.read() == b""
        request = server.requests[0]
        assert (request.method, request.target) == ("POST", "/v1/x")
        assert request.headers == {
            "host": "upstream.example",
            "content-type": "application/json",
            "content-length": "7",
        }
        assert request.body == b'{"a":1}'


async def test_a_connection_is_kept_and_used_again(reach: Reach) -> None:
    async with ScriptedServer(answering(b"one")) as server:
        client = reach(server)
        for _ in range(5):
            assert await client.fetch() == b"one"
        assert len(server.requests) == 5
        assert len(server.peers) == 1


@pytest.mark.parametrize("options", [{"idle_keep_s": 0}, {"max_idle": 0}])
async def test_a_connection_is_not_kept_beyond_the_limits(
    reach: Reach, options: dict[str, int]
) -> None:
    async with ScriptedServer(answering(b"one")) as server:
        client = reach(server, **options)
        assert await client.fetch() == b"one"
        assert await client.fetch() == b"one"
        assert len(server.peers) == 2


async def test_connections_that_rested_too_long_are_closed_unasked(reach: Reach) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.wait_closed()
        left.set()

    async with ScriptedServer(script) as server:
        await reach(server, idle_keep_s=0.05).fetch()
        await asyncio.wait_for(left.wait(), 5)


async def test_connection_close_is_obeyed(reach: Reach) -> None:
    async with ScriptedServer(answering(headers={"Connection": "close"})) as server:
        client = reach(server)
        await client.fetch()
        await client.fetch()
        assert len(server.peers) == 2


async def test_an_unfinished_answer_closes_its_connection(reach: Reach) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_chunked()
        await peer.chunk(b"part")
        await peer.wait_closed()
        left.set()

    async with ScriptedServer(script) as server:
        response = await reach(server).send()
        assert await response.read() == b"part"
        response.close()
        response.close()
        await asyncio.wait_for(left.wait(), 5)
        with pytest.raises(RuntimeError):
            await response.read()


async def test_closing_the_pool_closes_what_rests_and_what_comes_back(reach: Reach) -> None:
    async with ScriptedServer(answering()) as server:
        client = reach(server)
        first, second = await client.send(), await client.send()
        first.close()
        await client.upstream.close()
        assert await second.read_all(100) == b"{}"
        second.close()
        for peer in server.peers:
            await asyncio.wait_for(peer.is_left.wait(), 5)


def closing_on_second(*, by_reset: bool) -> Callable[[Peer], Any]:
    """A server that takes a second request on its connection and leaves without a byte."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"first")
        await peer.read_head()
        peer.reset() if by_reset else peer.cut()

    return script


@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_stale_connection_is_replaced_once(reach: Reach, by_reset: bool) -> None:
    scripts = closing_on_second(by_reset=by_reset), answering(b"second")
    async with ScriptedServer(*scripts) as server:
        client = reach(server)
        assert await client.fetch() == b"first"
        assert await client.fetch(b"again") == b"second"
        assert [request.body for request in server.requests] == [b"{}", b"again"]


async def test_the_second_connection_is_the_last_try(reach: Reach) -> None:
    async def leave(peer: Peer) -> None:
        await peer.request()

    async with ScriptedServer(closing_on_second(by_reset=False), leave) as server:
        client = reach(server)
        await client.fetch()
        with pytest.raises(GatewayError, match="without an answer"):
            await client.fetch()
        assert len(server.peers) == 2


async def test_a_fresh_connection_is_never_tried_again(reach: Reach) -> None:
    async with ScriptedServer(sending(b""), answering()) as server:
        with pytest.raises(GatewayError, match="without an answer") as caught:
            await reach(server).fetch()
        assert caught.value.code == "upstream_error"
        assert f"http://127.0.0.1:{server.port}" in caught.value.message
        assert len(server.peers) == 1


async def test_a_server_that_leaves_when_it_is_reached(reach: Reach) -> None:
    async def leave(peer: Peer) -> None:
        peer.reset()

    async with ScriptedServer(leave) as server:
        for _ in range(20):
            with pytest.raises(GatewayError) as caught:
                await reach(server).fetch()
            assert caught.value.code == "upstream_error"


async def test_an_old_server_is_read_and_not_kept(reach: Reach) -> None:
    old = b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold"
    async with ScriptedServer(sending(old)) as server:
        client = reach(server)
        assert await client.fetch() == b"old"
        assert client.upstream._idle == []


@pytest.mark.parametrize("first", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"garbage"])
async def test_after_the_first_byte_nothing_is_sent_again(reach: Reach, first: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()
        await peer.write(first)

    async with ScriptedServer(script, answering()) as server:
        client = reach(server)
        await client.fetch()
        with pytest.raises(GatewayError) as caught:
            await client.fetch()
        assert caught.value.code == "upstream_error"
        assert len(server.peers) == 1


async def test_an_upstream_that_leaves_late_may_have_done_the_work(reach: Reach) -> None:
    async with ScriptedServer(closing_on_second(by_reset=False), answering()) as server:
        client = reach(server)
        client.upstream.stale_within_s = -1  # every end counts as late
        await client.fetch()
        with pytest.raises(GatewayError, match="without an answer"):
            await client.fetch()
        assert len(server.peers) == 1


async def test_a_connection_closed_at_rest_is_not_used(reach: Reach) -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"first")

    async with ScriptedServer(once, answering(b"second")) as server:
        client = reach(server)
        assert await client.fetch() == b"first"
        await wait_until(lambda: not client.upstream._idle)
        assert await client.fetch() == b"second"


async def test_bytes_at_rest_spoil_a_connection(reach: Reach) -> None:
    async def talkative(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"first")
        await go.wait()
        await peer.write(build_head(200, {"content-length": "4"}) + b"evil")
        await peer.wait_closed()

    go = asyncio.Event()
    async with ScriptedServer(talkative, answering(b"second")) as server:
        client = reach(server)
        assert await client.fetch() == b"first"
        go.set()
        await wait_until(lambda: not client.upstream._idle)
        assert await client.fetch() == b"second"


EXTRA = build_head(200, {"content-length": "4"}) + b"evil"


@pytest.mark.parametrize("size", [*range(1, 25), len(EXTRA)])
async def test_bytes_after_an_answer_never_answer_the_next(reach: Reach, size: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.write(build_head(200, {"content-length": "5"}) + b"first" + EXTRA[:size])
        await peer.wait_closed()

    async with ScriptedServer(script, answering(b"second")) as server:
        client = reach(server)
        assert await client.fetch() == b"first"
        assert await client.fetch() == b"second"
        assert len(server.peers) == 2


async def test_interim_answers_are_passed_over(reach: Reach) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.write(interim)
            await peer.answer(b"final", 201)

    async with ScriptedServer(script) as server:
        client = reach(server)
        for _ in range(2):
            response = await client.send()
            assert response.status == 201
            assert b"link" not in response.headers
            assert await response.read_all(100) == b"final"
            response.close()
        assert len(server.peers) == 1


@pytest.mark.parametrize("status", [204, 304, 400, 429, 500])
async def test_every_final_status_is_an_answer(reach: Reach, status: int) -> None:
    async with ScriptedServer(sending(build_head(status, {"content-length": "0"}))) as server:
        response = await reach(server).send()
        assert response.status == status
        assert await response.read_all(100) == b""


async def test_of_a_header_that_came_twice_the_last_value_counts(reach: Reach) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nx-b: 3\r\nx-b: 4\r\ncontent-length: 0\r\n\r\n"
    async with ScriptedServer(sending(head)) as server:
        response = await reach(server).send()
        assert response.headers[b"x-a"] == b"2"
        assert response.headers[b"x-b"] == b"4"


@pytest.mark.parametrize("header", ["Content-Encoding", "content-encoding"])
async def test_a_compressed_answer_is_inflated(reach: Reach, header: str) -> None:
    text = b'{"text":"' + b"word " * 1000 + b'"}'
    packed = gzip.compress(text)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.begin_chunked(headers={header: "gzip"})
            for start in range(0, len(packed), 7):
                await peer.chunk(packed[start : start + 7])
            await peer.end_chunked()

    async with ScriptedServer(script) as server:
        client = reach(server)
        assert await client.fetch() == text
        assert await client.fetch() == text
        assert len(server.peers) == 1


async def test_identity_is_no_compression(reach: Reach) -> None:
    async with ScriptedServer(answering(b"plain", headers={"Content-Encoding": "identity"})) as s:
        assert await reach(s).fetch() == b"plain"


@pytest.mark.parametrize(
    ("coding", "body", "word"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0)[:-3], "compressed answer before its end"),
        ("gzip", b"hello, not packed", "not compressed as it says"),
        ("br", b"hello", "not asked for"),
    ],
)
async def test_a_body_that_cannot_be_inflated_is_an_error(
    reach: Reach, coding: str, body: bytes, word: str
) -> None:
    async with ScriptedServer(answering(body, headers={"content-encoding": coding})) as server:
        with pytest.raises(GatewayError, match=word) as caught:
            await reach(server).fetch()
        assert caught.value.code == "upstream_error"


async def test_read_all_refuses_more_than_its_limit(reach: Reach) -> None:
    async with ScriptedServer(answering(b"x" * 101)) as server:
        response = await reach(server).send()
        with pytest.raises(GatewayError, match="more than 100 bytes") as caught:
            await response.read_all(100)
        assert caught.value.code == "upstream_error"
