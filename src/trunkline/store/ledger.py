"""The ledger in the store: entries, attempts, the sums of days, and what was spent of budgets.

A worker's journal is shipped here in batches. Each batch is one transaction, and an entry that is
here already changes nothing, so that a batch may be sent again whenever its fate is unknown.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final

import msgspec
from sqlalchemy import Connection, delete, select, text, tuple_
from sqlalchemy.exc import IntegrityError

from trunkline.store.attempt import TRIES
from trunkline.store.bulk import POSTGRES, find_present, list_columns, make_addition, make_change
from trunkline.store.cost import CostRow, PricedAttempt, change_attempts
from trunkline.store.database import Database
from trunkline.store.load import Load, sum_days
from trunkline.store.posting import (
    DAY_KEYS,
    AttemptRow,
    DayRow,
    EntryRow,
    Posting,
)
from trunkline.store.schema import (
    ATTEMPTS,
    BUDGET_WINDOWS,
    ENTRIES,
    JOURNALS,
    LEASES,
    USAGE_DAYS,
)
from trunkline.store.series import add_series
from trunkline.terms import Charge, Window


class JournalRow(msgspec.Struct, frozen=True):
    """How far a worker's journal has been shipped, and when its last batch was."""

    id: str
    position: int
    changed_at_us: int


class _Spending(msgspec.Struct, frozen=True, gc=False):
    """What a batch adds to a window."""

    kind: str
    subject_id: str
    unit: str
    period: str
    starts_at_us: int
    spent: int


class _Use(msgspec.Struct, frozen=True, gc=False):
    """What a batch adds to a lease: less than nothing."""

    journal_id: str
    kind: str
    subject_id: str
    unit: str
    period: str
    starts_at_us: int
    granted: int


_ADD_ENTRIES: Final = make_addition(ENTRIES, EntryRow)
_ADD_ATTEMPTS: Final = make_addition(ATTEMPTS, AttemptRow)
_ADD_DAYS: Final = make_addition(USAGE_DAYS, DayRow, add_up=list_columns(DayRow)[DAY_KEYS:])
_ADD_SPENDING: Final = make_addition(BUDGET_WINDOWS, _Spending, add_up=("spent",))
_USE_LEASES: Final = make_change(LEASES, _Use, add=("granted",))


_CHANGE_POSITION: Final = text(
    "INSERT INTO journals (id, position, changed_at_us) VALUES (:id, :position, :changed_at_us) "
    "ON CONFLICT (id) DO UPDATE "
    "SET position = excluded.position, changed_at_us = excluded.changed_at_us "
    "WHERE journals.position <= excluded.position"
)
_WINDOW: Final = list_columns(Window)
_WINDOW_COLUMNS: Final = [BUDGET_WINDOWS.c[name] for name in _WINDOW]
_ENTRY_COLUMNS: Final = [ENTRIES.c[name] for name in list_columns(EntryRow)]
_ATTEMPT_COLUMNS: Final = [TRIES.c[name] for name in list_columns(AttemptRow)]
_PRICED_COLUMNS: Final = [TRIES.c[name] for name in list_columns(PricedAttempt)]


class Ledger:
    """The ledger of one database.

    Args:
        database: where it is kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def ship(self, journal_id: str, position: int, load: Load, now_us: int) -> int:
        """Add what a journal holds up to a position, in one transaction; returns how many were new.

        An entry that is here already changes nothing. What the others are charged moves from the
        journal's leases, where it has one, to what is spent of the windows.

        Args:
            journal_id: the journal's.
            position: where the next batch begins; a lower one than before is ignored.
            load: may hold an entry several times.
            now_us: noted as the time of the journal's last batch.
        """
        moved = {"id": journal_id, "position": position, "changed_at_us": now_us}

        def add(connection: Connection) -> int:
            lock_ledger(connection)
            try:
                # As a rule all of them are new, and then nobody has to look.
                with connection.begin_nested():
                    _add_load(connection, journal_id, load)
                added = load.count
            except IntegrityError:
                new = _list_new(connection, load.list_postings())
                _add_load(connection, journal_id, Load(new))
                added = len(new)
            connection.execute(_CHANGE_POSITION, moved)
            return added

        return self._database.apply(add)

    def find_position(self, journal_id: str) -> int | None:
        """How far a journal has been shipped; None when nothing is known of it."""
        query = select(JOURNALS.c.position).where(JOURNALS.c.id == journal_id)
        with self._database.read() as connection:
            return connection.scalar(query)

    def list_journals(self) -> list[JournalRow]:
        """Every journal that was shipped and not removed, by id."""
        query = select(JOURNALS).order_by(JOURNALS.c.id)
        with self._database.read() as connection:
            return [JournalRow(*row) for row in connection.execute(query)]

    def remove_leases(self, journal_id: str) -> None:
        """Give back what is left of a journal's leases: its worker is dead and all is shipped."""
        self._database.apply(lambda connection: _remove_leases(connection, journal_id))

    def remove_journal(self, journal_id: str) -> None:
        """Forget a journal, and give back what is left of its leases.

        Its files must be gone: whoever finds them later would ship them from their beginning.
        """

        def remove(connection: Connection) -> None:
            _remove_leases(connection, journal_id)
            connection.execute(delete(JOURNALS).where(JOURNALS.c.id == journal_id))

        self._database.apply(remove)

    def remove_journals(self, position: int, before_us: int) -> None:
        """Forget the journals at a position whose last batch was before a moment."""
        removal = delete(JOURNALS).where(
            JOURNALS.c.position == position, JOURNALS.c.changed_at_us < before_us
        )
        self._database.apply(lambda connection: connection.execute(removal))

    def find_entry(self, entry_id: str) -> Posting | None:
        """One entry with its attempts, without its charges; None when there is none."""
        query = select(*_ENTRY_COLUMNS).where(ENTRIES.c.id == entry_id)
        tries = select(*_ATTEMPT_COLUMNS).where(TRIES.c.entry_id == entry_id)
        with self._database.read() as connection:
            found = connection.execute(query).first()
            if found is None:
                return None
            attempts = connection.execute(tries.order_by(TRIES.c.number)).all()
        return Posting(EntryRow(*found), tuple(AttemptRow(*row) for row in attempts))

    def list_entries(
        self, since_us: int, until_us: int, after: tuple[int, str] | None, limit: int
    ) -> list[EntryRow]:
        """Entries of a time, oldest first.

        Args:
            since_us: the first moment, microseconds since 1970, UTC.
            until_us: the first moment that is too late.
            after: time and id of the last one of the page before; None for the first page.
            limit: how many at most.
        """
        query = select(*_ENTRY_COLUMNS).where(
            ENTRIES.c.at_us >= since_us, ENTRIES.c.at_us < until_us
        )
        if after is not None:
            query = query.where(tuple_(ENTRIES.c.at_us, ENTRIES.c.id) > after)
        query = query.order_by(ENTRIES.c.at_us, ENTRIES.c.id).limit(limit)
        with self._database.read() as connection:
            return [EntryRow(*row) for row in connection.execute(query)]

    def list_attempts(
        self, since_us: int, until_us: int, after: tuple[int, str, int] | None, limit: int
    ) -> list[PricedAttempt]:
        """Attempts of the entries of a time, in the order of their entries, to price them anew.

        Args:
            since_us: the first moment, microseconds since 1970, UTC.
            until_us: the first moment that is too late.
            after: time, id and number of the last one of the page before; None for the first page.
            limit: how many at most.
        """
        place = (TRIES.c.at_us, TRIES.c.entry_id, TRIES.c.number)
        query = select(*_PRICED_COLUMNS)
        query = query.where(TRIES.c.at_us >= since_us, TRIES.c.at_us < until_us)
        if after is not None:
            # The second condition says it all; the first lets the index find the place.
            query = query.where(TRIES.c.at_us >= after[0], tuple_(*place) > after)
        query = query.order_by(*place).limit(limit)
        with self._database.read() as connection:
            return [PricedAttempt(*row) for row in connection.execute(query)]

    def change_costs(self, rows: Sequence[CostRow]) -> int:
        """Give attempts new costs, all or none, and correct their entries and the sums of days.

        What was charged to budgets stays: they were kept at the prices of their time.

        Args:
            rows: at most about a thousand; those of entries that are gone change nothing.

        Returns:
            How many entries have a new cost.
        """

        def change(connection: Connection) -> int:
            lock_ledger(connection)
            return change_attempts(connection, rows)

        return self._database.apply(change)

    def remove_before(self, at_us: int, limit: int) -> int:
        """Remove the oldest entries from before a moment, with their attempts; returns how many.

        The sums of their days stay.

        Args:
            at_us: microseconds since 1970, UTC.
            limit: how many at most.
        """
        oldest = (
            select(ENTRIES.c.id)
            .where(ENTRIES.c.at_us < at_us)
            .order_by(ENTRIES.c.at_us)
            .limit(limit)
        )
        removal = delete(ENTRIES).where(ENTRIES.c.id.in_(oldest))
        return self._database.apply(lambda connection: connection.execute(removal).rowcount)

    def remove_days_before(self, day: int) -> int:
        """Remove the sums of the oldest day, if it is before this one; returns how many rows.

        Args:
            day: days since 1970, UTC.
        """
        oldest = select(USAGE_DAYS.c.day).order_by(USAGE_DAYS.c.day).limit(1).scalar_subquery()
        removal = delete(USAGE_DAYS).where(USAGE_DAYS.c.day == oldest, USAGE_DAYS.c.day < day)
        return self._database.apply(lambda connection: connection.execute(removal).rowcount)


def lock_ledger(connection: Connection) -> None:
    """Let no other write of entries or sums run until this one ends; the write's first statement.

    On PostgreSQL, serializable writes that add to the sum of the same day, or to what is spent of
    the same window, would undo each other again and again. With this they queue instead, and each
    statement sees what was committed before it. SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == POSTGRES:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        connection.exec_driver_sql("LOCK TABLE journals IN SHARE ROW EXCLUSIVE MODE")


def _remove_leases(connection: Connection, journal_id: str) -> None:
    # Who changes what is leased of a window holds the window's row, always in the same order.
    lock_ledger(connection)
    own = LEASES.c.journal_id == journal_id
    held = select(*(LEASES.c[name] for name in _WINDOW)).where(own)
    windows = select(*_WINDOW_COLUMNS).where(tuple_(*_WINDOW_COLUMNS).in_(held))
    connection.execute(windows.order_by(*_WINDOW_COLUMNS).with_for_update())
    connection.execute(delete(LEASES).where(own))


def _list_new(connection: Connection, postings: Sequence[Posting]) -> list[Posting]:
    """Those that are not here, each once."""
    given = {posting.entry.id: posting for posting in postings}
    present = find_present(connection, ENTRIES, [*given])
    return [given[key] for key in given if key not in present]


def _add_load(connection: Connection, journal_id: str, load: Load) -> None:
    entries = [posting.entry for posting in load.postings]
    if connection.dialect.name == POSTGRES:
        entries += chain.from_iterable(series.list_entries() for series in load.series)
    else:
        add_series(connection, load.series)
    _ADD_ENTRIES.run(connection, entries)
    _ADD_ATTEMPTS.run(connection, [each for posting in load.postings for each in posting.attempts])
    _ADD_DAYS.run(connection, sum_days(load))
    _ADD_SPENDING.run(connection, [_make_spending(charge) for charge in load.charges])
    _USE_LEASES.run(connection, [_make_use(journal_id, charge) for charge in load.charges])


def _make_spending(charge: Charge) -> _Spending:
    key = charge.window
    return _Spending(
        key.kind, key.subject_id, key.unit, key.period, key.starts_at_us, spent=charge.amount
    )


def _make_use(journal_id: str, charge: Charge) -> _Use:
    key = charge.window
    window = (key.kind, key.subject_id, key.unit, key.period, key.starts_at_us)
    return _Use(journal_id, *window, granted=-charge.amount)
