"""When a slow call is sent to a second target as well, and how many calls are; pure."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from math import ceil
from typing import Final

from trunkline.observe.metrics import Family, Sample
from trunkline.routing.retry import RetryBudget

LATE: Final = 0.95
"""A first content that takes longer than this part of the newest ones is late."""
LEAST: Final = 20
"""Fewer answers than these say nothing about what is late."""
KEPT: Final = 200
"""So many newest answers are remembered of a target: it may be faster or slower tomorrow."""


class Times:
    """How long the first content of the newest answers took."""

    __slots__ = ("_newest", "_sorted")

    def __init__(self) -> None:
        self._newest: deque[float] = deque()
        self._sorted: list[float] = []

    def note(self, taken_s: float) -> None:
        """A first content came after ``taken_s`` seconds.

        Of one that was no longer waited for, the time until then is as good: it was late.
        """
        if len(self._newest) >= KEPT:
            del self._sorted[bisect_left(self._sorted, self._newest.popleft())]
        self._newest.append(taken_s)
        insort(self._sorted, taken_s)

    def find_late_s(self) -> float | None:
        """After how many seconds a first content is late; None while too little is known."""
        if len(self._sorted) < LEAST:
            return None
        return self._sorted[ceil(LATE * len(self._sorted)) - 1]


class Hedges:
    """What a worker knows of hedging: when answers are late, and how many calls were hedged.

    Only models that are hedged and have several targets are known here, so the configuration
    bounds how much there is to remember.

    Attributes:
        outcomes: of hedges: *won*, the second target was sooner; *lost*, it was not, or failed;
            *left*, the client went while both were asked; *denied*, the call was late, but the
            share, a budget or the second target had no room.
    """

    def __init__(self) -> None:
        self._times: dict[tuple[str, bool], Times] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self.outcomes = {"won": 0, "lost": 0, "left": 0, "denied": 0}

    def note_call(self, model: str) -> None:
        """A call began that may be hedged."""
        budget = self._budgets.get(model)
        if budget is None:
            # Nothing is given in advance: never more than the share of the calls so far.
            budget = self._budgets[model] = RetryBudget(burst=0, floor_per_s=0)
        budget.calls += 1

    def take(self, model: str, share: float, now_s: float) -> bool:
        """Whether one more call may be hedged; it is paid for then."""
        return self._budgets[model].take(share, now_s)

    def find_times(self, label: str, *, stream: bool) -> Times:
        """A target's times: of streams, or of answers whose first content is all of them."""
        times = self._times.get((label, stream))
        if times is None:
            times = self._times[label, stream] = Times()
        return times

    def list_families(self) -> Iterable[Family]:
        """The metrics of hedging, once a model is hedged."""
        if not self._budgets:
            return
        yield Family(
            "trunkline_hedges",
            "Calls that were late at their first target, by what came of a second one: won, lost, "
            "left (the client went first), or denied (it was not asked).",
            "counter",
            tuple(Sample(count, {"outcome": name}) for name, count in self.outcomes.items()),
        )
