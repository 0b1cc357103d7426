"""Leases in the store: what each worker has taken of budgets, so that it can admit calls by itself.

In every window of a budget, what shipped entries have spent and what all workers have taken is
never more than the budget's amount: nothing is granted that would break this, and of an amount
that was lowered nothing is granted until it is no longer broken.

A worker says how much it has used, of all that it ever took of a window, and is told how much it
has taken. Both count only what the worker does itself: shipping an entry changes neither. So a
question whose answer was lost is just asked again, and the next answer sets things right.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, delete, select

from trunkline.store.bulk import POSTGRES, make_addition, make_change
from trunkline.store.database import Database
from trunkline.store.schema import BUDGET_WINDOWS, LEASES
from trunkline.store.transaction import Transaction
from trunkline.store.window import (
    WINDOW_FIELDS,
    create_windows,
    find_amounts,
    find_spent,
    is_of,
    name_budget,
    sum_leases,
    sum_usage,
)
from trunkline.terms import Window

SHARE: Final = 64
"""A worker takes in advance at most one part in so many of what is left to it."""


class Want(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a worker asks of one window, all in the window's unit.

    ``used`` is what its calls hold or were charged, of all that it has taken; ``kept`` what it may
    give to calls before it has the answer, and is not taken back. ``need`` is what must be free
    for the calls that wait, ``least`` for the one that needs least. ``usual`` is what a call needs
    as a rule: the worker gets some in advance, in whole calls; 0 for a worker that needs no more,
    and gives back. ``amount`` is the budget's as far as the worker knows: it counts where the
    store knows none.
    """

    window: Window
    used: int
    kept: int
    amount: int
    need: int = 0
    least: int = 0
    usual: int = 0


class Answer(msgspec.Struct, frozen=True, gc=False):
    """How a worker and a window stand.

    ``taken`` is all that the worker has ever taken, less what it gave back; ``rest`` what nobody
    has spent or taken, less than 0 in a budget that was lowered; ``ahead`` what the worker may
    have in advance. ``gone``: nothing of the worker's is left, used or not, and it need not be
    remembered.
    """

    taken: int
    rest: int
    spent: int
    amount: int
    ahead: int
    gone: bool


class Standing(msgspec.Struct, frozen=True):
    """How a window stands: spent by shipped entries, and taken by workers for calls to come."""

    window: Window
    spent: int
    leased: int


class _Lease(msgspec.Struct, frozen=True, gc=False):
    """A row of leases, or what is to change in one: ``granted`` by so much, ``taken`` to it."""

    journal_id: str
    kind: str
    subject_id: str
    unit: str
    period: str
    starts_at_us: int
    granted: int
    taken: int


class _State(msgspec.Struct, frozen=True, gc=False):
    """What the database says of a window; ``own`` is what the worker has there, if anything."""

    spent: int
    leased: int
    amount: int
    own: _Lease | None


_ADD: Final = make_addition(LEASES, _Lease)
_CHANGE: Final = make_change(LEASES, _Lease, put=("taken",), add=("granted",))


class Leases:
    """The leases of one database, and the windows that they are of.

    Args:
        database: where they are kept; or a write in which they are the first thing done.
    """

    def __init__(self, database: Database | Transaction) -> None:
        self._database = database

    def change(self, journal_id: str, wants: Sequence[Want]) -> list[Answer]:
        """Grant, take back, and say how things stand, in one write; the answers in order.

        A window that is new begins with what its subject has used in it already. Without any
        wants this finds out whether the database takes writes.

        Args:
            journal_id: the worker's.
            wants: each of another window.
        """

        def exchange(connection: Connection) -> list[Answer]:
            _see_others(connection)
            if not wants:
                return []
            states = _find_states(connection, journal_id, wants)
            answers = [_answer(*pair) for pair in zip(wants, states, strict=True)]
            _write(connection, journal_id, [*zip(wants, states, answers, strict=True)])
            return answers

        return self._database.apply(exchange)

    def find_standings(self, windows: Sequence[Window]) -> list[Standing]:
        """How windows stand, in order; one that nobody has asked of, by what was used in it."""
        with self._database.read() as connection:
            spent = find_spent(connection, windows)
            leased = sum_leases(connection, windows)
            return [
                Standing(
                    window,
                    spent[window] if window in spent else sum_usage(connection, window),
                    leased.get(window, 0),
                )
                for window in windows
            ]

    def list_windows(self, kind: str, subject_id: str) -> list[Standing]:
        """The windows that a key or an account has had, the newest first."""
        table = BUDGET_WINDOWS.c
        query = (
            select(BUDGET_WINDOWS)
            .where(table.kind == kind, table.subject_id == subject_id)
            .order_by(table.starts_at_us.desc(), table.period, table.unit)
        )
        with self._database.read() as connection:
            spent = {Window(*row[:-1]): row[-1] for row in connection.execute(query)}
            leased = sum_leases(connection, [*spent])
        return [Standing(window, spent[window], leased.get(window, 0)) for window in spent]

    def remove_windows(self, before_us: int) -> int:
        """Remove windows that began before a moment, and that no worker has anything of.

        Returns how many. One that is asked of again begins with the sums of its days, so they
        must be kept for longer. The windows of ``total`` budgets stay.
        """
        held = select(LEASES.c.journal_id).where(
            *(LEASES.c[name] == BUDGET_WINDOWS.c[name] for name in WINDOW_FIELDS)
        )
        removal = delete(BUDGET_WINDOWS).where(
            BUDGET_WINDOWS.c.starts_at_us < before_us,
            BUDGET_WINDOWS.c.period != "total",
            ~held.exists(),
        )
        return self._database.apply(lambda connection: connection.execute(removal).rowcount)


def choose_free(want: Want, free: int, rest: int) -> tuple[int, int]:
    """What a worker shall have free, and what it may have in advance.

    Args:
        want: what it asks.
        free: what it has free now; less than 0 if calls cost more than was held for them.
        rest: what nobody has spent or taken; less than 0 in a budget that was lowered.
    """
    ahead = 0
    if want.usual:
        ahead = want.usual * max(0, (rest + free) // (SHARE * want.usual))
    goal = max(want.need, ahead)
    if goal <= free:
        return max(goal, min(free, want.kept)), ahead
    reached = free + min(goal - free, max(0, rest))
    return (reached if reached >= want.least else free), ahead


def _see_others(connection: Connection) -> None:
    """Let each statement see what was committed before it; the write's first statement.

    Whoever changes what is spent or leased of a window has a lock on the window's row, so that on
    PostgreSQL workers queue there. In serializable writes they would undo each other instead.
    """
    if connection.dialect.name == POSTGRES:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")


def _find_states(connection: Connection, journal_id: str, wants: Sequence[Want]) -> list[_State]:
    """How the windows stand, created where they are new, and locked until the write ends."""
    windows = [want.window for want in wants]
    create_windows(connection, windows)
    spent = find_spent(connection, windows, lock=True)
    leased = sum_leases(connection, windows)
    own = _find_own(connection, journal_id, windows)
    amounts = find_amounts(connection, windows)
    return [
        _State(
            spent[want.window],
            leased.get(want.window, 0),
            amounts.get(name_budget(want.window), want.amount),
            own.get(want.window),
        )
        for want in wants
    ]


def _find_own(
    connection: Connection, journal_id: str, windows: Sequence[Window]
) -> dict[Window, _Lease]:
    columns = [LEASES.c[name] for name in _Lease.__struct_fields__]
    query = select(*columns).where(LEASES.c.journal_id == journal_id, is_of(LEASES.c, windows))
    rows = [_Lease(*row) for row in connection.execute(query)]
    return {Window(*msgspec.structs.astuple(row)[1:-2]): row for row in rows}


def _answer(want: Want, state: _State) -> Answer:
    # Without a row nothing is left of what the worker took: all of it was used, and is shipped.
    granted, taken = (state.own.granted, state.own.taken) if state.own else (0, want.used)
    free = taken - want.used
    rest = state.amount - state.spent - state.leased
    chosen, ahead = choose_free(want, free, rest)
    # Whatever a worker says, no more than it has goes back.
    change = max(chosen - free, -max(0, granted))
    return Answer(
        taken=taken + change,
        rest=rest - change,
        spent=state.spent,
        amount=state.amount,
        ahead=ahead,
        gone=granted + change == 0 and free + change == 0,
    )


def _write(
    connection: Connection, journal_id: str, answered: Sequence[tuple[Want, _State, Answer]]
) -> None:
    """Bring the worker's rows to what was answered."""
    added: list[_Lease] = []
    changed: list[_Lease] = []
    removed: list[Window] = []
    for want, state, answer in answered:
        own, window = state.own, want.window
        if own is not None and answer.gone:
            removed.append(window)
        elif own is not None and answer.taken != own.taken:
            changed.append(_make_row(journal_id, window, answer.taken - own.taken, answer.taken))
        elif own is None and answer.taken != want.used:
            added.append(_make_row(journal_id, window, answer.taken - want.used, answer.taken))
    _ADD.run(connection, added)
    _CHANGE.run(connection, changed)
    if removed:
        own_rows = LEASES.c.journal_id == journal_id
        connection.execute(delete(LEASES).where(own_rows, is_of(LEASES.c, removed)))


def _make_row(journal_id: str, window: Window, granted: int, taken: int) -> _Lease:
    return _Lease(
        journal_id,
        window.kind,
        window.subject_id,
        window.unit,
        window.period,
        window.starts_at_us,
        granted,
        taken,
    )
