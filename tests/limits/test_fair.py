"""What a noisy account costs a quiet one, in a clock of the test's own."""

import heapq
import random
import statistics

import pytest

from trunkline.limits.turn import Claimant, Queue

QUIET, NOISY = Claimant("quiet"), Claimant("noisy")
SERVICE_S = 0.1


class Provider:
    """Takes so many calls at once, each for about ``SERVICE_S``, and has the others wait."""

    def __init__(self, places: int) -> None:
        self.took_s: list[float] = []
        self.ends: list[tuple[float, bool]] = []
        self._places = places
        self._chance = random.Random(1)
        self._queue = Queue(4 * places, 1e9)

    def arrive(self, claimant: Claimant, now_s: float) -> None:
        if len(self.ends) < self._places:
            self._run(claimant.account, now_s, now_s)
            return
        if self._queue.is_full:
            displaced = self._queue.find_displaced(claimant)
            if displaced is None:
                return
            self._queue.remove(displaced)
        self._queue.add(claimant, now_s)

    def end_one(self) -> tuple[float, bool]:
        """The next call ends and lets another in: when, and whether it was the quiet one's."""
        now_s, was_quiet = heapq.heappop(self.ends)
        turn = self._queue.take(now_s)
        if turn is not None:
            self._run(turn.account, now_s, turn.since_s)
        return now_s, was_quiet

    def _run(self, account: str, now_s: float, since_s: float) -> None:
        end_s = now_s + SERVICE_S * self._chance.uniform(0.9, 1.1)
        heapq.heappush(self.ends, (end_s, account == QUIET.account))
        if account == QUIET.account:
            self.took_s.append(end_s - since_s)


def find_p95(places: int, *, noise: int) -> float:
    """The 95th percentile of a quiet account's time to its answer, in seconds.

    It uses a tenth of its half of the provider; a noisy one has ``noise`` calls open all the time.
    """
    provider = Provider(places)
    every_s = SERVICE_S / (places / 2 * 0.1)
    for number in range(noise):
        provider.arrive(NOISY, SERVICE_S * min(number / places, 1))
    next_s = 20 * SERVICE_S
    while len(provider.took_s) < 2000:
        if not provider.ends or next_s < provider.ends[0][0]:
            provider.arrive(QUIET, next_s)
            next_s += every_s
            continue
        now_s, was_quiet = provider.end_one()
        if noise and not was_quiet:
            provider.arrive(NOISY, now_s)
    return statistics.quantiles(provider.took_s, n=100)[94]


@pytest.mark.parametrize("places", [16, 32, 64])
def test_a_noisy_account_moves_a_quiet_ones_p95_by_less_than_a_fifth(places: int) -> None:
    alone = find_p95(places, noise=0)
    beside = find_p95(places, noise=50 * places // 2)
    assert 1 <= beside / alone < 1.2


def test_few_places_are_waited_for_longer() -> None:
    assert 1.2 < find_p95(4, noise=100) / find_p95(4, noise=0) < 2
