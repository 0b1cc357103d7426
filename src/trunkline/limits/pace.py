"""How fast a full gate lets calls in, and how long those that wait will have to. Pure."""

from typing import Final

_REMEMBERED: Final = 32
"""Leavings that the mean is about."""
LEAST_S: Final = 1.0
MOST_S: Final = 60.0
"""What clients believe of a ``retry-after`` (docs/contract.md, Errors)."""


class Pace:
    """The mean time between two leavings of a gate at which calls wait."""

    __slots__ = ("_last_s", "_mean_s", "_seen")

    def __init__(self) -> None:
        self._seen = 0
        self._mean_s = 0.0
        self._last_s = 0.0

    def begin(self, now_s: float) -> None:
        """Somebody waits where nobody did: the time before this is none of the pace."""
        self._last_s = now_s

    def note(self, now_s: float) -> None:
        """A call has left while others waited."""
        self._seen = min(self._seen + 1, _REMEMBERED)
        self._mean_s += (now_s - self._last_s - self._mean_s) / self._seen
        self._last_s = now_s

    def estimate_s(self, waiting: int, now_s: float) -> float:
        """When so many have had their turn, within what clients believe; longer if all hangs."""
        each_s = max(self._mean_s, now_s - self._last_s)
        return min(max(waiting * each_s, LEAST_S), MOST_S)
