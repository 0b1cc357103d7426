"""Costs that change after the fact: attempts are priced anew, and entries and sums follow."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from trunkline.store.attempt import TRIES
from trunkline.store.bulk import make_change
from trunkline.store.posting import DAY_US
from trunkline.store.schema import ATTEMPTS, ENTRIES, USAGE_DAYS


class CostRow(msgspec.Struct, frozen=True, gc=False):
    """What one attempt costs from now on; None where its model has no price."""

    entry_id: str
    number: int
    cost_micros: int | None


class PricedAttempt(msgspec.Struct, frozen=True, gc=False):
    """All that the price of an attempt depends on, and what it costs so far."""

    at_us: int
    entry_id: str
    number: int
    model: str
    target: str
    usage_source: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    cost_micros: int | None


class _EntryCost(msgspec.Struct, frozen=True, gc=False):
    id: str
    cost_micros: int | None


class _DayCost(msgspec.Struct, frozen=True, gc=False):
    day: int
    account_id: str
    key_id: str
    model: str
    unpriced_calls: int
    cost_micros: int


_CHANGE_ATTEMPTS: Final = make_change(ATTEMPTS, CostRow, put=("cost_micros",))
_CHANGE_ENTRIES: Final = make_change(ENTRIES, _EntryCost, put=("cost_micros",))
_CHANGE_DAYS: Final = make_change(USAGE_DAYS, _DayCost, add=("unpriced_calls", "cost_micros"))

_USED: Final = (
    TRIES.c.input_tokens
    + TRIES.c.output_tokens
    + TRIES.c.cached_tokens
    + TRIES.c.cache_write_tokens
    + TRIES.c.reasoning_tokens
    + TRIES.c.audio_input_tokens
    + TRIES.c.audio_output_tokens
    > 0
)


def sum_costs(costs: Iterable[tuple[bool, int | None]]) -> int | None:
    """What an entry costs: the sum of its attempts; None when one used tokens and has no price.

    Args:
        costs: of each attempt, whether it used tokens, and its cost.
    """
    total_micros = 0
    for used, cost_micros in costs:
        if cost_micros is not None:
            total_micros += cost_micros
        elif used:
            return None
    return total_micros


def change_attempts(connection: Connection, rows: Sequence[CostRow]) -> int:
    """Give attempts new costs, and correct their entries and the sums of their days.

    Args:
        connection: of a write that began with ``lock_ledger``.
        rows: those of entries that are gone change nothing.

    Returns:
        How many entries have a new cost.
    """
    _CHANGE_ATTEMPTS.run(connection, rows)
    ids = list({row.entry_id for row in rows})
    tries: dict[str, list[tuple[bool, int | None]]] = {}
    given = {(row.entry_id, row.number): row.cost_micros for row in rows}
    query = select(TRIES.c.entry_id, TRIES.c.number, _USED, TRIES.c.cost_micros)
    for entry_id, number, used, before in connection.execute(
        query.where(TRIES.c.entry_id.in_(ids))
    ):
        # An attempt without a row of its own has its new cost from here.
        cost_micros = given.get((entry_id, number), before)
        tries.setdefault(entry_id, []).append((bool(used), cost_micros))
    columns = (ENTRIES.c.at_us, ENTRIES.c.account_id, ENTRIES.c.key_id, ENTRIES.c.model)
    found = select(ENTRIES.c.id, ENTRIES.c.cost_micros, *columns).where(ENTRIES.c.id.in_(ids))
    changes: list[_EntryCost] = []
    sums: dict[tuple[int, str, str, str], list[int]] = {}
    for entry_id, before, at_us, *names in connection.execute(found):
        after = sum_costs(tries.get(entry_id, ()))
        if after == before:
            continue
        changes.append(_EntryCost(entry_id, after))
        account_id, key_id, model = names
        added = sums.setdefault((at_us // DAY_US, account_id, key_id, model), [0, 0])
        added[0] += (after is None) - (before is None)
        added[1] += (after or 0) - (before or 0)
    _CHANGE_ENTRIES.run(connection, changes)
    _CHANGE_DAYS.run(connection, [_DayCost(*key, *sums[key]) for key in sorted(sums)])
    return len(changes)
