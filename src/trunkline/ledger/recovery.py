"""Reads journals: what the shipper moves to the database, and what a dead worker has left.

A position is one integer, segment << 32 | offset; 0 is the start, wherever that is by now, and
``SHIPPED`` says that nothing is left to do. An entry that was written by ``settle`` or ``note``
holds all there is to know of its call, so a live journal is shipped without a look at openings:

1. ``position`` = what the database has for this journal, else 0.
2. ``batch = read_records(directory, position, limit, kinds=…)``, of entries only.
3. In one transaction: insert those of ``batch.entries`` whose id is not there yet, and only for
   these move charges and add to sums; store ``batch.position``.
4. ``journal.release(batch.position)``, so that segments can go. Log ``batch.damages``.
5. Go on with 2; wait a moment before that if ``batch.more`` is False.

While the shipper keeps up it takes entries and their positions from ``journal.recent`` in step 2,
as the worker wrote them; it reads what is missing there.

An entry can come twice, as the worker may be killed, or the answer to a commit be lost: its id
makes it count once. The stored position must never be ahead of the entries that are stored.

The journal of a dead worker belongs to the one process to which ``adopt`` gives it:

1. If its position in the database is ``SHIPPED``, go on with 4.
2. Steps 1 to 3 above with ``adopted.read_records``, until ``batch.more`` is False.
3. ``adopted.list_lost()`` are the calls that were open. Insert them like other entries, in
   transactions of any size that leave the position as it is; the last one, even if there are
   none, stores ``SHIPPED``.
4. Remove what is left of the journal's leases: nobody else would, once its files are gone.
5. ``adopted.remove()``, and then, not before, remove the journal's row from the database.

Killed anywhere in between, another process does the same from the start, and nothing counts twice.
A worker that stops cleanly closes its journal and may adopt it like anybody else.
"""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from trunkline.ledger.entry import Attempt, Entry, Opening
from trunkline.ledger.segment import (
    ATTEMPT,
    ENTRY,
    KINDS,
    LOCK,
    OPENING,
    WORD_BYTES,
    Frame,
    Tried,
    count_behind,
    find_path,
    is_begun,
    list_numbers,
    pad,
    read_segment,
)

SHIPPED: Final = (1 << 63) - 1
"""The position of a journal of which all is in the database, lost calls as well."""
BATCH_RECORDS: Final = 2000

Record = Opening | Tried | Entry
"""What a journal holds: a call begins, goes on at another target, has ended."""

_DECODE: Final[dict[int, Callable[[bytes], Record]]] = {
    OPENING: msgspec.msgpack.Decoder(Opening).decode,
    ATTEMPT: msgspec.msgpack.Decoder(Tried).decode,
    ENTRY: msgspec.msgpack.Decoder(Entry).decode,
}
_UNREADABLE: Final = (KeyError, msgspec.DecodeError, UnicodeDecodeError)


class Damage(msgspec.Struct, frozen=True):
    """Bytes of a segment that cannot be read: what they said is lost."""

    segment: int
    offset: int
    size_bytes: int
    reason: str


class Batch(msgspec.Struct, frozen=True):
    """Records in order, and the position behind them; ``more``: there may be more right now."""

    records: list[Record]
    position: int
    more: bool
    damages: list[Damage]

    @property
    def entries(self) -> list[Entry]:
        """The calls that have ended."""
        return [record for record in self.records if isinstance(record, Entry)]


class Matcher:
    """Follows a journal's records to know which calls are open."""

    def __init__(self) -> None:
        self._openings: dict[str, Opening] = {}
        self._targets: dict[str, dict[int, str]] = {}

    def add(self, record: Record) -> None:
        """Take the next record; an opening may come again, as long as its call is open."""
        match record:
            case Opening():
                self._openings[record.id] = record
                self._targets.setdefault(record.id, {1: record.target} if record.target else {})
            case Tried():
                if record.call_id in self._targets:
                    self._targets[record.call_id][record.number] = record.target
            case Entry():
                self._openings.pop(record.opening.id, None)
                self._targets.pop(record.opening.id, None)

    def list_lost(self) -> list[Entry]:
        """The calls that are open, as entries for when nobody is left to settle them.

        Each is charged what was reserved for it: what it used is not known.
        """
        return [
            Entry(
                opening,
                "lost",
                tuple(
                    Attempt(target, "lost")
                    for _, target in sorted(self._targets[opening.id].items())
                ),
                opening.holds,
            )
            for opening in self._openings.values()
        ]


def read_records(
    directory: Path,
    position: int,
    limit: int = BATCH_RECORDS,
    *,
    final: bool = False,
    kinds: frozenset[int] = KINDS,
) -> Batch:
    """Read up to ``limit`` records of a journal, which its worker may be writing.

    What cannot be read is passed over as far as the end of its segment, and said in ``damages``;
    while the segment is still written to, it is waited for.

    Args:
        directory: the journal's; nothing is read if it is gone.
        position: where to begin: 0, or the position of an earlier batch.
        limit: the most records to read.
        final: the worker is dead, so nothing will follow.
        kinds: of records that are wanted; the others count, but are not looked into.

    Raises:
        OSError: a file cannot be read now.
    """
    reader = _Reader(directory, position, kinds, final=final)
    while reader.passed < limit:
        if not reader.read_on(limit - reader.passed):
            return Batch(reader.records, reader.position, more=False, damages=reader.damages)
    return Batch(reader.records, reader.position, more=True, damages=reader.damages)


class _Reader:
    """Goes through the segments of a journal."""

    def __init__(
        self, directory: Path, position: int, kinds: frozenset[int], *, final: bool
    ) -> None:
        self.position = position
        self.passed = 0
        self._kinds = kinds
        self.records: list[Record] = []
        self.damages: list[Damage] = []
        self._directory = directory
        self._final = final

    def read_on(self, limit: int) -> bool:
        """Read a piece of the segment at the position; False when nothing can follow."""
        number, offset = self.position >> 32, self.position & 0xFFFFFFFF
        numbers = [each for each in list_numbers(self._directory) if each >= number]
        # Asked before reading: what is begun later may have been completed in between.
        further = any(is_begun(find_path(self._directory, each)) for each in numbers[1:])
        if not numbers:
            return False
        if numbers[0] > number:
            return self._step_over(number, numbers[0], further=further)
        path = find_path(self._directory, number)
        try:
            piece = read_segment(path, number, offset, limit, self._kinds)
        except FileNotFoundError:  # the journal is being removed
            return False
        self.passed += piece.passed
        self._take(piece.frames, number)
        self.position = number << 32 | piece.offset
        if piece.ending == "more":
            return True
        if piece.ending != "sealed":
            if not further and not self._final:
                return False
            size = count_behind(path, piece.offset)
            if size or further:
                reason = f"{size} bytes behind its last readable record"
                self.damages.append(Damage(number, piece.offset, size, reason))
        self.position = (number + 1) << 32
        return True

    def _step_over(self, number: int, found: int, *, further: bool) -> bool:
        """Go to the first segment that is there: the ones before were shipped and removed."""
        begun = further or is_begun(find_path(self._directory, found))
        if number and begun:
            self.damages.append(Damage(number, 0, 0, "its file is gone"))
        self.position = found << 32
        return begun

    def _take(self, frames: list[Frame], number: int) -> None:
        try:
            self.records += [_DECODE[kind](payload) for kind, payload, _ in frames]
        except _UNREADABLE:  # then it is worth it to see which
            for frame in frames:
                self._take_one(frame, number)

    def _take_one(self, frame: Frame, number: int) -> None:
        kind, payload, offset = frame
        try:
            self.records.append(_DECODE[kind](payload))
        except _UNREADABLE as error:
            size = pad(WORD_BYTES + len(payload))
            reason = f"a record that this version cannot read ({type(error).__name__})"
            self.damages.append(Damage(number, offset, size, reason))


class Adopted:
    """The journal of a dead worker, in the hands of this process alone.

    Args:
        directory: the journal's.
        lock: its locked file.
    """

    def __init__(self, directory: Path, lock: int) -> None:
        self.directory = directory
        self.journal_id = directory.name
        self._lock = lock

    def read_records(
        self, position: int, limit: int = BATCH_RECORDS, *, kinds: frozenset[int] = KINDS
    ) -> Batch:
        """Read on from a position, as the function of this name."""
        return read_records(self.directory, position, limit, final=True, kinds=kinds)

    def list_lost(self) -> list[Entry]:
        """The calls that were open when the worker died; reads all that is left of the journal."""
        matcher = Matcher()
        position, more = 0, True
        while more:
            batch = self.read_records(position)
            position, more = batch.position, batch.more
            for record in batch.records:
                matcher.add(record)
        return matcher.list_lost()

    def remove(self) -> None:
        """Remove the journal from the disk, when the database has all of it, and let go of it.

        Raises:
            OSError: a file cannot be removed.
        """
        for number in list_numbers(self.directory):
            find_path(self.directory, number).unlink(missing_ok=True)
        (self.directory / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # somebody looks at it just now, and will find it empty
            self.directory.rmdir()
        self.close()

    def close(self) -> None:
        """Let another process adopt it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def list_journals(folder: Path) -> list[Path]:
    """The journals in a folder, of workers alive and dead, by name; none if it is not there."""
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    return [path for path in paths if path.is_dir() and not path.name.startswith(".")]


def adopt(directory: Path) -> Adopted | None:
    """Take the journal of a dead worker; None while its owner lives, or when it is gone.

    The lock goes with the process that holds it, whatever ends that: one process at a time gets
    the journal.

    Raises:
        OSError: its lock cannot be opened.
    """
    path = directory / LOCK
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    taken = False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had the lock until now may have removed the file, and so the journal.
        taken = os.path.samestat(os.fstat(lock), path.stat())
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        if not taken:
            os.close(lock)
    return Adopted(directory, lock) if taken else None
