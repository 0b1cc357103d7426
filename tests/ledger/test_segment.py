"""The format alone: what stands in a segment is read, and nothing else ever is."""

import stat
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.calling import SMALL
from trunkline.ledger.segment import (
    END,
    ENTRY,
    HEADER_BYTES,
    OPENING,
    WORD_BYTES,
    Frame,
    create_segment,
    find_path,
    is_begun,
    list_numbers,
    pad,
    parse_records,
    read_segment,
    seed_crc,
)

Written = list[tuple[int, bytes]]

RECORDS = st.lists(
    st.tuples(st.sampled_from([OPENING, ENTRY]), st.binary(min_size=1, max_size=60)), max_size=12
)


def write_word(kind: int, payload: bytes, number: int) -> int:
    return crc32(payload, seed_crc(number) ^ kind) << 32 | kind << 24 | len(payload)


def write_records(records: Written, number: int, *, sealed: bool) -> bytes:
    data = b""
    for kind, payload in records:
        data += write_word(kind, payload, number).to_bytes(8, "little")
        data += payload + bytes(pad(len(payload)) - len(payload))
    if sealed:
        data += write_word(END, b"", number).to_bytes(8, "little")
    return data + bytes(64)


def list_payloads(frames: list[Frame]) -> Written:
    return [(kind, payload) for kind, payload, _ in frames]


@given(RECORDS, st.booleans(), st.integers(1, 1 << 31))
def test_what_was_written_is_read(records: Written, sealed: bool, number: int) -> None:
    data = write_records(records, number, sealed=sealed)
    piece = parse_records(data, number, HEADER_BYTES, 100)
    assert list_payloads(piece.frames) == records
    assert piece.ending == ("sealed" if sealed else "open")
    starts = [*(offset for _, _, offset in piece.frames), piece.offset]
    for count, start in enumerate(starts):
        rest = parse_records(data[start - HEADER_BYTES :], number, start, 100)
        assert list_payloads(rest.frames) == records[count:]
        assert rest.offset == piece.offset


@settings(max_examples=150)
@given(RECORDS, st.data())
def test_a_cut_ends_the_records_before_it(records: Written, data: st.DataObject) -> None:
    whole = write_records(records, 5, sealed=True)
    at = data.draw(st.integers(0, len(whole)))
    piece = parse_records(whole[:at], 5, HEADER_BYTES, 100)
    read = list_payloads(piece.frames)
    assert read == records[: len(read)]
    # Where the blocks behind the cut were never written, they are zeros.
    piece = parse_records(whole[:at] + bytes(len(whole) - at), 5, HEADER_BYTES, 100)
    read = list_payloads(piece.frames)
    assert read == records[: len(read)]


@settings(max_examples=150)
@given(RECORDS, st.data())
def test_changed_bytes_are_never_read(records: Written, data: st.DataObject) -> None:
    whole = bytearray(write_records(records, 5, sealed=True))
    places = st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255))
    for at, change in data.draw(st.lists(places, min_size=1, max_size=4)):
        whole[at] ^= change
    piece = parse_records(bytes(whole), 5, HEADER_BYTES, 100)
    read = list_payloads(piece.frames)
    assert read == records[: len(read)]


def test_a_record_of_another_segment_or_kind_is_not_read() -> None:
    data = write_records([(OPENING, b"x")], 5, sealed=False)
    assert parse_records(data, 6, HEADER_BYTES, 100).ending == "damaged"
    other = bytearray(data)
    other[3] = ENTRY
    assert parse_records(bytes(other), 5, HEADER_BYTES, 100).ending == "damaged"


def test_a_new_segment_has_its_blocks_and_is_private(tmp_path: Path) -> None:
    segment = create_segment(tmp_path, 3, SMALL)
    segment.close()
    state = find_path(tmp_path, 3).stat()
    assert stat.S_IMODE(state.st_mode) == 0o600
    assert state.st_size == SMALL
    assert state.st_blocks * 512 >= SMALL
    assert list_numbers(tmp_path) == [3]
    assert list_numbers(tmp_path / "nowhere") == []


def test_a_segment_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - file systems differ in their reason
        create_segment(tmp_path, 1, 1 << 62)
    assert list_numbers(tmp_path) == []


def test_it_begins_with_its_first_record(tmp_path: Path) -> None:
    segment = create_segment(tmp_path, 3, SMALL)
    path = find_path(tmp_path, 3)
    assert not is_begun(path)
    segment.bytes[HEADER_BYTES + WORD_BYTES : HEADER_BYTES + WORD_BYTES + 3] = b"abc"
    assert not is_begun(path)
    assert read_segment(path, 3, 0, 9).frames == []
    segment.words[HEADER_BYTES // 8] = write_word(ENTRY, b"abc", 3)
    assert is_begun(path)
    assert read_segment(path, 3, 0, 9).frames == [(ENTRY, b"abc", HEADER_BYTES)]
    segment.seal(HEADER_BYTES + 16)
    assert read_segment(path, 3, 0, 9).ending == "sealed"
    assert read_segment(path, 4, 0, 9).ending == "damaged"
    segment.close()


def test_records_larger_than_a_read_are_whole(tmp_path: Path) -> None:
    segment = create_segment(tmp_path, 1, 4 << 20)
    path = find_path(tmp_path, 1)
    sizes = [600_000, 8, 300_000, 261_000, 1000, 262_144]
    at = HEADER_BYTES
    for size in sizes:
        payload = bytes([size % 251]) * size
        segment.bytes[at + WORD_BYTES : at + WORD_BYTES + size] = payload
        segment.words[at >> 3] = write_word(ENTRY, payload, 1)
        at += pad(WORD_BYTES + size)
    read, offset, ending = [], 0, "more"
    while ending == "more":
        piece = read_segment(path, 1, offset, 2)
        read += [len(payload) for _, payload, _ in piece.frames]
        offset, ending = piece.offset, piece.ending
    assert (read, offset, ending) == (sizes, at, "open")
    segment.close()
