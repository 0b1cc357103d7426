"""Calls for tests of usage: rows as they are shipped, drawn from few names over a few days."""

import random
from collections.abc import Iterable

from trunkline.store.load import Load
from trunkline.store.posting import DAY_US, EntryRow, Posting
from trunkline.store.store import Store

FIRST_DAY = 20_000
DAYS = 5
ACCOUNTS = ("a", "team b", "Ü")
KEYS = ("key_1", "key_2", "key_3")
MODELS = ("gpt-4o", "local/smollm2", "=cmd")
TARGETS = ("", "openai/gpt-4o", "local/smollm2")
STATUSES = ("complete", "failed", "left", "refused", "lost")
SOURCES = ("provider", "counted", "estimated", "none")


def make_call(number: int, **fields: object) -> EntryRow:
    """A call that used nothing, but for what is given."""
    row: dict[str, object] = {
        "id": f"req_{number:024x}",
        "at_us": FIRST_DAY * DAY_US + number,
        "account_id": "a",
        "key_id": "key_1",
        "model": "gpt-4o",
        "operation": "openai.chat",
        "stream": False,
        "status": "complete",
        "code": "",
        "target": "openai/gpt-4o",
        "finish_reason": "stop",
        "changes": "",
        "attempts": 1,
        "usage_source": "provider",
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "audio_input_tokens": 0,
        "audio_output_tokens": 0,
        "cost_micros": 0,
        "queue_us": 10,
        "first_token_us": None,
        "total_us": 1_000,
    }
    return EntryRow(**{**row, **fields})  # type: ignore[arg-type]


def make_calls(count: int) -> list[EntryRow]:
    """Any calls, always the same ones."""
    dice = random.Random(7)
    return [
        make_call(
            number,
            at_us=FIRST_DAY * DAY_US + dice.randrange(DAYS * DAY_US),
            account_id=dice.choice(ACCOUNTS),
            key_id=dice.choice(KEYS),
            model=dice.choice(MODELS),
            status=dice.choice(STATUSES),
            target=dice.choice(TARGETS),
            usage_source=dice.choice(SOURCES),
            input_tokens=dice.randrange(2**40),
            output_tokens=dice.randrange(1_000),
            cached_tokens=dice.randrange(100),
            cache_write_tokens=dice.randrange(100),
            reasoning_tokens=dice.randrange(100),
            audio_input_tokens=dice.randrange(100),
            audio_output_tokens=dice.randrange(100),
            cost_micros=dice.choice((None, 0, dice.randrange(2**33))),
        )
        for number in range(count)
    ]


def ship_calls(store: Store, calls: Iterable[EntryRow]) -> None:
    """Put calls into the store, as a worker's shipper does."""
    postings = [Posting(call, ()) for call in calls]
    store.ledger.ship("journal", 1, Load(postings), 1)
