"""What a failed attempt means for the next one: who may try again, when, and how often; pure."""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from trunkline.errors import Code, GatewayError
from trunkline.routing.rule import Want

Again = Literal["no", "elsewhere", "anywhere"]

ASIDE_S: Final = 30.0
"""For how long a target goes last that refuses the gateway's own key, is used up, or has no such
model: what an operator has to mend."""
ASIDE_MAX_S: Final = 300.0
"""The longest time for which an upstream's own word keeps it last."""
BACK_OFF_S: Final = 0.2
BACK_OFF_MAX_S: Final = 5.0
WAIT_MAX_S: Final = 3.0
"""The longest wait before a target is asked again: of a longer one the client is better told."""
FLOOR_PER_S: Final = 10 / 60
"""Retries that a target may have however few its calls are."""
BURST: Final = 10.0
SAVED_CALLS: Final = 500
"""Calls whose share may be saved up for later retries."""


class Verdict(msgspec.Struct, frozen=True):
    """What to make of a failure.

    Args:
        again: whether another attempt could help, and where.
        counts: it speaks against the target: its circuit is told.
        aside_s: how long the target goes last, from now on.
        want: the target that is kept for this failure would help.
    """

    again: Again = "no"
    counts: bool = False
    aside_s: float = 0
    want: Want | None = None


_FINAL: Final = Verdict()
_VERDICTS: Final[dict[Code, Verdict]] = {
    "upstream_error": Verdict("anywhere", counts=True),
    "upstream_timeout": Verdict("anywhere", counts=True),
    "overloaded": Verdict("anywhere", counts=True),
    "rate_limit_exceeded": Verdict("anywhere", aside_s=1),
    "insufficient_quota": Verdict("elsewhere", aside_s=ASIDE_S),
    "upstream_auth": Verdict("elsewhere", aside_s=ASIDE_S),
    "model_not_found": Verdict("elsewhere", aside_s=ASIDE_S),
    "context_length_exceeded": Verdict(want="context"),
}


def judge(error: GatewayError) -> Verdict:
    """What to make of an attempt's failure."""
    if error.cause == "filter":
        return Verdict(want="filter")
    if error.cause == "local":
        return Verdict("elsewhere")
    verdict = _VERDICTS.get(error.code, _FINAL)
    told_s = error.told_s
    if told_s is not None and told_s > 0 and verdict.again == "anywhere":
        return msgspec.structs.replace(verdict, aside_s=min(told_s, ASIDE_MAX_S))
    return verdict


def find_wait_s(tried: int, aside_s: float, left_s: float, draw: float) -> float | None:
    """How long to wait before a target is asked again; None where that takes too long.

    Args:
        tried: attempts at it so far, 1 at least.
        aside_s: what is left of the time that it wants to be left alone, 0 where it told none.
        left_s: of the call's own time.
        draw: a random number from 0 to 1.
    """
    if aside_s > 0:
        wait_s = aside_s
    else:
        longest_s = min(BACK_OFF_S * 2 ** min(tried - 1, 10), BACK_OFF_MAX_S)
        wait_s = longest_s * (1 + draw) / 2
    return wait_s if wait_s < min(left_s, WAIT_MAX_S) else None


class RetryBudget:
    """Bounds further attempts to a share of the calls, so that an outage is not multiplied.

    A token bucket: each call brings its share of a token, and each second a little, so that a
    quiet gateway can retry too. What is saved has a limit.

    Args:
        burst: tokens to begin with.
        floor_per_s: tokens that each second brings.

    Attributes:
        calls: so far; the owner counts them.
        denied: further attempts that were not allowed.
    """

    __slots__ = ("_at_s", "_burst", "_counted", "_floor_per_s", "_tokens", "calls", "denied")

    def __init__(self, burst: float = BURST, floor_per_s: float = FLOOR_PER_S) -> None:
        self.calls = 0
        self.denied = 0
        self._burst = self._tokens = burst
        self._floor_per_s = floor_per_s
        self._counted = 0
        self._at_s: float | None = None

    def take(self, share: float, now_s: float) -> bool:
        """Whether one more attempt may be made; it is paid for then."""
        fresh = (self.calls - self._counted) * share
        if self._at_s is not None:
            fresh += (now_s - self._at_s) * self._floor_per_s
        self._counted, self._at_s = self.calls, now_s
        most = max(self._burst + SAVED_CALLS * share, 1.0)
        self._tokens = min(self._tokens + fresh, most)
        if self._tokens < 1:
            self.denied += 1
            return False
        self._tokens -= 1
        return True


Draw = Callable[[], float]
"""A random number from 0 to 1."""
