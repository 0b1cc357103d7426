"""The desk of a call: may it be made, what is reserved for it, and what it used in the end."""

import time
from collections.abc import Awaitable, Sequence
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
from trunkline.terms import NO_LIMITS, Budget, BudgetUnit, Charge, Kind

SEATS: Final = 4096
"""Seats whose needs are remembered."""
_FULL: Final = "The gateway cannot write down what this call would use; try again."


class Needs(msgspec.Struct, frozen=True):
    """What has to be asked for the calls of one seat: the limits and the budgets that it has."""

    seat: Seat
    subjects: tuple[Subject, ...]
    budgets: tuple[tuple[Kind, str, Budget], ...]


class Stay(msgspec.Struct, gc=False):
    """A call from its admission to its end: what it may use, and what its attempts did use.

    ``opening`` is what was written down first, without what is held; None before that. ``words``
    say what was changed of the request. The collector is spared: none of it leads back here.
    """

    seat: Seat
    request: Request
    operation: str
    body_bytes: int
    opening: Opening | None = None
    permit: Permit | None = None
    hold: Hold | None = None
    words: tuple[str, ...] = ()
    settled: bool = False
    attempts: tuple[Attempt, ...] = ()
    status: Status = "complete"
    code: str = ""

    def note_end(self, status: Status, code: str) -> None:
        """Say how the call ended, if not with a whole answer."""
        self.status, self.code = status, code


class Desk:
    """Admits calls and settles them; one a worker.

    What a call needs is mostly at hand, and then nothing here waits: between two calls the caches
    forget these lines, so it counts how few functions and objects each call touches
    (docs/performance.md, Remarks).

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
        self._needs: dict[tuple[str, str], Needs] = {}
        self.tally = Tally()

    def admit(
        self, stay: Stay, call: Call, route: Route, *, strict: bool
    ) -> Awaitable[None] | None:
        """Take what the call needs of limits and budgets, and write it down before it is sent.

        ``strict``: what does not fit is refused, though the account would have it clamped.

        Returns:
            None if all of it was at hand; else what must be awaited.

        Raises:
            GatewayError: at once or when awaited: ``rate_limit_exceeded``,
                ``insufficient_quota``, ``overloaded``, and ``permission_denied`` for a model
                without a price where those are refused.
        """
        seat = stay.seat
        if seat.is_free and not self._prices.is_strict:
            self._open(stay, call, route)
            return None
        require, at_us = self._prices.require, call.at_us
        tariffs = [require(target.provider, target.model, at_us) for target in route.targets]
        needs = self._find_needs(seat)
        if needs.subjects:
            answer = self._limiter.decide(needs.subjects, _count_asked(stay))
            if answer is None:
                return self._admit_later(stay, call, route, tariffs, strict=strict)
            self._take_permit(stay, call, answer)
        if needs.budgets and not self._hold(stay, route, needs, tariffs):
            return self._admit_later(stay, call, route, tariffs, strict=strict)
        self._open(stay, call, route)
        return None

    async def _admit_later(
        self,
        stay: Stay,
        call: Call,
        route: Route,
        tariffs: Sequence[Tariff | None],
        *,
        strict: bool,
    ) -> None:
        """The rest of an admission for which something has to be asked elsewhere."""
        needs = self._find_needs(stay.seat)
        if needs.subjects and stay.permit is None:
            answer = await self._limiter.admit(needs.subjects, _count_asked(stay))
            self._take_permit(stay, call, answer)
        if needs.budgets:
            await self._take_budgets(stay, route, needs, tariffs, strict=strict)
        self._open(stay, call, route)

    def _find_needs(self, seat: Seat) -> Needs:
        """What has to be asked for a seat; remembered, as most calls come from few."""
        name = (seat.key_subject, seat.account_id)
        needs = self._needs.get(name)
        if needs is None or needs.seat is not seat:
            if len(self._needs) >= SEATS:
                self._needs.clear()
            needs = self._needs[name] = _list_needs(seat)
        return needs

    def _take_permit(self, stay: Stay, call: Call, answer: Permit | Refusal) -> None:
        call.left = write_headers(answer.reading)
        if isinstance(answer, Refusal):
            raise answer.make_error()
        stay.permit = answer

    def _open(self, stay: Stay, call: Call, route: Route) -> None:
        """Write the call down; from here on it costs something."""
        seat, request = stay.seat, stay.request
        bare = Opening(
            call.id,
            call.at_us,
            seat.account_id,
            seat.key_id,
            request.model,
            stay.operation,
            request.stream,
            route.targets[0].label,
        )
        opening = bare
        if stay.hold is not None:
            opening = msgspec.structs.replace(bare, holds=stay.hold.charges)
        try:
            self._journal.open(opening)
        except JournalFullError:
            raise GatewayError("overloaded", _FULL, retry_after_s=5) from None
        stay.opening = bare

    def begin_attempt(self, call: Call) -> None:
        """Write down what is tried; not for the target that was written down with the call."""
        self._journal.attempt(call.id, call.attempts, call.target)

    def end_attempt(
        self, stay: Stay, call: Call, target: Target, status: Status, code: str = ""
    ) -> None:
        """An attempt is over: what it used is read off its replies."""
        readings = call.readings
        tokens, source = measure(
            readings,
            stay.body_bytes,
            complete=status == "complete",
            sent=call.sent if readings or status == "left" else 0,
        )
        cost = 0 if source == "none" or call.caller_paid else None
        tariff = self._prices.find(target.provider, target.model, call.at_us)
        if tariff is not None and cost is None:
            images = count_images(stay.request) if tariff.image else 0
            cost = tariff.find_cost(tokens, images)
        began_ns, first_ns = call.begun_ns, call.first_ns
        attempt = Attempt(
            call.target,
            status,
            source,
            tokens,
            cost,
            code,
            (readings[0].finish_reason or "") if readings else "",
            (first_ns - began_ns) // 1000 if first_ns else None,
            (time.perf_counter_ns() - began_ns) // 1000,
        )
        stay.attempts = (*stay.attempts, attempt) if stay.attempts else (attempt,)

    def settle(self, stay: Stay, call: Call) -> None:
        """Write down how the call ended, once, and give back what it did not use; never fails."""
        if stay.settled:
            return
        stay.settled = True
        attempts = stay.attempts
        if len(attempts) == 1:
            only = attempts[0]
            tokens, cost, source = only.tokens, only.cost_micros, only.usage_source
        else:
            tokens, cost, source = sum_attempts(attempts)
        used = tokens.input + tokens.output
        if stay.permit is not None:
            if source == "none" and attempts:
                stay.permit.release()
            else:
                stay.permit.settle(used)
        charges: tuple[Charge, ...] = ()
        if stay.hold is not None:
            charges = stay.hold.settle_each(cost or 0, used)
        opening, started_ns, first_ns = stay.opening, call.started_ns, call.first_ns
        entry = Entry(
            _name_call(stay, call) if opening is None else opening,
            stay.status,
            attempts,
            charges,
            stay.code,
            ",".join(call.changes) if call.changes else "",
            (call.sent_ns - started_ns) // 1000 if call.sent_ns else 0,
            (first_ns - started_ns) // 1000 if first_ns else None,
            (time.perf_counter_ns() - started_ns) // 1000,
        )
        if opening is None:
            self._journal.note(entry)
        else:
            self._journal.settle(entry)
        self.tally.count(stay.status, stay.code, tokens.input, tokens.output, cost or 0)

    def _hold(
        self, stay: Stay, route: Route, needs: Needs, tariffs: Sequence[Tariff | None]
    ) -> bool:
        """Reserve the worst case of a call whose output is bounded, if that much is at hand."""
        bound = find_bound(stay.request, stay.body_bytes, route)
        if bound.output is None:
            return False
        stay.hold = self._purse.hold(_list_claims(needs, bound, bound.output, tariffs))
        return stay.hold is not None

    async def _take_budgets(
        self,
        stay: Stay,
        route: Route,
        needs: Needs,
        tariffs: Sequence[Tariff | None],
        *,
        strict: bool,
    ) -> None:
        """Reserve the worst case; or as much output as fits, where the account wants that."""
        bound = find_bound(stay.request, stay.body_bytes, route)
        output = OUTPUT_TOKENS if bound.output is None else bound.output
        word = f"defaulted:max_tokens={output}" if bound.output is None else ""
        clamps = stay.seat.account_terms.over_budget == "clamp" and not strict
        answer = await self._purse.take(_list_claims(needs, bound, output, tariffs))
        while isinstance(answer, Shortage):
            fitting = _fit_output(bound, output, tariffs, answer) if clamps else 0
            if not fitting:
                raise answer.make_error()
            output, word = fitting, f"clamped:max_tokens={fitting}"
            answer = await self._purse.take(_list_claims(needs, bound, output, tariffs))
        stay.hold = answer
        if word:
            stay.request = hold_output(stay.request, output)
            stay.words = (word,)


def _name_call(stay: Stay, call: Call) -> Opening:
    """What is known of a call that was refused before it was written down."""
    seat, request = stay.seat, stay.request
    # Whatever was pasted where a model is named is nobody's model.
    model = "" if stay.code == "model_not_found" else request.model
    return Opening(
        call.id,
        call.at_us,
        seat.account_id,
        seat.key_id,
        model,
        stay.operation,
        request.stream,
    )


def _count_asked(stay: Stay) -> int:
    """The tokens that limits count until they are known: a guess at the input, and all output."""
    return stay.body_bytes // BYTES_PER_TOKEN + (stay.request.max_tokens or 0)


def _list_needs(seat: Seat) -> Needs:
    key, account = seat.key_terms, seat.account_terms
    subjects = []
    if key.limits != NO_LIMITS:
        subjects.append(Subject("key", seat.key_subject, key.limits))
    if account.limits != NO_LIMITS:
        subjects.append(Subject("account", seat.account_id, account.limits))
    budgets: list[tuple[Kind, str, Budget]]
    budgets = [("key", seat.key_subject, budget) for budget in key.budgets]
    budgets += [("account", seat.account_id, budget) for budget in account.budgets]
    return Needs(seat, tuple(subjects), tuple(budgets))


def _list_claims(
    needs: Needs, bound: Bound, output: int, tariffs: Sequence[Tariff | None]
) -> list[Claim]:
    """What the call may use of each budget, at whichever of its targets."""
    claims = []
    for kind, name, budget in needs.budgets:
        worst = _find_worst(budget.unit, bound, output, tariffs)
        claims.append(Claim(kind, name, budget, worst))
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
