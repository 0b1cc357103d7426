"""The desk of a call: may it be made, what is reserved for it, and what it used in the end."""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from trunkline.access.grant import Seat
from trunkline.call import Call
from trunkline.errors import GatewayError
from trunkline.ledger.entry import Attempt, Entry, Opening, Status, sum_attempts
from trunkline.ledger.journal import Journal, JournalFullError
from trunkline.ledger.meter import BYTES_PER_TOKEN, measure
from trunkline.ledger.price import Tariff
from trunkline.ledger.price_list import PriceList
from trunkline.limits.limit import (
    Permit,
    Refusal,
    Subject,
    write_headers,
)
from trunkline.limits.limiter import Limiter
from trunkline.limits.purse import Claim, Hold, Purse, Shortage
from trunkline.observe.metrics import Tally
from trunkline.routing.ask import Request
from trunkline.routing.bound import (
    OUTPUT_TOKENS,
    Bound,
    count_images,
    find_bound,
    hold_output,
)
from trunkline.routing.table import Route, Target
from trunkline.terms import NO_LIMITS, BudgetUnit, Charge

_FULL: Final = "The gateway cannot write down what this call would use; try again."


class Stay(msgspec.Struct):
    """A call from its admission to its end: what it may use, and what its attempts did use.

    ``opening`` is what was written down first, with what is held; ``bare`` the same without, for
    the end. ``words`` say what was changed of the request.
    """

    opening: Opening
    bare: Opening
    seat: Seat
    request: Request
    permit: Permit | None = None
    hold: Hold | None = None
    words: tuple[str, ...] = ()
    opened: bool = False
    settled: bool = False
    attempts: list[Attempt] = []
    body_bytes: int = 0
    status: Status = "complete"
    code: str = ""

    def note_end(self, status: Status, code: str) -> None:
        """Say how the call ended, if not with a whole answer."""
        self.status, self.code = status, code


class Desk:
    """Admits calls and settles them; one a worker.

    Args:
        limiter: rates and calls at once.
        purse: budgets.
        prices: what models cost.
        journal: where every call is written down before it costs anything, and when it ends.
    """

    def __init__(
        self,
        limiter: Limiter,
        purse: Purse,
        prices: PriceList,
        journal: Journal,
    ) -> None:
        self._limiter = limiter
        self._purse = purse
        self._prices = prices
        self._journal = journal
        self.tally = Tally()

    def register(
        self, call: Call, seat: Seat, operation: str, request: Request, body_bytes: int
    ) -> Stay:
        """Know of a call from here on: it is written down, however it ends."""
        opening = Opening(
            call.id,
            call.at_us,
            seat.account_id,
            seat.key_id,
            request.model,
            operation,
            request.stream,
        )
        return Stay(opening, opening, seat, request, attempts=[], body_bytes=body_bytes)

    async def admit(self, stay: Stay, call: Call, route: Route, *, strict: bool) -> None:
        """Take what the call needs of limits and budgets, and write it down before it is sent.

        ``strict``: what does not fit is refused, though the account would have it clamped.

        Raises:
            GatewayError: ``rate_limit_exceeded``, ``insufficient_quota``, ``overloaded``, and
                ``permission_denied`` for a model without a price where those are refused.
        """
        seat, at_us = stay.seat, stay.opening.at_us
        require = self._prices.require
        tariffs = [require(target.provider, target.model, at_us) for target in route.targets]
        if seat.key_terms.limits is not NO_LIMITS or seat.account_terms.limits is not NO_LIMITS:
            await self._take_limits(stay, call)
        if seat.key_terms.budgets or seat.account_terms.budgets:
            await self._take_budgets(stay, route, tariffs, strict=strict)
        opening = stay.opening
        target = route.targets[0].label
        holds = () if stay.hold is None else stay.hold.charges
        stay.opening = Opening(
            opening.id,
            opening.at_us,
            opening.account_id,
            opening.key_id,
            opening.model,
            opening.operation,
            opening.stream,
            target,
            holds,
        )
        try:
            self._journal.open(stay.opening)
        except JournalFullError:
            raise GatewayError("overloaded", _FULL, retry_after_s=5) from None
        stay.opened = True

    def begin_attempt(self, call: Call) -> None:
        """Another target is tried; the first one was written down with the call."""
        if call.attempts > 1:
            self._journal.attempt(call.id, call.attempts, call.target)

    def end_attempt(
        self, stay: Stay, call: Call, target: Target, status: Status, code: str = ""
    ) -> None:
        """An attempt is over: what it used is read off its replies."""
        tokens, source = measure(
            call.readings,
            stay.body_bytes,
            complete=status == "complete",
            sent=call.sent if call.readings or status == "left" else 0,
        )
        cost = 0 if source == "none" or call.caller_paid else None
        tariff = self._prices.find(target.provider, target.model, stay.opening.at_us)
        if tariff is not None and cost is None:
            images = count_images(stay.request) if tariff.image else 0
            cost = tariff.find_cost(tokens, images)
        began_ns = call.begun_ns
        stay.attempts.append(
            Attempt(
                call.target,
                status,
                source,
                tokens,
                cost,
                code,
                next((each.finish_reason or "" for each in call.readings), ""),
                (call.first_ns - began_ns) // 1000 if call.first_ns else None,
                (time.perf_counter_ns() - began_ns) // 1000,
            )
        )

    def settle(self, stay: Stay, call: Call) -> None:
        """Write down how the call ended, once, and give back what it did not use; never fails."""
        if stay.settled:
            return
        stay.settled = True
        if stay.code == "model_not_found":  # whatever was pasted there is nobody's model
            stay.bare = msgspec.structs.replace(stay.bare, model="")
        tokens, cost, source = sum_attempts(stay.attempts)
        used = tokens.input + tokens.output
        if stay.permit is not None:
            if source == "none" and stay.attempts:
                stay.permit.release()
            else:
                stay.permit.settle(used)
        charges: tuple[Charge, ...] = ()
        if stay.hold is not None:
            charges = stay.hold.settle_each(cost or 0, used)
        entry = Entry(
            stay.bare,
            stay.status,
            tuple(stay.attempts),
            charges,
            stay.code,
            ",".join(call.changes),
            (call.sent_ns - call.started_ns) // 1000 if call.sent_ns else 0,
            (call.first_ns - call.started_ns) // 1000 if call.first_ns else None,
            (time.perf_counter_ns() - call.started_ns) // 1000,
        )
        if stay.opened:
            self._journal.settle(entry)
        else:
            self._journal.note(entry)
        self.tally.count(stay.status, stay.code, tokens.input, tokens.output, cost or 0)

    async def _take_limits(self, stay: Stay, call: Call) -> None:
        seat, request = stay.seat, stay.request
        of_key, of_account = seat.key_terms.limits, seat.account_terms.limits
        subjects = []
        if of_key is not NO_LIMITS:
            subjects.append(Subject("key", seat.key_subject, of_key))
        if of_account is not NO_LIMITS:
            subjects.append(Subject("account", seat.account_id, of_account))
        tokens = stay.body_bytes // BYTES_PER_TOKEN + (request.max_tokens or 0)
        answer = await self._limiter.admit(subjects, tokens)
        call.left = write_headers(answer.reading)
        if isinstance(answer, Refusal):
            raise answer.make_error()
        stay.permit = answer

    async def _take_budgets(
        self, stay: Stay, route: Route, tariffs: Sequence[Tariff | None], *, strict: bool
    ) -> None:
        """Reserve the worst case; or as much output as fits, where the account wants that."""
        bound = find_bound(stay.request, stay.body_bytes, route)
        output = OUTPUT_TOKENS if bound.output is None else bound.output
        word = f"defaulted:max_tokens={output}" if bound.output is None else ""
        clamps = stay.seat.account_terms.over_budget == "clamp" and not strict
        answer = await self._purse.take(_list_claims(stay.seat, bound, output, tariffs))
        while isinstance(answer, Shortage):
            fitting = _fit_output(bound, output, tariffs, answer) if clamps else 0
            if not fitting:
                raise answer.make_error()
            output, word = fitting, f"clamped:max_tokens={fitting}"
            answer = await self._purse.take(_list_claims(stay.seat, bound, output, tariffs))
        stay.hold = answer
        if word:
            stay.request = hold_output(stay.request, output)
            stay.words = (word,)


def _list_claims(
    seat: Seat, bound: Bound, output: int, tariffs: Sequence[Tariff | None]
) -> list[Claim]:
    """What the call may use of each budget, at whichever of its targets."""
    claims = []
    for budget in seat.key_terms.budgets:
        worst = _find_worst(budget.unit, bound, output, tariffs)
        claims.append(Claim("key", seat.key_subject, budget, worst))
    for budget in seat.account_terms.budgets:
        worst = _find_worst(budget.unit, bound, output, tariffs)
        claims.append(Claim("account", seat.account_id, budget, worst))
    return claims


def _find_worst(
    unit: BudgetUnit, bound: Bound, output: int, tariffs: Sequence[Tariff | None]
) -> int:
    # Alternatives that are asked for one by one each have the input.
    inputs, outputs = bound.input * bound.copies, output * bound.copies
    if unit == "tokens":
        return inputs + outputs
    worst = 0
    for tariff in tariffs:
        if tariff is not None:
            cost = tariff.find_worst(inputs, outputs, bound.images * bound.copies)
            worst = max(worst, cost)
    return worst


def _fit_output(
    bound: Bound, output: int, tariffs: Sequence[Tariff | None], short: Shortage
) -> int:
    """The most output tokens, fewer than ``output``, that a budget has room for; 0 for none."""
    unit = short.claim.budget.unit
    least, most = 0, output - 1
    while least < most:
        middle = (least + most + 1) // 2
        if _find_worst(unit, bound, middle, tariffs) <= short.left:
            least = middle
        else:
            most = middle - 1
    return least
