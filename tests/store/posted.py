"""Postings for tests, and the sums that they must lead to."""

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st
from sqlalchemy import select

from trunkline.store.posting import DAY_US, AttemptRow, DayRow, EntryRow, Posting
from trunkline.store.schema import ATTEMPTS, BUDGET_WINDOWS, ENTRIES, LEASES, USAGE_DAYS
from trunkline.store.store import Store
from trunkline.terms import Charge, Window

NOW_US = 1_800_000_000_000_000
TODAY = NOW_US // DAY_US

WINDOWS = [
    Window("key", "k1", "usd", "month", NOW_US),
    Window("account", "a", "usd", "day", NOW_US),
    Window("account", "a", "tokens", "total", 0),
]


def make_attempt(entry_id: str, number: int = 1, **given: Any) -> AttemptRow:
    values: dict[str, Any] = {
        "entry_id": entry_id,
        "number": number,
        "target": "openai/gpt-4o",
        "status": "complete",
        "code": "",
        "finish_reason": "stop",
        "usage_source": "provider",
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_tokens": 50,
        "cache_write_tokens": 0,
        "reasoning_tokens": 5,
        "audio_input_tokens": 0,
        "audio_output_tokens": 0,
        "cost_micros": 450,
        "first_token_us": 300,
        "total_us": 900,
    }
    return AttemptRow(**{**values, **given})


def make_posting(entry_id: str, charges: tuple[Charge, ...] = (), **given: Any) -> Posting:
    """One call of one attempt, whose entry differs from the usual one in what is given."""
    attempt = make_attempt(entry_id)
    values = {
        name: value
        for name, value in msgspec.structs.asdict(attempt).items()
        if name in EntryRow.__struct_fields__
    }
    values |= {
        "id": entry_id,
        "at_us": NOW_US,
        "account_id": "a",
        "key_id": "k1",
        "model": "gpt-4o",
        "operation": "chat",
        "stream": True,
        "changes": "",
        "attempts": 1,
        "queue_us": 7,
    }
    return Posting(EntryRow(**{**values, **given}), (attempt,), charges)


tokens = st.integers(0, 2**40)
amounts = st.integers(0, 2**40)


@st.composite
def postings(draw: st.DrawFn) -> Posting:
    """Any entry of few days, accounts, keys and models, under any of a few ids."""
    charges = [Charge(window, draw(amounts)) for window in WINDOWS if draw(st.booleans())]
    return make_posting(
        f"e{draw(st.integers(0, 12))}",
        tuple(charges),
        at_us=NOW_US + draw(st.integers(-1, 1)) * DAY_US,
        account_id=draw(st.sampled_from("ab")),
        key_id=draw(st.sampled_from(["k1", "k2"])),
        model=draw(st.sampled_from(["gpt-4o", "größer 模型", ""])),
        status=draw(st.sampled_from(["complete", "failed", "left", "refused", "lost"])),
        usage_source=draw(st.sampled_from(["provider", "counted", "estimated", "none"])),
        input_tokens=draw(tokens),
        output_tokens=draw(tokens),
        cached_tokens=draw(tokens),
        cache_write_tokens=draw(tokens),
        reasoning_tokens=draw(tokens),
        audio_input_tokens=draw(tokens),
        audio_output_tokens=draw(tokens),
        cost_micros=draw(st.none() | amounts),
    )


def list_all(store: Store) -> list[EntryRow]:
    return store.ledger.list_entries(0, 2**62, None, 100_000)


def list_days(store: Store) -> list[DayRow]:
    query = select(USAGE_DAYS).order_by(*USAGE_DAYS.primary_key)
    with store.database.read() as connection:
        return [DayRow(*row) for row in connection.execute(query)]


def sum_up(entries: Iterable[EntryRow]) -> list[DayRow]:
    """The sums of days, written down anew and plainly."""
    groups: dict[tuple[int, str, str, str], list[EntryRow]] = {}
    for entry in entries:
        key = (entry.at_us // DAY_US, entry.account_id, entry.key_id, entry.model)
        groups.setdefault(key, []).append(entry)
    return [
        DayRow(
            *key,
            calls=len(group),
            failed_calls=sum(entry.status in {"failed", "refused"} for entry in group),
            unpriced_calls=sum(entry.cost_micros is None for entry in group),
            unknown_calls=sum(
                entry.status == "lost"
                or (entry.usage_source == "none" and entry.status != "refused")
                for entry in group
            ),
            input_tokens=sum(entry.input_tokens for entry in group),
            output_tokens=sum(entry.output_tokens for entry in group),
            cached_tokens=sum(entry.cached_tokens for entry in group),
            cache_write_tokens=sum(entry.cache_write_tokens for entry in group),
            reasoning_tokens=sum(entry.reasoning_tokens for entry in group),
            audio_input_tokens=sum(entry.audio_input_tokens for entry in group),
            audio_output_tokens=sum(entry.audio_output_tokens for entry in group),
            cost_micros=sum(entry.cost_micros or 0 for entry in group),
        )
        for key, group in groups.items()
    ]


def find_spent(store: Store) -> dict[Window, int]:
    with store.database.read() as connection:
        rows = connection.execute(select(BUDGET_WINDOWS)).all()
    return {Window(*row[:5]): row.spent for row in rows}


def find_granted(store: Store, journal_id: str) -> dict[Window, int]:
    query = select(LEASES).where(LEASES.c.journal_id == journal_id)
    with store.database.read() as connection:
        rows = connection.execute(query).all()
    return {Window(*row[1:6]): row.granted for row in rows}


def grant(store: Store, journal_id: str, window: Window, amount: int) -> None:
    row = {**msgspec.structs.asdict(window), "journal_id": journal_id, "granted": amount}
    store.database.apply(lambda connection: connection.execute(LEASES.insert().values(row)))


def clear(store: Store) -> None:
    """An empty ledger again."""
    with store.database.write() as connection:
        for table in (ATTEMPTS, ENTRIES, USAGE_DAYS, BUDGET_WINDOWS, LEASES):
            connection.execute(table.delete())
        connection.exec_driver_sql("DELETE FROM journals")
