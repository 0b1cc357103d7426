"""Slots that are kept free for accounts which use less than their share. Pure.

A queue takes no slot back from whoever has them all. So some are kept free, which only accounts
below their share may take: trunk reservation, as telephone networks know it (Key, 1990).
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from trunkline.limits.turn import RANKS, Claimant

KEPT_PART: Final = 10
"""One of so many slots is kept free, and one at least where there are two."""
ACTIVE_S: Final = 15.0
"""An account is active for this long after its last call, and at most for twice as long.

People read an answer before they ask again. Longer would keep slots free for who has gone.
"""


class Holder:
    """What one account has of some slots.

    Attributes:
        claimant: whose it is.
        held: slots that it has.
        waiting: calls that wait for one.
    """

    __slots__ = ("claimant", "held", "waiting")

    def __init__(self, claimant: Claimant) -> None:
        self.claimant = claimant
        self.held = 0
        self.waiting = 0


HolderT = TypeVar("HolderT", bound=Holder)


class Headroom(Generic[HolderT]):
    """Which of some slots are kept free, and for whom.

    An account's share of the slots is its part of the shares of all accounts that are active, in
    its class and the higher ones. Below its share it may take any slot that is free; from there on
    only while more are free than are to be kept, unless it is the only account that is active.
    Whoever is held back therefore has its share already, and nobody starves.

    Args:
        slots: how many there are.
        make: makes the record of an account that was not active.

    Attributes:
        open: while fewer slots than these are taken, anybody may take one.
        holders: the accounts that have slots, wait, or were seen since ``age`` last looked.
        due_s: when ``age`` looks again.
    """

    def __init__(self, slots: int, make: Callable[[Claimant], HolderT]) -> None:
        self.open = slots - (-(-slots // KEPT_PART) if slots > 1 else 0)
        self.holders: dict[str, HolderT] = {}
        self.due_s = 0.0
        self._slots = slots
        self._make = make
        self._older: dict[str, HolderT] = {}
        self._shares = [0] * len(RANKS)

    def find(self, claimant: Claimant, now_s: float) -> HolderT:
        """The record of an account, which is active from now on."""
        self.age(now_s)
        account = claimant.account
        holder = self.holders.get(account)
        if holder is None:
            holder = self._older.pop(account, None)
            if holder is None:
                holder = self._make(claimant)
                self._count(claimant, 1)
            self.holders[account] = holder
        if holder.claimant != claimant:  # the operator has changed its terms
            self._count(holder.claimant, -1)
            self._count(claimant, 1)
            holder.claimant = claimant
        return holder

    def is_open_to(self, holder: Holder, taken: int) -> bool:
        """Whether an active account may take one more slot when so many are taken."""
        if taken < self.open:
            return True
        if taken >= self._slots:
            return False
        share = holder.claimant.share
        active = sum(self._shares[: RANKS[holder.claimant.priority] + 1])
        return share == active or holder.held * active < self._slots * share

    def age(self, now_s: float) -> None:
        """Forget who has not been active lately: seen neither in this period nor the last one."""
        if now_s < self.due_s:
            return
        self.due_s = now_s + ACTIVE_S
        for holder in self._older.values():
            self._count(holder.claimant, -1)
        self._older = {
            account: holder
            for account, holder in self.holders.items()
            if not holder.held and not holder.waiting
        }
        for account in self._older:
            del self.holders[account]

    def _count(self, claimant: Claimant, times: int) -> None:
        self._shares[RANKS[claimant.priority]] += times * claimant.share
