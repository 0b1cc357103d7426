"""The short way of a chunk past the parser: same body, same end, same failures as with it."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.net import StillTransport
from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.connection import BODY, DONE, Connection
from trunkline.providers.origin import Origin
from trunkline.providers.response import Response
from trunkline.providers.sink import Sink, TakeChunk

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n"
UNSIZED = b"HTTP/1.1 200 OK\r\n\r\n"
END = b"0\r\n\r\n"
many_examples = settings(max_examples=300)


class Reader:
    """Reads one answer through a sink, with the short way or without it.

    Args:
        short: the short way is there.
        wanted: which of the chunks offered there it takes, in order, over and over.
    """

    def __init__(self, *, short: bool, wanted: tuple[bool, ...] = (True,)) -> None:
        loop = asyncio.SelectorEventLoop()
        loop.close()  # no wait happens: the loop is only named
        self.transport = StillTransport()
        self.connection = Connection(loop, lambda _: None)
        self.connection.connection_made(self.transport)
        self.connection.begin()
        self.body = b""
        self.taken = self._offered = 0
        self._wanted = wanted
        self._sink = Sink(self._take, self._take_chunk if short else None, 60, loop.time() + 600)

    def _take(self, data: bytes) -> bool:
        self.body += data
        return False

    def _take_chunk(self, chunk: bytes, start: int, _now: float) -> bool | None:
        self._offered += 1
        if not self._wanted[self._offered % len(self._wanted)]:
            return None
        assert int(chunk[:start], 16) == len(chunk) - start - 2
        self.taken += 1
        self.body += chunk[start:-2]
        return False

    def feed(self, pieces: list[bytes]) -> "Reader":
        connection = self.connection
        for piece in pieces:
            if self.transport.is_aborted:
                break
            if connection.phase == BODY and connection.sink is None:
                connection.sink = self._sink
            connection.data_received(piece)
        return self

    def state(self) -> tuple[object, ...]:
        connection = self.connection
        self.body += connection.take()
        return self.body, connection.phase, connection.failure, connection.is_reusable


def frame(data: bytes, size: bytes | None = None) -> bytes:
    return b"%b\r\n%b\r\n" % (b"%x" % len(data) if size is None else size, data)


def compare(pieces: list[bytes], wanted: tuple[bool, ...] = (True,)) -> int:
    """The same with and without the short way; how many chunks went there."""
    reader = Reader(short=True, wanted=wanted).feed(pieces)
    assert reader.state() == Reader(short=False).feed(pieces).state()
    return reader.taken


def test_a_read_that_is_one_chunk_goes_the_short_way() -> None:
    chunks = [frame(b"x" * size) for size in range(1, 1400)]
    pieces = [HEAD, frame(b"first"), *chunks, END]
    taken = compare(pieces)
    assert taken == 1023  # larger ones are parsed
    assert Reader(short=True).feed(pieces).connection.phase == DONE


def test_sizes_may_be_written_in_capitals() -> None:
    chunks = [frame(b"x" * size, b"%X" % size) for size in range(1, 1000)]
    assert compare([HEAD, frame(b"first"), *chunks, END]) == len(chunks)


@pytest.mark.parametrize(
    "odd",
    [
        frame(b"hello", b"05"),
        frame(b"hello", b"5;a=b"),
        frame(b"hello", b"5 "),
        frame(b"hello", b"+5"),
        frame(b"hello", b"0x5"),
        frame(b"hello", b"4"),
        frame(b"hello", b"6"),
        frame(b"hello", b""),
        b"5\nhello\n",
        b"5\r\nhello\n\n",
        b"5\r\nhello",
        b"5\r\n",
        b"5",
        b"\r\n",
        frame(b""),
        frame(b"hello") + b"5",
        frame(b"hello") + frame(b"again"),
        frame(b"hello") + END,
        frame(b"he") + b"\r\n",
        HEAD,
    ],
)
def test_any_other_read_is_parsed(odd: bytes) -> None:
    good = frame(b"chunk")
    assert Reader(short=True).feed([HEAD, good, odd]).taken == 0
    for after in (good, END, b"hello\r\n", b"\r\nhello\r\n", b"llo\r\n", b"\n", b"\r\n"):
        compare([HEAD, good, odd, after, good, good, END])
        compare([HEAD, good, good, odd, after, good, END, good])


def test_nothing_is_taken_while_a_chunk_is_open() -> None:
    inner = frame(b"chunk")
    opened = b"%x\r\n" % (3 * len(inner))
    pieces = [HEAD, frame(b"first"), opened, inner, inner, inner, b"\r\n", inner, END]
    assert compare(pieces) == 1


@pytest.mark.parametrize("head", [SIZED, UNSIZED], ids=["sized", "unsized"])
def test_a_body_without_chunks_has_none(head: bytes) -> None:
    assert compare([head] + [frame(b"chunk")] * 4) == 0


def test_trailers_are_no_chunks() -> None:
    good = frame(b"chunk")
    assert compare([HEAD, good, b"0\r\n", b"1\r\na\r\n", b"\r\n", good]) == 0
    assert compare([HEAD, good, b"0\r\nx: y\r\n", good, b"\r\n", good]) == 0


def test_the_next_answer_begins_without_chunks() -> None:
    reader = Reader(short=True).feed([HEAD, frame(b"one"), frame(b"two"), END])
    reader.connection.sink = None
    reader.connection.rest()
    reader.connection.begin()
    reader.feed([SIZED, frame(b"chunk"), frame(b"chunk")])
    assert reader.taken == 1
    assert reader.state()[0] == b"onetwo" + frame(b"chunk") * 2


@many_examples
@given(data=st.data())
def test_any_bytes_in_any_reads_give_the_same(data: st.DataObject) -> None:
    """Whole chunks, broken ones and rubbish, cut anywhere."""
    content = st.binary(max_size=20) | st.sampled_from([b"\r\n", b"0\r\n\r\n", frame(b"inner")])
    size = st.sampled_from([b"", b"0", b"1", b"5", b"A", b"0a", b"5;x", b"5;x=\r", b"\n", b" 5"])
    part = st.one_of(
        content.map(frame),
        st.tuples(content, size).map(lambda both: frame(*both)),
        st.sampled_from([END, b"\r\n", b"\n", b"\r", b"5", b"1\r\n", b"0\r\n", b"x: y\r\n"]),
    )
    parts = data.draw(st.lists(part, max_size=12))
    head = data.draw(st.sampled_from([HEAD, HEAD, HEAD, SIZED, UNSIZED]))
    pieces = [head, frame(b"first"), *parts]
    if data.draw(st.booleans()):
        whole = b"".join(parts)
        places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
        edges = [0, *places, len(whole)]
        cuts = [whole[a:b] for a, b in pairwise(edges)]
        pieces = [head, frame(b"first"), *(cut for cut in cuts if cut)]
    compare(pieces, data.draw(st.lists(st.booleans(), min_size=1, max_size=4).map(tuple)))


async def pump(pieces: list[bytes], take_chunk: TakeChunk) -> tuple[Connection, bool, bytes]:
    """Pump an answer of these reads; the connection, whether its taker was full, what it took."""
    loop = asyncio.get_running_loop()
    connection = Connection(loop, lambda _: None)
    connection.connection_made(StillTransport())
    connection.begin()
    connection.data_received(pieces[0])
    origin = Origin("http", "127.0.0.1", 80)
    deadlines = Deadlines(idle_s=60, total_s=600)
    first_at, total_at = loop.time() + 60, loop.time() + 600
    response = Response(200, {}, origin, connection, deadlines, first_at, total_at, lambda _: None)
    took = bytearray()

    def take(data: bytes) -> bool:
        took.extend(data)
        return False

    def feed() -> None:
        for piece in pieces[1:]:
            connection.data_received(piece)

    loop.call_soon(feed)
    try:
        return connection, await response.pump(take, take_chunk), bytes(took)
    finally:
        response.close()


async def test_a_full_taker_of_chunks_is_waited_for() -> None:
    pieces = [HEAD, frame(b"one"), frame(b"two"), frame(b"three")]
    connection, is_full, took = await pump(pieces, lambda *_: True)
    assert (is_full, took) == (True, b"one")
    assert connection.take() == b"three"


async def test_what_a_taker_of_chunks_raises_comes_out() -> None:
    def take_chunk(_chunk: bytes, _start: int, _now: float) -> bool:
        raise GatewayError("upstream_error", "broken inside")

    with pytest.raises(GatewayError, match="broken inside"):
        await pump([HEAD, frame(b"one"), frame(b"two")], take_chunk)


def test_a_stream_that_never_fits_is_offered_rarely() -> None:
    chunks = [frame(b"chunk")] * 1000
    reader = Reader(short=True, wanted=(False,)).feed([HEAD, frame(b"first"), *chunks, END])
    assert reader.connection.phase == DONE
    assert reader.body == b"first" + b"chunk" * 1000
    assert reader._offered < 60


def test_a_stream_that_fits_in_its_middle_is_taken_from_there() -> None:
    chunks = [frame(b"chunk")] * 300
    reader = Reader(short=True, wanted=(False,)).feed([HEAD, frame(b"first"), *chunks])
    reader._wanted = (True,)
    reader.feed([*chunks, END])
    assert reader.taken > 300 - 70
    assert reader.body == b"first" + b"chunk" * 600
