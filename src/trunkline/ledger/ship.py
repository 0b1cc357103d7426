"""The shipper: moves what a worker's journal says to the database, exactly once, in a thread.

It also takes over the journals of workers that died, on this machine: their calls that nobody
settled become lost entries, charged what was held for them, and what is left of their leases comes
back. ``recovery`` says in which order, and why nothing is lost or counted twice however it ends.

A database that is slow, frozen or gone costs calls nothing: entries wait in the journal.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from trunkline.ledger.journal import Journal
from trunkline.ledger.recovery import (
    BATCH_RECORDS,
    SHIPPED,
    Adopted,
    Batch,
    adopt,
    list_journals,
    read_records,
)
from trunkline.ledger.row import make_load
from trunkline.ledger.segment import ENTRY, SEGMENT_BYTES
from trunkline.store.database import explain_error
from trunkline.store.ledger import Ledger
from trunkline.store.load import Load
from trunkline.terms import Charge

BATCH: Final = 500
"""How many lost calls are shipped in one write; of records, ``BATCH_RECORDS`` are read at once."""

_ENTRIES: Final = frozenset((ENTRY,))
_FORGET_US: Final = 7 * 86_400_000_000

_log = logging.getLogger(__name__)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How often the shipper looks, in seconds.

    ``busy_s`` after something was shipped, ``idle_s`` at most when nothing is; ``fault_s`` at most
    after a failure; ``sweep_s`` for dead workers' journals.
    """

    busy_s: float = 0.25
    idle_s: float = 1.0
    fault_s: float = 5.0
    sweep_s: float = 30.0


class Shipper:
    """Ships one worker's journal, and those of dead workers that it finds beside it.

    Args:
        ledger: where to.
        folder: of all journals on this machine.
        journal: the worker's own.
        pace: how often it looks.
        clock: microseconds since 1970, UTC.
        on_shipped: told what shipped entries of the worker's own journal were charged, one charge
            a window, after each batch; called in the shipper's thread.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        journal: Journal,
        *,
        pace: Pace | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        on_shipped: Callable[[list[Charge]], None] = lambda _: None,
    ) -> None:
        self.fault: str | None = None
        """Why nothing can be shipped now, for people; None while it can."""
        self.shipped = 0
        """Entries that this process has added to the database."""
        self.damages = 0
        """Places in journals that could not be read."""
        self._ledger = ledger
        self._folder = folder
        self._journal = journal
        self._pace = pace or Pace()
        self._clock = clock
        self._on_shipped = on_shipped
        self._position = 0  # behind the last entry that is shipped, as far as that is stored
        self._reached = 0  # up to here nothing is left to ship
        self._even_at_us = clock()
        self._read: tuple[Batch, Load, int] | None = None
        self._swept_at_us = 0
        self._stopping = False
        self._awake = threading.Event()
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that the journal says by now is shipped; False if that takes too long."""
        goal = self._journal.position
        self._awake.set()
        with self._moved:
            return self._moved.wait_for(lambda: self._reached >= goal, timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """Close the journal, ship the rest of it, and remove it; no call may be open any more.

        Blocks. If the database is away, or time runs out, the journal stays for the next start.

        Returns:
            Whether all was shipped.
        """
        self._journal.close()
        self._stopping = True
        self._awake.set()
        if self._thread.ident is None:
            return False
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and self.fault is None

    @property
    def waiting_bytes(self) -> int:
        """How much the journal says that is not shipped yet, about."""
        goal, position = self._journal.position, self._reached
        segments = (goal >> 32) - max(1, position >> 32)
        return max(0, segments * SEGMENT_BYTES + (goal & 0xFFFFFFFF) - (position & 0xFFFFFFFF))

    @property
    def waiting_s(self) -> float:
        """For how long the oldest record that is not shipped has waited, at most; 0 without any."""
        if self._reached >= self._journal.position:
            return 0.0
        return max(0, self._clock() - self._even_at_us) / 1_000_000

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping:
            self._awake.wait(pause_s)
            self._awake.clear()
            try:
                busy = self.ship_own()
                self._sweep()
            except Exception as error:  # noqa: BLE001 - whatever it is, it must be tried again
                self._note_fault(error)
                pause_s = min(self._pace.fault_s, max(self._pace.busy_s, pause_s * 2))
                continue
            self._note_success()
            quiet_s = min(self._pace.idle_s, max(self._pace.busy_s, pause_s * 2))
            pause_s = self._pace.busy_s if busy else quiet_s
        try:
            self._finish_own()
            self._note_success()
        except Exception as error:  # noqa: BLE001 - the journal stays for the next start
            self._note_fault(error)

    def ship_own(self) -> bool:
        """Ship what the worker's journal says by now; whether that was anything.

        Called by the thread, or by somebody else before there is one.
        """
        if self._reached >= self._journal.position:
            self._even_at_us = self._clock()
            return False
        any_shipped = False
        more = True
        while more:
            began_us = self._clock()
            batch, load, reached = self._read_own()
            if load.count:
                journal_id = self._journal.directory.name
                self.shipped += self._ledger.ship(journal_id, batch.position, load, self._clock())
                self._tell_shipped(load)
                any_shipped = True
            self._read = None
            self._note_damages(self._journal.directory, batch)
            self._position = batch.position
            self._journal.release(batch.position)
            with self._moved:
                self._reached = reached
                self._moved.notify_all()
            more = batch.more
        self._even_at_us = began_us
        return any_shipped

    def _read_own(self) -> tuple[Batch, Load, int]:
        """The next batch, and up to where nothing is left then; the same if it was not shipped."""
        if self._read is None:
            goal = self._journal.position  # asked first: what comes later is not in the batch
            recent = self._journal.recent.take(self._position, BATCH_RECORDS)
            if recent is None:
                batch = read_records(self._journal.directory, self._position, kinds=_ENTRIES)
                self._read = batch, make_load(batch.entries), batch.position
            else:
                entries, position = recent
                more = len(entries) == BATCH_RECORDS
                batch = Batch([], position, more, [])
                self._read = batch, make_load(entries), position if more else max(goal, position)
        return self._read

    def _tell_shipped(self, load: Load) -> None:
        if not load.charges:
            return
        try:
            self._on_shipped(load.charges)
        except Exception:  # noqa: BLE001 - it is shipped all the same
            _log.exception("what was shipped could not be noted")

    def _finish_own(self) -> None:
        """Ship the rest of the worker's own journal, which is closed, as if it had died."""
        self.ship_own()
        adopted = adopt(self._journal.directory)
        if adopted is not None:
            self._finish(adopted)

    def _sweep(self) -> None:
        """Now and then: finish the journals of dead workers."""
        ago_us = self._clock() - self._swept_at_us
        if 0 <= ago_us < self._pace.sweep_s * 1_000_000:  # a clock may be set back
            return
        own = self._journal.directory.name
        for directory in list_journals(self._folder):
            if directory.name == own:
                continue
            try:
                adopted = adopt(directory)
                if adopted is not None:
                    self._finish(adopted)
            except OSError as error:
                _log.warning("the journal %s cannot be shipped: %s", directory, error)
            if self._stopping:
                return
        if self._swept_at_us == 0:
            # A process that was killed behind ``remove`` has left its journal's row.
            self._ledger.remove_journals(SHIPPED, self._clock() - _FORGET_US)
        self._swept_at_us = self._clock()

    def _finish(self, adopted: Adopted) -> None:
        """Ship all of a dead worker's journal, lost calls as well, and remove it."""
        try:
            position = self._ledger.find_position(adopted.journal_id) or 0
            if position != SHIPPED and not self._ship_rest(adopted, position):
                return
            self._ledger.remove_leases(adopted.journal_id)
            adopted.remove()
            self._ledger.remove_journal(adopted.journal_id)
        finally:
            adopted.close()

    def _ship_rest(self, adopted: Adopted, position: int) -> bool:
        """Ship what a dead worker's journal says from a position on; False if it must be left.

        The worker's own journal does not wait for that.
        """
        journal_id = adopted.journal_id
        more = True
        while more:
            batch = adopted.read_records(position, kinds=_ENTRIES)
            position, more = batch.position, batch.more
            load = make_load(batch.entries)
            if load.count:
                self.shipped += self._ledger.ship(journal_id, position, load, self._clock())
            self._note_damages(adopted.directory, batch)
            if not self._may_go_on(adopted):
                return False
        lost = adopted.list_lost()
        for start in range(0, len(lost) + 1, BATCH):
            part = make_load(lost[start : start + BATCH])
            last = start + BATCH > len(lost)
            self.shipped += self._ledger.ship(
                journal_id, SHIPPED if last else position, part, self._clock()
            )
        if lost:
            _log.warning("%d calls were lost when the worker %s died", len(lost), journal_id)
        return True

    def _may_go_on(self, adopted: Adopted) -> bool:
        if adopted.directory == self._journal.directory:
            return True
        self.ship_own()
        return not self._stopping

    def _note_damages(self, directory: Path, batch: Batch) -> None:
        self.damages += len(batch.damages)
        for damage in batch.damages:
            _log.error(
                "the journal %s is damaged: segment %d, offset %d: %s",
                directory,
                damage.segment,
                damage.offset,
                damage.reason,
            )

    def _note_fault(self, error: Exception) -> None:
        if self.fault is None:
            _log.warning(
                "the ledger cannot be shipped; entries wait in the journal", exc_info=error
            )
        known = isinstance(error, SQLAlchemyError | OSError)
        reason = explain_error(error) if known else type(error).__name__
        self.fault = f"the ledger's journal cannot be shipped: {reason}"

    def _note_success(self) -> None:
        if self.fault is not None:
            _log.warning("the ledger is shipped again")
            self.fault = None
