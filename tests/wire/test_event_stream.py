import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.event_stream import (
    MESSAGE_LIMIT_BYTES,
    EventStreamReader,
    Message,
    write_message,
)
from wire.sample import some_examples, split

EVENT = Message(
    {":message-type": "event", ":event-type": "contentBlockDelta", ":content-type": "a/json"},
    b'{"delta":{"text":"h\xc3\xa9"}}',
)

names = st.text(min_size=1, max_size=20)
messages = st.builds(
    Message,
    st.dictionaries(names, st.text(max_size=40), max_size=4),
    st.binary(max_size=200),
)


def write(*given: Message) -> bytes:
    return b"".join(write_message(message.headers, message.payload) for message in given)


def read_all(*pieces: bytes) -> list[Message]:
    reader = EventStreamReader()
    found = [message for piece in pieces for message in reader.feed(piece)]
    reader.close()
    return found


def frame(headers: bytes, payload: bytes = b"") -> bytes:
    """A message with a header block that `write_message` would not write."""
    sizes = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = sizes + struct.pack(">I", zlib.crc32(sizes)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def test_the_smallest_message_is_sixteen_bytes() -> None:
    # The bytes of an empty message as AWS's own codecs write them.
    empty = bytes.fromhex("000000100000000005c248eb7d98c8ff")
    assert write_message({}, b"") == empty
    assert read_all(empty) == [Message({}, b"")]


def test_a_message_with_a_payload_is_laid_out_as_aws_does() -> None:
    recorded = bytes.fromhex(
        "0000003d0000002007fd83960c636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e"
        "7b27666f6f273a27626172277d8d9c08b1"
    )
    message = Message({"content-type": "application/json"}, b"{'foo':'bar'}")
    assert read_all(recorded) == [message]
    assert write(message) == recorded


@some_examples
@given(st.lists(messages, max_size=4), st.data())
def test_messages_survive_writing_chunking_and_reading(
    given: list[Message], data: st.DataObject
) -> None:
    stream = write(*given)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    assert read_all(*split(stream, *places)) == given
    assert read_all(*(stream[i : i + 1] for i in range(len(stream)))) == given


@some_examples
@given(st.lists(messages, min_size=1, max_size=3), st.data())
def test_a_cut_within_a_message_is_an_error_at_the_end(
    given: list[Message], data: st.DataObject
) -> None:
    stream = write(*given)
    place = data.draw(st.integers(0, len(stream) - 1))
    reader = EventStreamReader()
    found = reader.feed(stream[:place])
    assert found == given[: len(found)]
    ends = [len(write(*given[:count])) for count in range(len(given))]
    if place in ends:
        reader.close()
        return
    with pytest.raises(GatewayError, match="was cut") as caught:
        reader.close()
    assert caught.value.code == "upstream_error"


@some_examples
@given(messages, messages, st.data())
def test_a_flipped_bit_is_an_error_and_nothing_behind_it_is_read(
    first: Message, second: Message, data: st.DataObject
) -> None:
    whole, stream = write(first), bytearray(write(second))
    bit = data.draw(st.integers(0, 8 * len(stream) - 1))
    stream[bit // 8] ^= 1 << bit % 8
    for pieces in ([whole + stream], [whole, bytes(stream)]):
        reader = EventStreamReader()
        found: list[Message] = []
        with pytest.raises(GatewayError) as caught:
            for piece in [*pieces, b""]:
                found += reader.feed(piece)
        assert found == [first]
        assert caught.value.code == "upstream_error"


@some_examples
@given(st.binary(max_size=400))
def test_bytes_that_are_no_event_stream_never_become_messages(noise: bytes) -> None:
    if not noise:
        assert read_all(noise) == []
        return
    with pytest.raises(GatewayError) as caught:
        read_all(noise)
    assert caught.value.code == "upstream_error"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\x00", "true"),
        (b"\x01", "false"),
        (b"\x02\xff", "-1"),
        (b"\x03\x01\x00", "256"),
        (b"\x04\x80\x00\x00\x00", "-2147483648"),
        (b"\x05" + (2**62).to_bytes(8, "big"), str(2**62)),
        (b"\x06\x00\x03abc", "YWJj"),
        (b"\x07\x00\x02\xc3\xa9", "é"),
        (b"\x08" + (1_700_000_000_123).to_bytes(8, "big"), "1700000000123"),
        (b"\x09" + bytes(range(16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
    ],
)
def test_headers_of_every_type_are_read_as_text(value: bytes, text: str) -> None:
    data = frame(b"\x01a" + value + b"\x01z\x07\x00\x01!", b"payload")
    assert read_all(data) == [Message({"a": text, "z": "!"}, b"payload")]


@pytest.mark.parametrize(
    "headers",
    [
        b"\x01",
        b"\x01a",
        b"\x05a\x07\x00\x01b",
        b"\x00\x07\x00\x01b",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x02b",
        b"\x01a\x06\x00\x02b",
        b"\x01a\x0a",
        b"\x01a\x04\x00",
        b"\x01a\x09\x00",
        b"\x01\xff\x00",
        b"\x01a\x07\x00\x01\xff",
        b"\x01a\x00\x01a\x01",
    ],
)
def test_headers_that_do_not_fit_their_message_are_refused(headers: bytes) -> None:
    with pytest.raises(GatewayError, match="broken") as caught:
        EventStreamReader().feed(frame(headers, b"payload"))
    assert caught.value.code == "upstream_error"


@pytest.mark.parametrize(("size", "headers_size"), [(15, 0), (0, 0), (20, 5), (16, 2**32 - 1)])
def test_sizes_that_contradict_each_other_are_refused_at_once(size: int, headers_size: int) -> None:
    sizes = struct.pack(">II", size, headers_size)
    with pytest.raises(GatewayError, match="contradict"):
        EventStreamReader().feed(sizes + struct.pack(">I", zlib.crc32(sizes)))


def test_a_message_past_the_limit_is_refused_by_its_sizes_alone() -> None:
    for size, is_refused in ((MESSAGE_LIMIT_BYTES, False), (MESSAGE_LIMIT_BYTES + 1, True)):
        sizes = struct.pack(">II", size, 0)
        prelude = sizes + struct.pack(">I", zlib.crc32(sizes))
        reader = EventStreamReader()
        if not is_refused:
            assert reader.feed(prelude) == []
            continue
        with pytest.raises(GatewayError, match="over 16 MiB"):
            reader.feed(prelude)


def test_a_large_message_in_small_pieces_is_read() -> None:
    message = Message({"a": "b"}, bytes(MESSAGE_LIMIT_BYTES - 100))
    stream = write(message)
    assert read_all(*(stream[i : i + 65536] for i in range(0, len(stream), 65536))) == [message]


def test_what_waits_for_its_other_part_can_be_looked_at() -> None:
    stream = write(EVENT, EVENT)
    reader = EventStreamReader()
    assert reader.feed(stream[:-1]) == [EVENT]
    assert reader.rest == write(EVENT)[:-1]
    assert reader.feed(stream[-1:]) == [EVENT]
    assert not reader.rest


@pytest.mark.parametrize("headers", [{"": "a"}, {"n" * 256: "a"}, {"a": "v" * 65536}])
def test_headers_that_cannot_be_written_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        write_message(headers, b"")
