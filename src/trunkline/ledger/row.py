"""Entries as rows of the store: what a database cannot keep is made to fit. Pure.

A text from outside may be long or hold a NUL, and a provider may claim any number of tokens. One
such row would fail its whole batch for ever, so it is cut to what every database can keep and sum.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trunkline.ledger.entry import Attempt, Entry, Tokens, find_cost, sum_attempts
from trunkline.store.load import Load, Series
from trunkline.store.posting import DAY_US, AttemptRow, EntryRow, Posting
from trunkline.terms import Charge

TEXT_LENGTH: Final = 256
"""Characters of a name: an account, a model, a target. They stand in keys of an index, in which
PostgreSQL takes 2,704 bytes at most."""

CHANGES_LENGTH: Final = 4000
MOST: Final = 2**44 - 1
"""The largest number of tokens or micro-dollars: half a million of them can be summed in 64 bits,
and neither is negative."""


Values = tuple[Any, ...]


def make_load(entries: Sequence[Entry]) -> Load:
    """The rows of entries: in series where they tell everything, so had one attempt at most."""
    groups: dict[Values, Series] = {}
    single: list[Entry] = []
    numbers: list[int] = []
    since_us = entries[0].opening.at_us // DAY_US * DAY_US if entries else 0
    until_us = since_us + DAY_US
    for entry in entries:
        opening, only = entry.opening, _find_told(entry)
        if only is None or not since_us <= opening.at_us < until_us:
            single.append(entry)
            continue
        shared = _list_shared(entry, only)
        series = groups.get(shared)
        if series is None:
            series = groups[shared] = Series(_fit_shared(shared), [], [])
        tokens, cost_micros = msgspec.structs.astuple(only.tokens), only.cost_micros
        if cost_micros is None:
            cost_micros = find_cost(only)
        numbers += tokens
        numbers.append(cost_micros or 0)
        series.charges.append(entry.charges and _fit_charges(entry.charges))
        own = series.own
        own += (opening.id, opening.at_us)
        own += tokens
        own += (cost_micros, entry.queue_us, entry.first_token_us, entry.total_us)
    if numbers and (min(numbers) < 0 or sum(numbers) > MOST):
        # Whose it is hardly matters, as nobody can have reached it.
        return Load([make_posting(entry) for entry in entries])
    return Load([make_posting(entry) for entry in single], [*groups.values()])


def _list_shared(entry: Entry, only: Attempt) -> Values:
    opening = entry.opening
    return (
        opening.account_id,
        opening.key_id,
        opening.model,
        opening.operation,
        int(opening.stream),  # the driver of SQLite is slow with a bool
        entry.status,
        entry.code,
        only.target,
        only.finish_reason,
        entry.changes,
        len(entry.attempts),
        only.usage_source,
    )


def _find_told(entry: Entry) -> Attempt | None:
    """The only attempt, if its entry tells everything; one without use where there was none."""
    if not entry.attempts:
        return Attempt(entry.opening.target, entry.status, code=entry.code)
    only = entry.attempts[0]
    told = len(entry.attempts) == 1 and only.status == entry.status and only.code == entry.code
    return only if told else None


def make_posting(entry: Entry) -> Posting:
    """The rows of one entry; tokens, cost and source as ``sum_attempts`` says."""
    opening = entry.opening
    entry_id = opening.id
    tries = tuple([_fit_attempt(attempt) for attempt in entry.attempts])
    last = tries[-1] if tries else None
    tokens, cost_micros, source = sum_attempts(tries)
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
    attempts: tuple[AttemptRow, ...] = ()
    is_told = len(tries) == 1 and tries[0].status == entry.status and tries[0].code == entry.code
    if not is_told:
        attempts = tuple([_make_attempt(entry_id, *numbered) for numbered in enumerate(tries, 1)])
    return Posting(row, attempts, _fit_charges(entry.charges))


def _fit_shared(shared: Values) -> Values:
    """What a series shares, with texts that every database can keep."""
    account_id, key_id, model, operation, stream, status, code, *rest = shared
    target, finish_reason, changes, attempts, source = rest
    texts = f"{account_id}{model}{changes}{target}{finish_reason}"
    if len(texts) <= TEXT_LENGTH and "\0" not in texts:
        return shared
    return (
        _cut_text(account_id),
        key_id,
        _cut_text(model),
        operation,
        stream,
        status,
        code,
        _cut_text(target),
        _cut_text(finish_reason),
        _cut_text(changes, CHANGES_LENGTH),
        attempts,
        source,
    )


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


def _fit_charges(charges: tuple[Charge, ...]) -> tuple[Charge, ...]:
    for charge in charges:
        if charge.amount > MOST:
            return tuple([Charge(each.window, min(each.amount, MOST)) for each in charges])
    return charges


def _fit_attempt(attempt: Attempt) -> Attempt:
    """The attempt itself, but for one with numbers that nobody can have reached."""
    tokens, cost_micros = attempt.tokens, attempt.cost_micros
    numbers = (*msgspec.structs.astuple(tokens), cost_micros or 0)
    if min(numbers) >= 0 and max(numbers) <= MOST:
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
