"""Streams that are legal and strange: through both doors, over real sockets."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from api.streaming import CHAT, ROLE, ROUTES, STOP, TEXT, ask_raw, frame, unchunk
from gateway import Door, run_gateway, run_upstream
from scripted import Peer


@pytest.mark.parametrize("copies", [1, 2])
def test_a_stream_that_never_says_anything_is_given_up(
    tmp_path: Path, door: Door, copies: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        while True:
            await peer.chunk(frame(ROLE) * 200)

    more = """
[providers.single]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"
rewrites = ["n_fan_out"]
"""
    with (
        run_upstream(script) as upstream,
        run_gateway(
            tmp_path, upstream.port, door=door, more=more.format(port=upstream.port)
        ) as gateway,
    ):
        asked = CHAT | {"model": "single/m", "n": copies}
        response = httpx.post(
            gateway.url + "/v1/chat/completions", json=asked, headers=gateway.headers, timeout=20
        )
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")


def test_one_byte_at_a_time(tmp_path: Path, door: Door) -> None:
    """Each byte of head, chunk sizes and frames in a packet of its own."""
    stream = frame(ROLE) + frame(TEXT) + frame(STOP) + b"data: [DONE]\n\n"

    async def script(peer: Peer) -> None:
        peer.writer.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        await peer.request()
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        for at in range(0, len(stream), 50):
            piece = stream[at : at + 50]
            head += b"%x\r\n%b\r\n" % (len(piece), piece)
        for byte in head + b"0\r\n\r\n":
            await peer.write(bytes([byte]))
            await asyncio.sleep(0)

    for path, body in ROUTES:
        with (
            run_upstream(script) as upstream,
            run_gateway(tmp_path, upstream.port, door=door) as gateway,
        ):
            received, ended = unchunk(ask_raw(gateway.port, path, body))
        assert ended
        assert received.count(b"Hi") in {1, 2}
        assert b'"stop"' in received
