"""The purse of a worker: admits calls from what the worker has taken of budgets.

While enough is here, no call waits and no database is asked. When it is not, the calls that need
more wait together for one question, which a task asks; ``store.lease`` answers it, and ``stock``
says why the sum is never exceeded. Far from a budget's end a worker has some in advance, near it
exactly what its calls need. What it does not use goes back: in a second or two when it is idle or
has more than it needs, and at once when one of its own calls had to be refused.

While the database is away, calls are admitted from what is here, and the others are refused: with
``insufficient_quota`` if they did not fit by the last thing that was known, else ``overloaded``.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.limits.budget import Claim, Shortage, find_end, find_window
from trunkline.limits.stock import Hold, Reason, Stock
from trunkline.limits.teller import Patience, Teller
from trunkline.limits.wait import is_done_soon
from trunkline.store.lease import Leases, Want

__all__ = ["Claim", "Hold", "Patience", "Purse", "Shortage"]

_SECOND_US: Final = 1_000_000
_UNKNOWN: Final = "The gateway cannot tell at the moment what is left of the budgets; try again."


class _Waiter(msgspec.Struct, eq=False):
    """A call that waits for more, and of what."""

    claims: Sequence[Claim]
    stocks: Sequence[Stock]
    future: "asyncio.Future[Hold | Shortage]"


class Purse:
    """Admits calls within their budgets; one a worker, used on its event loop only.

    A call is charged to the windows in which it was admitted, even if it ends after them.

    Args:
        leases: the store's.
        journal_id: the worker's journal, with which its leases live and die.
        patience: how long things take.
        clock: seconds since 1970, UTC.
    """

    def __init__(
        self,
        leases: Leases,
        journal_id: str,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._patience = patience or Patience()
        self._teller = Teller(leases, journal_id, self._patience.answer_s, self._refuse_waiters)
        self._clock = clock
        self._current: dict[tuple[str, str, str, str], Stock] = {}
        self._stocks: set[Stock] = set()
        self._due: dict[Stock, Reason] = {}
        self._waiters: list[_Waiter] = []
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def fault(self) -> str | None:
        """Why budgets do not work as they should, in a clause for people; None if they do.

        Known once somebody has asked for more than was here.
        """
        return self._teller.fault

    @property
    def outages(self) -> int:
        """How often the database has gone away so far."""
        return self._teller.outages

    def hold(self, claims: Sequence[Claim]) -> Hold | None:
        """Take what a call may use of all its budgets, if that much is here; None if it is not.

        Args:
            claims: each of another budget.
        """
        now_s, current = self._clock(), self._current
        parts = []
        for claim in claims:
            budget, amount = claim.budget, claim.amount
            stock = current.get((claim.kind, claim.subject_id, budget.unit, budget.period))
            if stock is None or stock.free < amount or now_s >= stock.ends_at_s:
                return None
            parts.append((stock, amount))
        return self._hold(parts)

    async def take(self, claims: Sequence[Claim]) -> Hold | Shortage:
        """As ``hold``, after taking more where too little is here.

        Raises:
            GatewayError: ``overloaded``, when the database does not say what is left.
        """
        hold = self.hold(claims)
        if hold is not None:
            return hold
        if self._is_closed:
            raise _make_error()
        stocks = [self._find_stock(claim) for claim in claims]
        waiter = _Waiter(claims, stocks, asyncio.get_running_loop().create_future())
        if self.fault is not None:
            return self._refuse(waiter)
        short = self._find_shortage(waiter)
        if short is not None:
            self._give_up(waiter)
            return short
        for stock, claim in zip(stocks, claims, strict=True):
            stock.usual = claim.amount
        self._waiters.append(waiter)
        self._start()
        return await self._wait_for(waiter)

    async def close(self) -> None:
        """Give back all that no call holds, if the database takes it soon; admit none any more."""
        if self._is_closed:
            return
        self._is_closed = True
        self._current.clear()
        self._refuse_waiters()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait((self._worker,))
            await self._teller.close([stock.make_want("leave") for stock in self._stocks])

    def _hold(self, parts: Sequence[tuple[Stock, int]]) -> Hold:
        for stock, amount in parts:
            stock.free -= amount
            if stock.free < stock.low:
                stock.low = 0
                self._send(stock, "more")
        return Hold(parts)

    def _find_stock(self, claim: Claim) -> Stock:
        """The stock of the claim's budget now; a new one in a new window."""
        key = (claim.kind, claim.subject_id, claim.budget.unit, claim.budget.period)
        now_s = self._clock()
        stock = self._current.get(key)
        if stock is None or now_s >= stock.ends_at_s:
            window = find_window(
                claim.kind, claim.subject_id, claim.budget, int(now_s * _SECOND_US)
            )
            end_us = find_end(window.period, window.starts_at_us)
            ends_at_s = inf if end_us is None else end_us / _SECOND_US
            stock = self._current[key] = Stock(window, ends_at_s, claim.budget.amount)
            self._stocks.add(stock)
        stock.touched = True
        return stock

    async def _wait_for(self, waiter: _Waiter) -> Hold | Shortage:
        future = waiter.future
        try:
            await is_done_soon(future, self._patience.answer_s)
        except asyncio.CancelledError:
            if not future.cancel() and future.exception() is None:
                result = future.result()
                if isinstance(result, Hold):
                    result.release()
            raise
        if future.cancel():
            raise _make_error()
        return future.result()

    def _send(self, stock: Stock, reason: Reason) -> None:
        """Ask about a stock soon."""
        self._due[stock] = reason
        self._start()

    def _start(self) -> None:
        if self._worker is None and not self._is_closed:
            self._worker = asyncio.create_task(self._work())
        self._wake.set()

    async def _work(self) -> None:
        clock = asyncio.get_running_loop().time
        look_at_s = clock() + self._patience.idle_s
        while True:
            if self.fault is not None:
                await asyncio.sleep(self._patience.retry_s)
            elif not (self._waiters or self._due):
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(look_at_s if self._stocks else None):
                        await self._wake.wait()
            self._wake.clear()
            if clock() >= look_at_s:
                self._look_round()
                look_at_s = clock() + self._patience.idle_s
            if self._waiters or self._due or self.fault is not None:
                await self._ask()

    def _look_round(self) -> None:
        """See what is of no use here; what stays unused is asked about more and more seldom."""
        for stock in self._stocks:
            if stock.touched:
                stock.touched, stock.quiet = False, 0
                if stock.free > 2 * stock.ahead:
                    self._due.setdefault(stock, "less")
            else:
                stock.quiet += 1
                if stock.quiet & (stock.quiet - 1) == 0:  # a power of 2
                    self._due[stock] = "leave"

    async def _ask(self) -> None:
        """Ask about all that is due, once, and serve those who wait."""
        reasons = self._list_reasons()
        wants = self._list_wants(reasons)
        answers = await self._teller.ask(wants)
        if answers is None:
            for stock in reasons:
                stock.touched, stock.low = True, stock.ahead // 2
            return
        now_s = asyncio.get_running_loop().time()
        for (stock, reason), answer in zip(reasons.items(), answers, strict=True):
            stock.note_answer(answer, now_s)
            if answer.gone and reason == "leave" and not stock.touched:
                self._forget(stock)
        waiters, self._waiters = self._waiters, []
        self._waiters += [waiter for waiter in waiters if not self._serve(waiter)]

    def _list_reasons(self) -> dict[Stock, Reason]:
        """The stocks to ask about, and why; they are due no longer."""
        reasons: dict[Stock, Reason] = {}
        for stock, reason in [*self._due.items()]:
            # While the database is away nothing goes back that calls could still be given.
            if self.fault is None or reason == "more":
                del self._due[stock]
                reasons[stock] = "less" if reason == "leave" and stock.touched else reason
        for waiter in self._waiters:
            reasons |= dict.fromkeys(waiter.stocks, "need")
        return reasons

    def _list_wants(self, reasons: Mapping[Stock, Reason]) -> list[Want]:
        needs: dict[Stock, list[int]] = {}
        for waiter in self._waiters:
            for stock, claim in zip(waiter.stocks, waiter.claims, strict=True):
                needs.setdefault(stock, []).append(claim.amount)
        return [
            stock.make_want(reason, needs.get(stock, (0,))) for stock, reason in reasons.items()
        ]

    def _serve(self, waiter: _Waiter) -> bool:
        """Tell a call that waits what became of it; False when it must wait on."""
        if waiter.future.done():
            return True
        pairs = zip(waiter.stocks, waiter.claims, strict=True)
        parts = [(stock, claim.amount) for stock, claim in pairs]
        if all(stock.free >= amount for stock, amount in parts):
            waiter.future.set_result(self._hold(parts))
            return True
        short = self._find_shortage(waiter)
        if short is None:
            return False
        waiter.future.set_result(short)
        self._give_up(waiter)
        return True

    def _give_up(self, waiter: _Waiter) -> None:
        """Let others have what is too little for this call."""
        for stock in waiter.stocks:
            if stock.free > stock.ahead:
                self._send(stock, "less")

    def _forget(self, stock: Stock) -> None:
        self._stocks.discard(stock)
        window = stock.window
        key = (window.kind, window.subject_id, window.unit, window.period)
        if self._current.get(key) is stock:
            del self._current[key]

    def _find_shortage(self, waiter: _Waiter) -> Shortage | None:
        """Why the call does not fit, by what was learnt a moment ago; None if it may."""
        since_s = asyncio.get_running_loop().time() - self._patience.known_s
        lefts = [stock.left if stock.asked_at_s >= since_s else None for stock in waiter.stocks]
        return _make_shortage(waiter, lefts)

    def _refuse(self, waiter: _Waiter) -> Shortage:
        """What becomes of a call that needs more than is here, while nobody says what is left.

        Raises:
            GatewayError: ``overloaded``, if it may fit.
        """
        lefts = []
        for stock, claim in zip(waiter.stocks, waiter.claims, strict=True):
            certain = stock.asked_at_s > -inf and claim.amount > stock.amount - stock.spent
            lefts.append(stock.free if certain else None)
        short = _make_shortage(waiter, lefts)
        if short is None:
            raise _make_error()
        return short

    def _refuse_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.future.done():
                continue
            try:
                waiter.future.set_result(self._refuse(waiter))
            except GatewayError as error:
                waiter.future.set_exception(error)


def _make_shortage(waiter: _Waiter, lefts: Sequence[int | None]) -> Shortage | None:
    """The shortage, if what is left of a budget is less than the claim; None is for not known."""
    known = [
        claim.amount if left is None else left
        for claim, left in zip(waiter.claims, lefts, strict=True)
    ]
    for stock, claim, left in zip(waiter.stocks, waiter.claims, known, strict=True):
        if claim.amount > left:
            return Shortage(
                waiter.claims,
                tuple(max(0, each) for each in known),
                stock.amount,
                max(0, stock.amount - stock.spent - max(0, left)),
                find_end(stock.window.period, stock.window.starts_at_us),
            )
    return None


def _make_error() -> GatewayError:
    return GatewayError("overloaded", _UNKNOWN, retry_after_s=1)
