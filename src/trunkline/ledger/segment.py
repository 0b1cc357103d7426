"""A segment: one file of a journal, its blocks taken beforehand, filled through a memory map.

All numbers are in the byte order of the machine, as the file does not leave it. A segment begins
with a header of two words of 64 bits, a magic number and the segment's own number. Records follow,
each at a multiple of 8 bytes::

    word: length (bits 0 to 23), kind (24 to 31), CRC-32 (32 to 63)
    payload: MessagePack, zeros up to the next multiple of 8

The word is written after the payload, in one store: a record that was copied in part is not there.
A word of zero is the end so far, and ``END`` says that the next segment goes on. The CRC starts
from the segment's number and the kind, so neither can be mistaken.
"""

import mmap
import os
import sys
from errno import EINVAL, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import Final, Literal
from zlib import crc32

import msgspec

SEGMENT_BYTES: Final = 4 * 1024 * 1024
LEAST_SEGMENT_BYTES: Final = 64 * 1024
RECORDS_PER_SEGMENT: Final = 16
"""Of the largest size: a record takes at most this part of its segment."""

LOCK: Final = "lock"
"""The file in a journal's folder that its worker keeps locked as long as it lives."""

OPENING: Final = 1
ATTEMPT: Final = 2
ENTRY: Final = 3
END: Final = 15
KINDS: Final = frozenset((OPENING, ATTEMPT, ENTRY))

HEADER_BYTES: Final = 16
WORD_BYTES: Final = 8
_MAGIC: Final = int.from_bytes(b"trunk\0j\1", "little")
_FILL_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 256 * 1024
_LOW, _HIGH = (0, 1) if sys.byteorder == "little" else (1, 0)
"""Where the halves of a word stand: length and kind, and the CRC."""

Ending = Literal["more", "cut", "open", "sealed", "damaged"]
"""Why reading stopped: enough was read; the record goes on behind what was read; nothing is
written there yet; the next segment goes on; or what stands there is not a record."""


class Tried(msgspec.Struct, frozen=True, array_like=True):
    """A further attempt of an open call started."""

    call_id: str
    number: int
    target: str


Frame = tuple[int, bytes, int]
"""A record as it stands in a segment: its kind, its payload, and its offset."""


class Piece(msgspec.Struct, frozen=True):
    """What was read of a segment, and why that ended at ``offset``; never ``cut``.

    ``passed`` counts all records up to there, those of other kinds as well.
    """

    frames: list[Frame]
    offset: int
    ending: Ending
    passed: int = 0


class Segment:
    """A segment that is being filled. ``bytes`` and ``words`` are the same map."""

    __slots__ = ("bytes", "number", "words")

    def __init__(self, number: int, mapped: mmap.mmap) -> None:
        self.number = number
        self.bytes = mapped
        self.words = memoryview(mapped).cast("Q")

    def seal(self, offset: int) -> None:
        """Say that nothing follows in this segment."""
        seed = seed_crc(self.number) ^ END
        self.words[offset >> 3] = seed << 32 | END << 24

    def close(self) -> None:
        """Let go of the map; the file stays."""
        self.words.release()
        self.bytes.close()


def seed_crc(number: int) -> int:
    """Where the CRC of a segment's records starts; the kind is mixed into it."""
    return number << 4 & 0xFFFFFFFF


def find_path(directory: Path, number: int) -> Path:
    """Where a segment is."""
    return directory / f"{number:08d}.seg"


def list_numbers(directory: Path) -> list[int]:
    """The numbers of the segments in a folder, in order; none if it is gone."""
    try:
        paths = [path for path in directory.iterdir() if path.suffix == ".seg"]
    except FileNotFoundError:
        return []
    return sorted(int(path.stem) for path in paths if path.stem.isdecimal())


def create_segment(directory: Path, number: int, size: int) -> Segment:
    """Make a segment whose blocks are all taken, so that filling it needs none.

    Raises:
        OSError: there is no room, or no such folder; nothing is left behind.
    """
    path = find_path(directory, number)
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    try:
        _fill(file, size)
        mapped = mmap.mmap(file, size)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    segment = Segment(number, mapped)
    segment.words[1] = number
    segment.words[0] = _MAGIC
    return segment


def _fill(file: int, size: int) -> None:
    """Take the blocks, then write zeros.

    The zeros bring the pages into memory in large pieces: five times cheaper than a fault for
    each when it is first used. They are also what takes blocks where the file system cannot.
    """
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in {EINVAL, ENOSYS, EOPNOTSUPP}:
            raise
    zeros = bytes(min(size, _FILL_BYTES))
    done = 0
    while done < size:
        done += os.pwrite(file, zeros[: size - done], done)


def is_begun(path: Path) -> bool:
    """Whether a segment has a record: the one before it is sealed then."""
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES + WORD_BYTES)
    except FileNotFoundError:
        return False
    return any(start[HEADER_BYTES:])


def read_segment(
    path: Path, number: int, offset: int, limit: int, kinds: frozenset[int] = KINDS
) -> Piece:
    """Read up to ``limit`` records from ``offset`` on, while the segment may be filled.

    ``kinds`` says of which kinds to return them; the others count, but are not looked into.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        start = file.read(HEADER_BYTES + WORD_BYTES)
        if not any(start[:8]):  # it is being made
            return Piece([], 0, "damaged" if any(start[HEADER_BYTES:]) else "open")
        expected = _MAGIC.to_bytes(8, sys.byteorder) + number.to_bytes(8, sys.byteorder)
        if start[:HEADER_BYTES] != expected:
            return Piece([], 0, "damaged")
        offset = max(offset, HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size
        data = os.pread(file.fileno(), _CHUNK_BYTES, offset)
        need = WORD_BYTES + _read_length(data)
        if need > len(data):  # a record that is larger than a chunk
            data = os.pread(file.fileno(), need, offset)
    piece = parse_records(data, number, offset, limit, kinds)
    if piece.ending != "cut":
        return piece
    whole = piece.passed and offset + len(data) < size  # the next read begins with this record
    return Piece(piece.frames, piece.offset, "more" if whole else "damaged", piece.passed)


def parse_records(
    data: bytes, number: int, offset: int, limit: int, kinds: frozenset[int] = KINDS
) -> Piece:
    """Read records from ``data``, which stands at ``offset`` of a segment. Pure.

    A record of another kind than ``kinds`` is passed over by its length: where that is wrong, the
    next one is damaged.
    """
    frames: list[Frame] = []
    seed = seed_crc(number)
    at, end = 0, len(data)
    halves = memoryview(data)[: end & -WORD_BYTES].cast("I")
    lows, highs = halves[_LOW:], halves[_HIGH:]
    for passed in range(limit):
        start = at + WORD_BYTES
        low = lows[at >> 2] if start <= end else 0
        after = start + (low & 0xFFFFFF)
        if after > end:
            return Piece(frames, offset + at, "cut", passed)
        kind = low >> 24
        if kind in kinds or kind not in KINDS:
            payload, crc = data[start:after], highs[at >> 2]
            if not low or kind == END or crc32(payload, seed ^ kind) != crc:
                return Piece(frames, offset + at, _tell_ending(low, crc, seed), passed)
            frames.append((kind, payload, offset + at))
        at = after + 7 & -8
    return Piece(frames, offset + at, "more", limit)


def _tell_ending(low: int, crc: int, seed: int) -> Ending:
    """What a word says that has no record behind it."""
    if low == crc == 0:
        return "open"
    return "sealed" if low == END << 24 and crc == seed ^ END else "damaged"


def count_behind(path: Path, offset: int) -> int:
    """How many bytes stand in a segment from ``offset`` on, without the zeros at its end."""
    with path.open("rb") as file:
        file.seek(offset)
        return len(file.read().rstrip(b"\0"))


def pad(size: int) -> int:
    """The next multiple of 8."""
    return size + 7 & -8


def _read_length(data: bytes) -> int:
    return int.from_bytes(data[:WORD_BYTES], sys.byteorder) & 0xFFFFFF
