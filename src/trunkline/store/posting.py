"""Rows of the ledger: what one call adds to the tables, and the sums of a day.

The fields are the tables' columns. Texts hold no NUL, which PostgreSQL cannot store; whoever makes
the rows sees to that.
"""

from typing import Final

import msgspec

from trunkline.terms import Charge

DAY_US: Final = 86_400_000_000


class EntryRow(msgspec.Struct, frozen=True, gc=False):
    """A call as it ended: a row of ``entries``."""

    id: str
    at_us: int
    account_id: str
    key_id: str
    model: str
    operation: str
    stream: bool
    status: str
    code: str
    target: str
    finish_reason: str
    changes: str
    attempts: int
    usage_source: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    cost_micros: int | None
    queue_us: int
    first_token_us: int | None
    total_us: int


class AttemptRow(msgspec.Struct, frozen=True, gc=False):
    """A try at a target: a row of ``attempts``, numbered from 1 within its entry."""

    entry_id: str
    number: int
    target: str
    status: str
    code: str
    finish_reason: str
    usage_source: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    cost_micros: int | None
    first_token_us: int | None
    total_us: int


class DayRow(msgspec.Struct, frozen=True, gc=False):
    """The sums of the entries of a day, an account, a key and a model: a row of ``usage_days``.

    ``failed_calls`` are those that failed or were refused; ``unknown_calls`` those that were lost,
    or of which nobody counted the tokens and which were not refused; ``unpriced_calls`` those
    without a cost. ``cost_micros`` is that of the others.
    """

    day: int
    account_id: str
    key_id: str
    model: str
    calls: int
    failed_calls: int
    unpriced_calls: int
    unknown_calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    cost_micros: int


DAY_KEYS: Final = 4
"""How many of a day's fields, from the first, say what is summed."""


class Posting(msgspec.Struct, frozen=True, gc=False):
    """All that one call adds: its entry, its attempts, and what it is charged, by window.

    A single attempt of which the entry tells everything is left out.
    """

    entry: EntryRow
    attempts: tuple[AttemptRow, ...]
    charges: tuple[Charge, ...] = ()
