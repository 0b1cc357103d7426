"""Whose turn it is: a bounded queue that is fair by account and knows priorities. Pure.

The discipline is start-time fair queueing (Goyal, Vin and Cheng, 1996), with one call as the
cost: each account has a virtual time at which its next call starts, a call that is served moves
it on by one over the account's share, and the smallest goes first. Whoever asked little is
therefore served before whoever asked much, and no account gains by asking more.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

import msgspec

from trunkline.terms import Priority

RANKS: Final[dict[Priority, int]] = {"high": 0, "normal": 1, "low": 2}
"""Smaller goes first."""
_KEPT: Final = 64
"""Accounts that wait no more and whose virtual time is remembered, before we look which to keep."""


class Claimant(msgspec.Struct, frozen=True):
    """Who wants a turn: an account, its share and its class."""

    account: str
    share: int = 1
    priority: Priority = "normal"


class Turn(msgspec.Struct, frozen=True, eq=False):
    """A place in the queue.

    Args:
        number: later places have higher ones.
        account: whose it is.
        since_s: when it was taken.
    """

    number: int
    account: str
    since_s: float


class _Lane:
    """The calls of one account that wait, in order, and when the next would start."""

    __slots__ = ("rank", "share", "start", "turns")

    def __init__(self, claimant: Claimant, start: float) -> None:
        self.share = claimant.share
        self.rank = RANKS[claimant.priority]
        self.start = start
        self.turns: OrderedDict[int, Turn] = OrderedDict()

    @property
    def first(self) -> Turn:
        """The call that has waited longest."""
        return next(iter(self.turns.values()))

    @property
    def weight(self) -> float:
        """How much of the queue it takes, for its share."""
        return len(self.turns) / self.share


class Queue:
    """The calls that wait for one thing.

    Args:
        size: how many can wait.
        age_s: a call that has waited this long counts as one class higher, and again after the
            same time, so that no class starves.
    """

    def __init__(self, size: int, age_s: float) -> None:
        self._size = size
        self._age_s = age_s
        self._lanes: dict[str, _Lane] = {}
        self._ends: dict[str, float] = {}
        self._now = 0.0
        self._numbers = count(1)
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def __iter__(self) -> Iterator[Turn]:
        return (turn for lane in self._lanes.values() for turn in lane.turns.values())

    @property
    def is_full(self) -> bool:
        """Nobody can wait who displaces nobody."""
        return self._waiting >= self._size

    def add(self, claimant: Claimant, now_s: float) -> Turn:
        """Take the last place of the claimant's account."""
        account = claimant.account
        lane = self._lanes.get(account)
        if lane is None:
            start = max(self._now, self._ends.pop(account, 0.0))
            lane = self._lanes[account] = _Lane(claimant, start)
        else:  # the operator may have changed its terms
            lane.share, lane.rank = claimant.share, RANKS[claimant.priority]
        turn = Turn(next(self._numbers), account, now_s)
        lane.turns[turn.number] = turn
        self._waiting += 1
        return turn

    def remove(self, turn: Turn) -> bool:
        """Give a place up that has not had its turn; its account is charged nothing.

        Returns:
            Whether it was still waiting.
        """
        lane = self._lanes.get(turn.account)
        if lane is None or lane.turns.pop(turn.number, None) is None:
            return False
        self._shrink(turn.account, lane)
        return True

    def take(self, now_s: float, may_go: Callable[[str], bool] | None = None) -> Turn | None:
        """Take who is next out of the queue; None where nobody waits.

        Args:
            now_s: the time.
            may_go: which accounts are looked at, where not all are.
        """
        places = [
            (self._place(lane, now_s), lane)
            for account, lane in self._lanes.items()
            if may_go is None or may_go(account)
        ]
        if not places:
            return None
        (_, start, _), lane = min(places)
        self._now = start
        lane.start = start + 1 / lane.share
        _, turn = lane.turns.popitem(last=False)
        self._shrink(turn.account, lane)
        return turn

    def find_displaced(self, claimant: Claimant) -> Turn | None:
        """Who has to leave a full queue for the claimant; None where nobody has to.

        It is the newest call of the lowest class, there of the account that takes most of the
        queue for its share; in the claimant's own class only if it would still take more.
        """
        lane = max(self._lanes.values(), key=lambda each: (each.rank, each.weight), default=None)
        if lane is None:
            return None
        rank = RANKS[claimant.priority]
        own = self._lanes.get(claimant.account)
        wanted = (1 + (len(own.turns) if own is not None else 0)) / claimant.share
        if lane.rank > rank or (lane.rank == rank and lane.weight > wanted):
            return next(reversed(lane.turns.values()))
        return None

    def _place(self, lane: _Lane, now_s: float) -> tuple[int, float, int]:
        """Whose turn comes first has the smallest: class, virtual time, order of arrival.

        A lane that was passed over does not save up turns: it starts now at the earliest.
        """
        first = lane.first
        rank = lane.rank - int((now_s - first.since_s) / self._age_s) if lane.rank else 0
        return max(rank, 0), max(lane.start, self._now), first.number

    def _shrink(self, account: str, lane: _Lane) -> None:
        """One call of the lane has gone."""
        self._waiting -= 1
        if lane.turns:
            return
        del self._lanes[account]
        if not self._lanes:
            # A queue that ran empty owes nobody anything.
            self._ends.clear()
            self._now = 0.0
            return
        self._ends[account] = lane.start
        if len(self._ends) > _KEPT + len(self._lanes):
            self._ends = {name: end for name, end in self._ends.items() if end > self._now}
