"""The limiter of a single process: everything is in its memory, and every answer is immediate."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from trunkline.limits.limit import (
    FREE,
    Permit,
    Reading,
    Refusal,
    Standing,
    Subject,
    explain_refusal,
)

_NEW: Final = Standing()


def read_clock() -> int:
    """Microseconds that never go back."""
    return time.monotonic_ns() // 1000


class MemoryLimiter:
    """Limits calls by what this process has admitted; forgets whoever has been idle.

    Whenever somebody new is remembered, the two that were remembered longest are looked at: so
    there are never many more than have used something of their limits within the last minute.

    Args:
        clock: microseconds that never go back.
    """

    fault: Final = None

    def __init__(self, clock: Callable[[], int] = read_clock) -> None:
        self._clock = clock
        self._keys: OrderedDict[str, Standing] = OrderedDict()
        self._accounts: OrderedDict[str, Standing] = OrderedDict()

    def __len__(self) -> int:
        """How many subjects are remembered."""
        return len(self._keys) + len(self._accounts)

    async def admit(self, subjects: Sequence[Subject], tokens: int) -> Permit | Refusal:
        """As ``Limiter.admit``; never raises."""
        return self.decide(subjects, tokens)

    def decide(self, subjects: Sequence[Subject], tokens: int) -> Permit | Refusal:
        """As ``Limiter.decide``; there is always an answer."""
        if not subjects:
            return FREE
        now_us = self._clock()
        keys, accounts = self._keys, self._accounts
        standings = []
        for subject in subjects:
            home = keys if subject.kind == "key" else accounts
            standing = home.get(subject.id, _NEW).admit(subject.limits, tokens, now_us)
            if standing is None:
                return self._refuse(subjects, tokens, now_us)
            standings.append(standing)
        # Only now that nobody refuses is anything taken.
        for subject, standing in zip(subjects, standings):  # noqa: B905 - as long, and asked often
            home = keys if subject.kind == "key" else accounts
            if subject.id not in home:
                _forget_idle(home, now_us)
            home[subject.id] = standing
        return Permit(Reading(subjects, tokens, standings, now_us), self._end)

    async def check(self) -> None:
        """Nothing can be wrong with them."""

    async def settle_all(self) -> None:
        """Nothing to wait for."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def _refuse(self, subjects: Sequence[Subject], tokens: int, now_us: int) -> Refusal:
        standings = [self._find_home(each).get(each.id, _NEW) for each in subjects]
        return explain_refusal(Reading(subjects, tokens, standings, now_us))

    def _end(self, reading: Reading, actual_tokens: int | None) -> None:
        now_us, taken = self._clock(), reading.tokens
        keys, accounts = self._keys, self._accounts
        for subject in reading.subjects:
            home = keys if subject.kind == "key" else accounts
            # Whoever has a call under way is not idle, and so is remembered.
            standing = home[subject.id]
            home[subject.id] = standing.end(subject.limits, taken, actual_tokens, now_us)

    def _find_home(self, subject: Subject) -> OrderedDict[str, Standing]:
        return self._keys if subject.kind == "key" else self._accounts


def _forget_idle(home: OrderedDict[str, Standing], now_us: int) -> None:
    for _ in range(min(2, len(home))):
        name, standing = home.popitem(last=False)
        if not standing.is_idle(now_us):
            home[name] = standing
