"""Entries as rows of the store: what a database cannot keep is made to fit. Pure.

A text from outside may be long or hold a NUL, and a provider may claim any number of tokens. One
such row would fail its whole batch for ever, so it is cut to what every database can keep and sum.
"""

from typing import Final

import msgspec

from trunkline.ledger.entry import Attempt, Entry, Tokens, sum_attempts
from trunkline.store.posting import AttemptRow, EntryRow, Posting
from trunkline.terms import Charge

TEXT_LENGTH: Final = 256
"""Characters of a name: an account, a model, a target. They stand in keys of an index, in which
PostgreSQL takes 2,704 bytes at most."""

CHANGES_LENGTH: Final = 4000
_BITS: Final = 44
MOST: Final = 2**_BITS - 1
"""The largest number of tokens or micro-dollars: half a million of them can be summed in 64 bits,
and neither is negative."""


def make_posting(entry: Entry) -> Posting:
    """The rows of one entry; tokens, cost and source as ``sum_attempts`` says."""
    opening = entry.opening
    entry_id = opening.id
    tries = tuple(_fit_attempt(attempt) for attempt in entry.attempts)
    tokens, cost_micros, source = sum_attempts(tries)
    last = tries[-1] if tries else None
    row = EntryRow(
        entry_id,
        opening.at_us,
        _cut_text(opening.account_id),
        opening.key_id,
        _cut_text(opening.model),
        opening.operation,
        opening.stream,
        entry.status,
        entry.code,
        _cut_text(opening.target if last is None else last.target),
        "" if last is None else _cut_text(last.finish_reason),
        _cut_text(entry.changes, CHANGES_LENGTH),
        len(tries),
        source,
        tokens.input,
        tokens.output,
        tokens.cached,
        tokens.cache_write,
        tokens.reasoning,
        tokens.audio_input,
        tokens.audio_output,
        cost_micros,
        entry.queue_us,
        entry.first_token_us,
        entry.total_us,
    )
    attempts = tuple(_make_attempt(entry_id, *numbered) for numbered in enumerate(tries, 1))
    return Posting(row, attempts, tuple(_fit_charge(charge) for charge in entry.charges))


def _make_attempt(entry_id: str, number: int, attempt: Attempt) -> AttemptRow:
    tokens = attempt.tokens
    return AttemptRow(
        entry_id,
        number,
        _cut_text(attempt.target),
        attempt.status,
        attempt.code,
        _cut_text(attempt.finish_reason),
        attempt.usage_source,
        tokens.input,
        tokens.output,
        tokens.cached,
        tokens.cache_write,
        tokens.reasoning,
        tokens.audio_input,
        tokens.audio_output,
        attempt.cost_micros,
        attempt.first_token_us,
        attempt.total_us,
    )


def _fit_charge(charge: Charge) -> Charge:
    return charge if charge.amount <= MOST else Charge(charge.window, MOST)


def _fit_attempt(attempt: Attempt) -> Attempt:
    """The attempt itself, but for one with numbers that nobody can have reached."""
    tokens, cost_micros = attempt.tokens, attempt.cost_micros
    every = tokens.input | tokens.output | tokens.cached | tokens.cache_write | tokens.reasoning
    every |= tokens.audio_input | tokens.audio_output | (cost_micros or 0)
    if not every >> _BITS:
        return attempt
    return msgspec.structs.replace(
        attempt,
        tokens=Tokens(*(_fit_number(number) for number in msgspec.structs.astuple(tokens))),
        cost_micros=None if cost_micros is None else _fit_number(cost_micros),
    )


def _fit_number(number: int) -> int:
    return max(0, min(number, MOST))


def _cut_text(text: str, length: int = TEXT_LENGTH) -> str:
    if len(text) > length:
        text = text[:length]
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text
