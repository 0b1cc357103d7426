"""The short way of a token through a delivery."""

import asyncio
from typing import cast

from trunkline.delivery import Shortcut
from trunkline.exchange import Exchange, cut_chunk
from trunkline.heartbeat import Heartbeat
from trunkline.wire.reply import StreamReply
from wire.sample import make_chunk, open_chat, open_native, write_frames


class NotingExchange:
    """Notes what is written to it; full when told so."""

    def __init__(self) -> None:
        self.is_full = False
        self.written: list[bytes] = []
        self.chunks: list[bytes] = []

    def write(self, data: bytes) -> bool:
        self.written.append(data)
        return self.is_full

    def write_chunk(self, chunk: bytes) -> bool:
        self.chunks.append(chunk)
        return self.is_full


def chunk(text: str) -> bytes:
    data = write_frames(make_chunk({"content": text}))
    return b"%x\r\n%b\r\n" % (len(data), data)


def learned(reply: StreamReply) -> StreamReply:
    for text in ("first", "second"):
        reply.feed(cut_chunk(chunk(text)))
    return reply


async def test_a_token_that_is_known_is_written_as_it_came() -> None:
    exchange, reply = NotingExchange(), learned(open_chat())
    heartbeat = Heartbeat(cast("Exchange", exchange), lambda: None, 20, 15)
    take_chunk = Shortcut(cast("Exchange", exchange), reply, heartbeat).take_chunk
    third = chunk("third")
    assert take_chunk(third, 4, 7.5) is False
    assert (exchange.chunks, exchange.written) == ([third], [])
    assert heartbeat.written_s == 7.5
    assert reply.pieces == 3
    exchange.is_full = True
    assert take_chunk(third, 4, 8.5) is True
    assert take_chunk(chunk('"'), 4, 9.5) is None
    assert (len(exchange.chunks), reply.pieces, heartbeat.written_s) == (2, 4, 8.5)
    heartbeat.stop()


async def test_a_token_that_is_rewritten_is_framed_anew() -> None:
    exchange, reply = NotingExchange(), learned(open_native())
    heartbeat = Heartbeat(cast("Exchange", exchange), lambda: None, 20, 15)
    take_chunk = Shortcut(cast("Exchange", exchange), reply, heartbeat).take_chunk
    now_s = asyncio.get_running_loop().time()
    assert take_chunk(chunk("third"), 4, now_s) is False
    expected = open_native().feed(cut_chunk(chunk("third")))
    assert (exchange.chunks, exchange.written) == ([], [expected])
    heartbeat.stop()
