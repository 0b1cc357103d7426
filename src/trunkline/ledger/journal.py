"""The journal: where a worker writes down every call, before it costs anything and when it ends.

``<folder>/<journal id>/`` holds segments (see ``segment``) and a file ``lock``, which the worker
keeps locked as long as it lives. To write a record is to copy it into memory that the kernel maps
to the file: no system call, nothing that can block, and nothing lost when the process is killed.
A machine that loses its power loses what the kernel had not written yet, some 30 seconds; what was
shipped by then is in the database.

A disk that is full is met when room is made, before a call is let in, and never afterwards: a
call's opening reserves the room that its settling needs.
"""

import fcntl
import logging
import mmap
import os
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from trunkline.ledger.entry import Entry, Opening
from trunkline.ledger.recent import Recent
from trunkline.ledger.segment import (
    ATTEMPT,
    ENTRY,
    HEADER_BYTES,
    LEAST_SEGMENT_BYTES,
    LOCK,
    OPENING,
    RECORDS_PER_SEGMENT,
    SEGMENT_BYTES,
    WORD_BYTES,
    Segment,
    Tried,
    pad,
    seed_crc,
)
from trunkline.ledger.stock import Stock
from trunkline.ledger.trim import trim_entry, trim_opening

SETTLE_BYTES: Final = 2048
"""Reserved for what an entry says beyond its opening and its charges: some six attempts."""
ATTEMPT_BYTES: Final = 320
"""Reserved for one more attempt, besides its target's name."""
NOTE_SEGMENTS: Final = 64
"""Refused calls are no longer noted while more segments than these wait to be shipped."""
CARRY_SHARE: Final = 16
"""A new segment begins with openings from old ones, in at most this part of it."""

_DECODE: Final = msgspec.msgpack.Decoder(Entry).decode

_log = logging.getLogger(__name__)


class JournalFullError(Exception):
    """A call cannot be written down, so it must not be made: 503 ``overloaded``."""


class Journal:
    """A worker's journal. Every method is called by the thread of the event loop, but ``release``.

    ``dropped`` counts the records that could not be written; ``recent`` has the entries that were
    written last.

    Args:
        directory: the journal's own folder.
        lock: the locked file, closed with the journal.
        segment_bytes: see ``create``.
        clock: see ``create``.
    """

    def __init__(
        self, directory: Path, lock: int, segment_bytes: int, clock: Callable[[], float]
    ) -> None:
        self.directory = directory
        self.dropped = 0
        self.recent = Recent()
        self._lock = lock
        self._stock = Stock(directory, segment_bytes, clock)
        self._encode = msgspec.msgpack.Encoder().encode
        self._calls: dict[str, tuple[Opening, int, int]] = {}  # by age of the segment they are in
        self._tries: dict[str, list[Tried]] = {}
        self._fault: str | None = None
        self._closed = False
        self._shipped = 0  # segments before this one are shipped

        # A record may leave the end of a segment empty, so that much of each is not counted on.
        self._largest = segment_bytes // RECORDS_PER_SEGMENT
        self._size = segment_bytes - WORD_BYTES
        self._usable = self._size - HEADER_BYTES - self._largest
        self._low = self._usable // 2
        self._room = 0  # bytes that can be counted on and are reserved by no call

        self._segment: Segment | None = None
        self._bytes: mmap.mmap
        self._words: memoryview
        self._spares: deque[Segment] = deque()
        self._number = 0
        self._seed = 0
        self._at = self._end = 0
        self._make_room(self._largest)

    @classmethod
    def create(
        cls,
        folder: Path,
        journal_id: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> "Journal":
        """Make a new journal, and lock it for life.

        Args:
            folder: of all journals; made if it is not there.
            journal_id: a new name.
            segment_bytes: the size of its files, a multiple of 4096.
            clock: seconds, for the time between two tries to find room.

        Raises:
            OSError: its folder cannot be made. A disk without room for records is no error here:
                ``fault`` says so, until there is room.
            ValueError: the id is no file name, or the size is too small.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", journal_id):
            raise ValueError(f"{journal_id!r} cannot be a journal's id")
        if segment_bytes < LEAST_SEGMENT_BYTES or segment_bytes % 4096:
            raise ValueError(f"a segment cannot have {segment_bytes} bytes")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # It is locked before it has its name, so that nobody takes it for a dead worker's.
        new = folder / f".{journal_id}"
        new.mkdir(mode=0o700)
        lock = os.open(new / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        directory = new.rename(folder / journal_id)
        return cls(directory, lock, segment_bytes, clock)

    @property
    def fault(self) -> str | None:
        """Why calls cannot be written down now, for people; None while they can.

        To ask also looks for room again, so that readiness returns without a call.
        """
        if self._fault is not None and not self._closed:
            self._look_for_room()
        return self._fault

    @property
    def position(self) -> int:
        """Where the next record will stand: segment << 32 | offset."""
        return self._number << 32 | self._at

    def open(self, opening: Opening) -> None:
        """Write down a call that begins, and keep room to write down its end.

        Raises:
            JournalFullError: there is no room; the call must not be made.
        """
        payload = self._encode(opening)
        size = len(payload) + 15 & -8
        reserve = 2 * size + SETTLE_BYTES
        if reserve > self._largest:
            opening = trim_opening(opening)
            payload = self._encode(opening)
            size = len(payload) + 15 & -8
            reserve = 2 * size + SETTLE_BYTES
            if reserve > self._largest:
                raise JournalFullError("The call has too many charges to be written down.")
        room = self._room - size - reserve
        if room < 0 or room + size + reserve < self._low:
            self._make_room(size + reserve)
            room = self._room - size - reserve
            if room < 0:
                raise JournalFullError(self._fault)
        self._room = room
        self._write(OPENING, payload)
        self._calls[opening.id] = opening, self._number, reserve

    def attempt(self, call_id: str, number: int, target: str) -> None:
        """Note that a further attempt of an open call starts; left out when there is no room.

        ``number`` counts from 1, the target of the opening.
        """
        call = self._calls.get(call_id)
        if call is None:
            return
        tried = Tried(call_id, number, target)
        payload = self._encode(tried)
        size = pad(WORD_BYTES + len(payload))
        more = ATTEMPT_BYTES + len(payload)
        if size + more > min(self._room, self._largest):
            self._drop("no room in the ledger's journal for an attempt")
            return
        opening, segment, reserve = call
        self._room -= size + more
        self._calls[call_id] = opening, segment, reserve + more
        self._tries.setdefault(call_id, []).append(tried)
        self._write(ATTEMPT, payload)

    def settle(self, entry: Entry) -> None:
        """Write down how a call ended, in the room that it has reserved. Never raises.

        Texts are cut if they do not fit; a call that was never opened is noted.
        """
        try:
            call = self._calls.get(entry.opening.id)
            if call is None:
                self._note(entry)
                return
            payload = self._encode(entry)
            size = len(payload) + 15 & -8
            room = self._room + call[2]
            if size > room or size > self._largest:
                payload = self._trim(entry, (min(room, self._largest) & -8) - WORD_BYTES)
                size = len(payload) + 15 & -8
                entry = _DECODE(payload)
            self._room = room - size
            self._write(ENTRY, payload, entry)
            del self._calls[entry.opening.id]
            if self._tries:
                self._tries.pop(entry.opening.id, None)
        except Exception as error:  # noqa: BLE001 - the call is over; its client gets its answer
            self._drop(f"a call could not be settled in the ledger's journal: {error!r}")

    def note(self, entry: Entry) -> None:
        """Write down a call that was refused; dropped and counted when room is scarce."""
        try:
            self._note(entry)
        except Exception as error:  # noqa: BLE001 - the call is over; its client gets its answer
            self._drop(f"a refused call could not be noted in the ledger's journal: {error!r}")

    def release(self, position: int) -> None:
        """Say that everything before a position is shipped; called by any thread.

        Segments that end before it are removed, when the next one is made, unless a call is open
        that stands in one of them.
        """
        self._shipped = position >> 32

    def close(self) -> None:
        """Stop writing, and let another process have the journal; what is open stays open."""
        if self._closed:
            return
        self._closed = True
        self._stock.finish()
        self._collect()
        for segment in (self._segment, *self._spares):
            if segment is not None:
                segment.close()
        self._segment = None
        self._room = -(1 << 62)
        self._fault = "the ledger's journal is closed"
        os.close(self._lock)

    def _note(self, entry: Entry) -> None:
        """Write what has no reservation, and leave the last room to calls that are let in."""
        if self._room < self._low and not self._closed:
            self._look_for_room()
        limit = min(self._room - self._low // 2, self._largest) - WORD_BYTES
        behind = self._number - self._shipped > NOTE_SEGMENTS
        if behind or limit < SETTLE_BYTES:
            self._drop(self._fault)
            return
        payload = self._encode(entry)
        if len(payload) > SETTLE_BYTES:
            payload = self._trim(entry, SETTLE_BYTES)
            entry = _DECODE(payload)
        self._room -= len(payload) + 15 & -8
        self._write(ENTRY, payload, entry)

    def _trim(self, entry: Entry, limit: int) -> bytes:
        payload = trim_entry(entry, self._encode, limit)
        if payload is None:
            raise JournalFullError(f"the entry does not fit into {limit} bytes")
        return payload

    def _drop(self, fault: str | None) -> None:
        self.dropped += 1
        if fault is not None and fault != self._fault:
            _log.error("%s", fault)
            self._fault = fault

    def _write(self, kind: int, payload: bytes, entry: Entry | None = None) -> None:
        """Copy a record into the map; what makes it be there, its first word, comes last.

        The shipper's thread may look at any moment: an entry is in ``recent`` before ``position``
        is behind it.
        """
        start = self._at
        end = start + WORD_BYTES + len(payload)
        if end > self._end:
            self._turn()
            start = self._at
            end = start + WORD_BYTES + len(payload)
        self._bytes[start + WORD_BYTES : end] = payload
        word = crc32(payload, self._seed ^ kind) << 32 | kind << 24 | len(payload)
        self._words[start >> 3] = word
        at = end + 7 & -8
        if entry is not None:
            self.recent.add(entry, self._number << 32 | at)
        self._at = at

    def _turn(self) -> None:
        """Go on in the next segment, which is there as long as the count of the room is right."""
        if not self._spares:
            raise JournalFullError("the ledger's journal has no further segment")
        old, new = self._segment, self._spares.popleft()
        if old is not None:
            old.seal(self._at)
            self._room += self._largest - (self._end - self._at)
            old.close()
        self._segment = new
        self._bytes, self._words = new.bytes, new.words
        self._at, self._end = HEADER_BYTES, self._size
        self._number = new.number  # after the offset: ``position`` must never be ahead
        self._seed = seed_crc(new.number)
        self._carry()

    def _carry(self) -> None:
        """Write those openings anew that alone keep segments from being removed.

        A call may be open for an hour; each segment holds some of the oldest, and not too many at
        once, as calls wait meanwhile.
        """
        left = self._usable // CARRY_SHARE
        oldest = min(self._shipped, self._number - 2)
        while self._calls:
            call_id, (opening, segment, reserve) = next(iter(self._calls.items()))
            records = [(OPENING, self._encode(opening))]
            records += [(ATTEMPT, self._encode(tried)) for tried in self._tries.get(call_id, ())]
            size = sum(pad(WORD_BYTES + len(payload)) for _, payload in records)
            if segment >= oldest or size > min(left, self._room):
                return
            left -= size
            self._room -= size
            for kind, payload in records:
                self._write(kind, payload)
            del self._calls[call_id]
            self._calls[call_id] = opening, self._number, reserve

    def _make_room(self, need: int) -> None:
        """Find room for ``need`` bytes, or say in ``fault`` why there is none."""
        if self._closed:
            return
        self._look_for_room()
        while self._room < need:
            before = self._room
            self._stock.wait(self._find_floor())
            self._collect()
            if self._room == before:
                self._fault = self._stock.trouble
                return
        self._fault = None

    def _look_for_room(self) -> None:
        """Use the segments that have been made, and order one if they are not enough."""
        self._collect()
        if self._room >= self._low:
            self._fault = None
        else:
            self._stock.order(self._find_floor())

    def _collect(self) -> None:
        while (segment := self._stock.take()) is not None:
            self._spares.append(segment)
            self._room += self._usable

    def _find_floor(self) -> int:
        """The first segment that must stay."""
        floor = min(self._shipped, self._number)
        for _, segment, _ in self._calls.values():
            return min(floor, segment)
        return floor
