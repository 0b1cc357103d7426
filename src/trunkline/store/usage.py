"""Usage in the store: sums over calls, and calls one by one; it only reads.

A day's sums are kept beside the calls they sum up, for longer, and are far fewer. So sums are
taken from them, unless something is asked that only the calls themselves know.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import add
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    cast,
    func,
    or_,
    select,
)

from trunkline.store.database import Database
from trunkline.store.posting import DAY_US, EntryRow
from trunkline.store.schema import ENTRIES, USAGE_DAYS

Part = Literal["day", "account", "key", "model", "hour", "target", "status"]
"""What sums can be split by."""

HOUR_US: Final = 3_600_000_000

_DAYS_AT_ONCE: Final = 7
"""How many days are summed in one statement, from their sums; of calls it is one day."""

_FINE: Final = frozenset({"hour", "target", "status"})
"""The parts that only the calls themselves know."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls are meant; None stands for all.

    Days are counted from 1970, UTC; both are included.
    """

    since_day: int | None = None
    until_day: int | None = None
    account_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    target: str | None = None
    status: str | None = None


class Sums(msgspec.Struct, frozen=True, gc=False):
    """What calls used together.

    Which calls failed, have no price or are unknown is said at ``DayRow``; the cost is that of
    those that have one.
    """

    calls: int = 0
    failed_calls: int = 0
    unpriced_calls: int = 0
    unknown_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    cost_micros: int = 0


class Share(msgspec.Struct, frozen=True):
    """The sums of one value of each part: texts, and integers for days and hours since 1970."""

    parts: tuple[str | int, ...]
    sums: Sums


_SUMMED: Final = msgspec.structs.fields(Sums)
_TOKENS: Final = tuple(field.name for field in _SUMMED if field.name.endswith("_tokens"))

_DAY_PARTS: Final[dict[Part, ColumnElement[Any]]] = {
    "day": USAGE_DAYS.c.day,
    "account": USAGE_DAYS.c.account_id,
    "key": USAGE_DAYS.c.key_id,
    "model": USAGE_DAYS.c.model,
}
_CALL_PARTS: Final[dict[Part, ColumnElement[Any]]] = {
    "day": ENTRIES.c.at_us // DAY_US,
    "account": ENTRIES.c.account_id,
    "key": ENTRIES.c.key_id,
    "model": ENTRIES.c.model,
    "hour": ENTRIES.c.at_us // HOUR_US,
    "target": ENTRIES.c.target,
    "status": ENTRIES.c.status,
}


def knows_only_calls(choice: Choice, by: Iterable[Part]) -> bool:
    """Whether the sums of days cannot answer this."""
    fine = choice.target is not None or choice.status is not None
    return fine or not _FINE.isdisjoint(by)


class TooManySharesError(ValueError):
    """There are more shares than somebody wants to have.

    Args:
        most: how many there may be.
    """

    def __init__(self, most: int) -> None:
        super().__init__(f"there are more than {most:,} rows")


class Usage:
    """What the calls in one database used.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_shares(
        self, choice: Choice, by: Sequence[Part], most: int | None = None
    ) -> list[Share]:
        """The sums of the calls, split by the parts, in no order.

        Some days are summed at a time, all as of one moment, so that no statement takes so long
        that the database gives up, however many days there are.

        Args:
            choice: which calls.
            by: at least one part.
            most: how many shares there may be; None for any number.

        Raises:
            TooManySharesError: there are more.
        """
        from_calls = knows_only_calls(choice, by)
        found: dict[tuple[Any, ...], tuple[int, ...]] = {}
        with self._database.read() as connection:
            for days in _cut_days(connection, choice, from_calls=from_calls):
                for row in connection.execute(_sum_up(days, by, from_calls=from_calls)):
                    parts, sums = tuple(row[: len(by)]), row[len(by) :]
                    known = found.get(parts)
                    found[parts] = tuple(sums if known is None else map(add, known, sums))
                if most is not None and len(found) > most:
                    raise TooManySharesError(most)
        return [Share(parts, Sums(*sums)) for parts, sums in found.items()]

    def find_kept_day(self, choice: Choice) -> int | None:
        """From which day on all the calls are kept one by one; None if all of them are.

        Only account, key, model and the days of the choice count.
        """
        with self._database.read() as connection:
            first_us = connection.scalar(select(func.min(ENTRIES.c.at_us)))
            first_day = None if first_us is None else first_us // DAY_US
            lost = _list_lost_days(connection, choice, first_day)
        return max(lost) + 1 if lost else None

    def list_calls(self, choice: Choice, limit: int) -> list[EntryRow]:
        """The newest calls first."""
        query = (
            select(ENTRIES)
            .where(*_choose_calls(choice))
            .order_by(ENTRIES.c.at_us.desc(), ENTRIES.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [EntryRow(**row) for row in connection.execute(query).mappings()]


def _cut_days(connection: Connection, choice: Choice, *, from_calls: bool) -> Iterator[Choice]:
    """The choice, some days at a time, without the days on which there is nothing."""
    if from_calls:
        step, column, unit = 1, ENTRIES.c.at_us, DAY_US
    else:
        step, column, unit = _DAYS_AT_ONCE, USAGE_DAYS.c.day, 1
    query = select(func.min(column))
    if choice.until_day is not None:
        query = query.where(column < (choice.until_day + 1) * unit)
    since_day = choice.since_day
    while True:
        # The next day on which there is something: a clock that was wrong once leaves a wide gap.
        later = query if since_day is None else query.where(column >= since_day * unit)
        found = connection.scalar(later)
        if found is None:
            return
        first_day = found // unit
        since_day = first_day + step
        last_day = since_day - 1
        if choice.until_day is not None:
            last_day = min(last_day, choice.until_day)
        yield msgspec.structs.replace(choice, since_day=first_day, until_day=last_day)


def _sum_up(choice: Choice, by: Sequence[Part], *, from_calls: bool) -> Select[Any]:
    if from_calls:
        known, sums, conditions = _CALL_PARTS, _sum_calls(), _choose_calls(choice)
    else:
        known, sums, conditions = _DAY_PARTS, _sum_days(), _choose_days(choice)
    parts = [known[part] for part in by]
    # As integers: PostgreSQL's sums of them are numbers of any size.
    whole = [cast(column, BigInteger) for column in sums]
    return select(*parts, *whole).where(*conditions).group_by(*parts)


def _sum_days() -> list[ColumnElement[Any]]:
    return [func.sum(USAGE_DAYS.c[field.name]) for field in _SUMMED]


def _sum_calls() -> list[ColumnElement[Any]]:
    """The same sums from the calls themselves; what they count is said at ``DayRow``."""
    calls = ENTRIES.c
    uncounted = and_(calls.usage_source == "none", calls.status != "refused")
    return [
        func.count(),
        _count(calls.status.in_(("failed", "refused"))),
        _count(calls.cost_micros.is_(None)),
        _count(or_(calls.status == "lost", uncounted)),
        *(func.sum(calls[name]) for name in _TOKENS),
        func.coalesce(func.sum(calls.cost_micros), 0),
    ]


def _count(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(case((condition, 1), else_=0))


def _choose_days(choice: Choice) -> list[ColumnElement[bool]]:
    days = USAGE_DAYS.c
    conditions = _choose(choice, _DAY_PARTS)
    if choice.since_day is not None:
        conditions.append(days.day >= choice.since_day)
    if choice.until_day is not None:
        conditions.append(days.day <= choice.until_day)
    return conditions


def _choose_calls(choice: Choice) -> list[ColumnElement[bool]]:
    at_us = ENTRIES.c.at_us
    conditions = _choose(choice, _CALL_PARTS)
    if choice.since_day is not None:
        conditions.append(at_us >= choice.since_day * DAY_US)
    if choice.until_day is not None:
        conditions.append(at_us < (choice.until_day + 1) * DAY_US)
    return conditions


def _choose(choice: Choice, parts: dict[Part, ColumnElement[Any]]) -> list[ColumnElement[bool]]:
    wanted: dict[Part, str | None] = {
        "account": choice.account_id,
        "key": choice.key_id,
        "model": choice.model,
        "target": choice.target,
        "status": choice.status,
    }
    return [parts[part] == text for part, text in wanted.items() if text is not None]


def _list_lost_days(connection: Connection, choice: Choice, first_day: int | None) -> list[int]:
    """The days of which fewer calls are there than were summed up; days after the first are whole.

    Args:
        connection: a read.
        choice: which calls.
        first_day: of the oldest call that is there, None if there is none.
    """
    choice = msgspec.structs.replace(choice, target=None, status=None)
    days = USAGE_DAYS.c
    summed = select(days.day, func.sum(days.calls)).where(*_choose_days(choice))
    if first_day is None:
        return [day for day, _ in connection.execute(summed.group_by(days.day))]
    summed = summed.where(days.day <= first_day).group_by(days.day)
    that_day = ENTRIES.c.at_us < (first_day + 1) * DAY_US
    there = connection.scalar(
        select(func.count()).select_from(ENTRIES).where(that_day, *_choose_calls(choice))
    )
    return [
        day for day, calls in connection.execute(summed) if day < first_day or calls > (there or 0)
    ]
