"""A worker's stock of a budget's window, and what a call holds of its stocks. Pure.

A stock counts, since it was made, what the worker has *taken* of the window, less what it gave
back, and what of that is *free*; the rest is *used*: held by calls, or charged. Shipping a charge
to the database changes none of these: there it moves from the worker's lease to what is spent of
the window, here it stays used. So of the lease in the database

    granted = taken - shipped = free + held + charged and not yet shipped

and as long as what is free is not less than nothing, giving that back never takes from what a call
holds or a charge on its way needs. ``taken`` here is never more than in the database: what is
given back is subtracted before the database is asked, what is granted is added afterwards.
"""

from collections.abc import Sequence
from math import inf
from typing import Literal

import msgspec

from trunkline.store.lease import Answer, Want
from trunkline.terms import Charge, Window

Reason = Literal["need", "more", "less", "leave"]
"""Why to ask about a stock: calls wait; it is low; it is too much; it is of no use here."""


class Stock(msgspec.Struct, eq=False):
    """What a worker has of a window, in the window's unit.

    ``free`` is less than 0 if calls cost more than was held for them. Calls must not begin in the
    window from ``ends_at_s``, seconds since 1970. ``amount`` is the budget's; it, ``spent`` and
    ``rest`` (what nobody has spent or taken) are as they were at ``asked_at_s``, on the event
    loop's clock. ``usual`` is what a call needs as a rule, ``ahead`` what the worker may have in
    advance, and with less than ``low`` it wants more. ``touched``: something became free or was
    asked for since somebody looked last; ``quiet``: how often somebody has looked since then.
    """

    window: Window
    ends_at_s: float
    amount: int
    taken: int = 0
    free: int = 0
    spent: int = 0
    rest: int = 0
    asked_at_s: float = -inf
    usual: int = 0
    ahead: int = 0
    low: int = 0
    touched: bool = True
    quiet: int = 0

    @property
    def left(self) -> int:
        """What could be had as far as is known: what is free here, and what nobody has taken."""
        return self.free + max(0, self.rest)

    def make_want(self, reason: Reason, needs: Sequence[int] = (0,)) -> Want:
        """What to ask the store; what shall go back is not free any more from now on.

        Args:
            reason: why.
            needs: what each of the calls needs that wait.
        """
        free, used = max(0, self.free), self.taken - self.free
        kept = 0 if reason == "leave" else min(free, self.ahead) if reason == "less" else free
        if kept < self.free:
            self.take(used + kept)
        return Want(
            window=self.window,
            used=used,
            kept=kept,
            amount=self.amount,
            need=sum(needs),
            least=min(needs),
            usual=0 if reason == "leave" else self.usual,
        )

    def note_answer(self, answer: Answer, now_s: float) -> None:
        """Have what the store has granted, and know what it says."""
        self.take(answer.taken)
        self.rest, self.spent, self.amount = answer.rest, answer.spent, answer.amount
        self.ahead, self.low = answer.ahead, answer.ahead // 2
        self.asked_at_s = now_s

    def take(self, taken: int) -> None:
        """Have taken this much, and so much more or less is free."""
        self.free += taken - self.taken
        self.taken = taken


class Hold:
    """What a call holds of its budgets; it must be ended, once: by ``settle_each`` or ``release``.

    Both return at once and never fail, so that a ``finally`` can do it; a second end does nothing.

    Args:
        parts: the stocks from which it was taken, in the order of the call's claims, and how much.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[tuple[Stock, int]]) -> None:
        self._parts = parts

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What is held, as it is charged if the call is lost; empty once it has ended."""
        return tuple([Charge(stock.window, held) for stock, held in self._parts])

    def settle_each(self, cost_micros: int, tokens: int) -> tuple[Charge, ...]:
        """The call has ended and used this much, which each budget counts in its own unit.

        The difference is free again at once. Returns what to charge the call, without what is 0.
        """
        parts, self._parts = self._parts, ()
        charges = []
        for stock, held in parts:
            window = stock.window
            amount = cost_micros if window.unit == "usd" else tokens
            stock.free += held - amount
            stock.touched = True
            if amount:
                charges.append(Charge(window, amount))
        return tuple(charges)

    def double(self) -> bool:
        """Hold as much again, for a second attempt at the same time, if that much is here.

        Nothing is asked for: a call that can do without the attempt does not wait for it.
        """
        if any(stock.free < held for stock, held in self._parts):
            return False
        for stock, held in self._parts:
            stock.free -= held
        self._parts = [(stock, 2 * held) for stock, held in self._parts]
        return True

    def release(self) -> None:
        """The call has ended and used nothing."""
        self.settle_each(0, 0)
