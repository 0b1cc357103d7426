"""The gate of a provider or engine: so many calls at once, and a fair queue before it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

import msgspec

from trunkline.access.grant import Seat
from trunkline.errors import GatewayError
from trunkline.limits.headroom import Headroom, Holder
from trunkline.limits.pace import Pace
from trunkline.limits.turn import Claimant, Queue, Turn
from trunkline.observe.metrics import Family, Sample

QUEUE_FACTOR: Final = 4
"""Calls that may wait for each that runs, where nobody said otherwise."""
QUEUE_S: Final = 30.0
_AGES: Final = 4
"""A call that has waited this part of the longest wait counts as one class higher."""


class GateRule(msgspec.Struct, frozen=True):
    """How many calls run at once and how many wait, for ``queue_s`` seconds at most."""

    concurrent: int
    queue: int
    queue_s: float = QUEUE_S

    @classmethod
    def make(cls, concurrent: int, queue: int | None, queue_s: float | None) -> "GateRule":
        """The rule of what the operator has said."""
        waiting = QUEUE_FACTOR * concurrent if queue is None else queue
        return cls(concurrent, waiting, queue_s or QUEUE_S)

    def divide(self, workers: int) -> "GateRule":
        """The part of one of several workers, which do not ask each other."""
        if workers == 1:
            return self
        queue = self.queue and max(self.queue // workers, 1)
        return GateRule(max(self.concurrent // workers, 1), queue, self.queue_s)


class Place(Holder):
    """The calls of one account at a gate.

    Attributes:
        leave: to be called once for every call that was let in, when it is over.
    """

    __slots__ = ("leave",)
    leave: Callable[[], None]


class Gate:
    """Lets calls in, and has the others wait for their turn; every call that was let in leaves.

    Args:
        name: whose gate it is, as messages and metrics say it.
        rule: how many calls.

    Attributes:
        running: calls that are in.
        refused: calls that did not get in, by why.
        waits: calls that have waited, however it ended.
        waited_s: how long they did, together.
    """

    def __init__(self, name: str, rule: GateRule) -> None:
        self.name = name
        self.running = 0
        self.refused = {"full": 0, "displaced": 0, "late": 0}
        self.waits = 0
        self.waited_s = 0.0
        self._rule = rule
        self._queue = Queue(rule.queue, rule.queue_s / _AGES)
        self._headroom = Headroom(rule.concurrent, self._make_place)
        self._open = self._headroom.open
        self._places = self._headroom.holders
        self._pace = Pace()
        self._waiters: dict[Turn, asyncio.Future[None]] = {}
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._queue)

    @property
    def has_room(self) -> bool:
        """Whether one more call would come in at once, whosever it is."""
        return self.running < self._open

    def enter(self, seat: Seat) -> Place | None:
        """Let a call in, by the place that it has to leave; None where it has to ``wait``."""
        if self.running < self._open:
            place = self._places.get(seat.account_id) or self._find_place(seat)
        elif self.running < self._rule.concurrent:
            place = self._find_place(seat)
            if not self._headroom.is_open_to(place, self.running):
                return None
        else:
            return None
        place.held += 1
        self.running += 1
        return place

    async def wait(self, seat: Seat, within_s: float) -> Place:
        """Wait for the turn of a call that could not ``enter`` just now.

        Args:
            seat: whom it counts for.
            within_s: how long the call itself can wait.

        Raises:
            GatewayError: ``overloaded``: the queue is full, or the wait was too long.
        """
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        place = self._find_place(seat)
        turn = self._join_queue(place.claimant, since_s)
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters[turn] = waiter
        place.waiting += 1
        self._watch_headroom()
        timer = loop.call_later(min(self._rule.queue_s, within_s), self._expire, turn)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                place.leave()  # it was let in as its client left
            elif self._queue.remove(turn):
                del self._waiters[turn]
            raise
        finally:
            timer.cancel()
            place.waiting -= 1
            self.waits += 1
            self.waited_s += loop.time() - since_s
        return place

    def _make_place(self, claimant: Claimant) -> Place:
        place = Place(claimant)
        place.leave = partial(self._leave, place)
        return place

    def _find_place(self, seat: Seat) -> Place:
        terms = seat.account_terms
        claimant = Claimant(seat.account_id, terms.share, terms.priority)
        return self._headroom.find(claimant, asyncio.get_running_loop().time())

    def _leave(self, place: Place) -> None:
        """A call that was let in is over: whose turn it is comes in."""
        place.held -= 1
        self.running -= 1
        if self._waiters:
            now_s = asyncio.get_running_loop().time()
            self._pace.note(now_s)
            self._admit(now_s)

    def _admit(self, now_s: float) -> None:
        """Let in who waits and may come in."""
        self._headroom.age(now_s)
        while self.running < self._rule.concurrent:
            turn = self._queue.take(now_s, self._is_open_to)
            if turn is None:
                break
            waiter = self._waiters.pop(turn)
            if not waiter.done():  # else its client leaves at this very moment
                self._places[turn.account].held += 1
                self.running += 1
                waiter.set_result(None)
        self._watch_headroom()

    def _is_open_to(self, account: str) -> bool:
        return self._headroom.is_open_to(self._places[account], self.running)

    def _watch_headroom(self) -> None:
        """Look again when slots that are kept free may be so for nobody any more."""
        if self._waiters and self.running < self._rule.concurrent and self._alarm is None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_at(self._headroom.due_s, self._look_again)

    def _look_again(self) -> None:
        self._alarm = None
        self._admit(asyncio.get_running_loop().time())

    def _join_queue(self, claimant: Claimant, now_s: float) -> Turn:
        if self._queue.is_full:
            displaced = self._queue.find_displaced(claimant)
            if displaced is None:
                raise self._refuse("full", "and as many calls wait as may", now_s)
            self._drop(displaced, "displaced", "and the place in the queue went to another account")
        if not self._waiters:
            self._pace.begin(now_s)
        return self._queue.add(claimant, now_s)

    def _expire(self, turn: Turn) -> None:
        self._drop(turn, "late", "and this call's turn did not come in time")

    def _drop(self, turn: Turn, reason: str, text: str) -> None:
        """Take a call out of the queue and tell it why."""
        if self._queue.remove(turn):
            waiter = self._waiters.pop(turn)
            if not waiter.done():
                now_s = waiter.get_loop().time()
                waiter.set_exception(self._refuse(reason, text, now_s))

    def _refuse(self, reason: str, text: str, now_s: float) -> GatewayError:
        self.refused[reason] += 1
        after_s = self._pace.estimate_s(self.waiting, now_s)
        error = GatewayError(
            "overloaded",
            f"'{self.name}' is busy with {self.running} calls, {text}.",
            retry_after_s=after_s,
        )
        error.cause = "local"
        return error


def list_gate_families(gates: Mapping[str, Gate | None]) -> Iterable[Family]:
    """The metrics of the gates, by the name of the provider; None where one has no gate."""
    own = {name: gate for name, gate in gates.items() if gate is not None}
    if not own:
        return
    yield Family(
        "trunkline_calls_running",
        "Calls that a provider with a limit of its own is busy with.",
        "gauge",
        tuple(Sample(gate.running, {"provider": name}) for name, gate in own.items()),
    )
    yield Family(
        "trunkline_queue_waiting",
        "Calls that wait for their turn at a provider.",
        "gauge",
        tuple(Sample(gate.waiting, {"provider": name}) for name, gate in own.items()),
    )
    yield Family(
        "trunkline_queue_waits",
        "Calls that have waited for their turn at a provider, however that ended.",
        "counter",
        tuple(Sample(gate.waits, {"provider": name}) for name, gate in own.items()),
    )
    yield Family(
        "trunkline_queue_wait_seconds",
        "How long calls have waited for their turn at a provider, together.",
        "counter",
        tuple(Sample(gate.waited_s, {"provider": name}) for name, gate in own.items()),
    )
    yield Family(
        "trunkline_queue_refused",
        "Calls that did not get their turn: the queue was full, the place went to another "
        "account (displaced), or it took too long (late).",
        "counter",
        tuple(
            Sample(count, {"provider": name, "reason": reason})
            for name, gate in own.items()
            for reason, count in gate.refused.items()
        ),
    )
