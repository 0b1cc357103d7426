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
    opening, tries = entry.opening, entry.attempts
    entry_id = opening.id
    if len(tries) == 1 and not _is_vast(tries[0]):
        last: Attempt | None = tries[0]
    else:
        tries = tuple(_fit_attempt(attempt) for attempt in tries)
        last = tries[-1] if tries else None
    tokens, cost_micros, source = sum_attempts(tries)
    account_id, model, changes = opening.account_id, opening.model, entry.changes
    target = opening.target if last is None else last.target
    finish_reason = "" if last is None else last.finish_reason
    texts = f"{account_id}{model}{changes}{target}{finish_reason}"
    if len(texts) > TEXT_LENGTH or "\0" in texts:
        account_id, model, target = _cut_text(account_id), _cut_text(model), _cut_text(target)
        finish_reason, changes = _cut_text(finish_reason), _cut_text(changes, CHANGES_LENGTH)
    row = EntryRow(
        entry_id,
        opening.at_us,
        account_id,
        opening.key_id,
        model,
        opening.operation,
        opening.stream,
        entry.status,
        entry.code,
        target,
        finish_reason,
        changes,
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
    attempts: tuple[AttemptRow, ...] = ()
    is_told = len(tries) == 1 and tries[0].status == entry.status and tries[0].code == entry.code
    if not is_told:
        attempts = tuple([_make_attempt(entry_id, *numbered) for numbered in enumerate(tries, 1)])
    return Posting(row, attempts, tuple([_fit_charge(charge) for charge in entry.charges]))


def _make_attempt(entry_id: str, number: int, attempt: Attempt) -> AttemptRow:
    tokens, target, finish_reason = attempt.tokens, attempt.target, attempt.finish_reason
    texts = f"{target}{finish_reason}"
    if len(texts) > TEXT_LENGTH or "\0" in texts:
        target, finish_reason = _cut_text(target), _cut_text(finish_reason)
    return AttemptRow(
        entry_id,
        number,
        target,
        attempt.status,
        attempt.code,
        finish_reason,
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
    if not _is_vast(attempt):
        return attempt
    tokens, cost_micros = attempt.tokens, attempt.cost_micros
    return msgspec.structs.replace(
        attempt,
        tokens=Tokens(*(_fit_number(number) for number in msgspec.structs.astuple(tokens))),
        cost_micros=None if cost_micros is None else _fit_number(cost_micros),
    )


def _is_vast(attempt: Attempt) -> bool:
    """Whether a number of it is negative or larger than can be kept."""
    tokens = attempt.tokens
    every = tokens.input | tokens.output | tokens.cached | tokens.cache_write | tokens.reasoning
    every |= tokens.audio_input | tokens.audio_output | (attempt.cost_micros or 0)
    return bool(every >> _BITS)


def _fit_number(number: int) -> int:
    return max(0, min(number, MOST))


def _cut_text(text: str, length: int = TEXT_LENGTH) -> str:
    if len(text) > length:
        text = text[:length]
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text
