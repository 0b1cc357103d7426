"""What a noisy account costs a quiet one, in a clock of the test's own."""

import heapq
import random
import statistics
from collections.abc import Callable
from itertools import count

import pytest

from trunkline.limits.headroom import Headroom, Holder
from trunkline.limits.turn import Claimant, Queue

QUIET, NOISY = Claimant("quiet"), Claimant("noisy")
SERVICE_S = 0.1
Service = Callable[[random.Random], float]


def take_same(_: random.Random) -> float:
    return SERVICE_S


def take_similar(chance: random.Random) -> float:
    return SERVICE_S * chance.uniform(0.9, 1.1)


def take_any(chance: random.Random) -> float:
    return chance.expovariate(1 / SERVICE_S)


class Provider:
    """Takes so many calls at once and has the others wait; the noisy account asks again and again.

    Attributes:
        took_s: how long each call of the quiet account took, and of that, waited.
    """

    def __init__(self, places: int, service: Service, *, noise: int) -> None:
        self.took_s: list[tuple[float, float]] = []
        self._chance = random.Random(1)
        self._service = service
        self._ends: list[tuple[float, int, str]] = []
        self._numbers = count()
        self._queue = Queue(4 * places, 1e9)
        self._headroom = Headroom(places, Holder)
        self._ask(QUIET, 0)
        for _ in range(noise):
            self._ask(NOISY, 0)

    def ask(self, now_s: float) -> None:
        """Until then calls end, then the quiet account asks."""
        while self._ends and self._ends[0][0] <= now_s:
            end_s, _, account = heapq.heappop(self._ends)
            self._headroom.holders[account].held -= 1
            while (turn := self._queue.take(end_s, self._may_go)) is not None:
                self._headroom.holders[turn.account].waiting -= 1
                self._run(turn.account, end_s, turn.since_s)
            if account == NOISY.account:
                self._ask(NOISY, end_s)
        self._ask(QUIET, now_s)

    def _ask(self, claimant: Claimant, now_s: float) -> None:
        holder = self._headroom.find(claimant, now_s)
        if self._may_go(claimant.account):
            self._run(claimant.account, now_s, now_s)
            return
        if self._queue.is_full:
            displaced = self._queue.find_displaced(claimant)
            if displaced is None:
                return
            self._queue.remove(displaced)
            self._headroom.holders[displaced.account].waiting -= 1
        self._queue.add(claimant, now_s)
        holder.waiting += 1

    def _may_go(self, account: str) -> bool:
        return self._headroom.is_open_to(self._headroom.holders[account], len(self._ends))

    def _run(self, account: str, now_s: float, since_s: float) -> None:
        self._headroom.holders[account].held += 1
        end_s = now_s + self._service(self._chance)
        heapq.heappush(self._ends, (end_s, next(self._numbers), account))
        if account == QUIET.account:
            self.took_s.append((end_s - since_s, now_s - since_s))


def measure(places: int, service: Service, *, noise: int, usage: float = 0.1) -> Provider:
    """A quiet account uses so much of its half of a provider, and asks at random.

    A noisy one has ``noise`` calls open all the time, which begin together.
    """
    provider, chance = Provider(places, service, noise=noise), random.Random(2)
    # The room that the first calls found taken is there when they have ended.
    now_s = 3 * SERVICE_S
    while len(provider.took_s) < 3000:
        now_s += chance.expovariate(usage * places / 2 / SERVICE_S)
        provider.ask(now_s)
    return provider


def find_p95(provider: Provider, figure: int) -> float:
    """The 95th percentile of what it took (0) or what was waited (1), in seconds."""
    return statistics.quantiles([took_s[figure] for took_s in provider.took_s], n=100)[94]


@pytest.mark.parametrize("service", [take_same, take_similar, take_any])
@pytest.mark.parametrize("places", [4, 8, 16, 32, 64])
def test_a_noisy_account_moves_a_quiet_ones_p95_by_less_than_a_fifth(
    places: int, service: Service
) -> None:
    alone = measure(places, service, noise=0)
    beside = measure(places, service, noise=50 * places // 2)
    assert 0.9 <= find_p95(beside, 0) / find_p95(alone, 0) < 1.2


@pytest.mark.parametrize(("places", "most"), [(1, 4), (2, 2)])
def test_one_place_or_two_are_waited_for(places: int, most: float) -> None:
    alone = measure(places, take_similar, noise=0)
    beside = measure(places, take_similar, noise=25 * places)
    assert 1.2 < find_p95(beside, 0) / find_p95(alone, 0) < most


@pytest.mark.parametrize(
    ("places", "usage", "most"),
    [
        (4, 0.3, 0.8),
        (8, 0.3, 0.25),
        (16, 0.3, 0),
        (16, 0.5, 0.1),
        (16, 0.7, 0.8),
        (32, 0.5, 0),
        (32, 0.7, 0.3),
        (64, 0.7, 0),
        (64, 0.9, 0.6),
    ],
)
def test_who_uses_more_of_its_share_waits_for_a_part_of_a_call(
    places: int, usage: float, most: float
) -> None:
    beside = measure(places, take_any, noise=50 * places // 2, usage=usage)
    assert find_p95(beside, 1) <= most * SERVICE_S
