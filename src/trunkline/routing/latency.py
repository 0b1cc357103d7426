"""How long a target takes to its first content: a peak-sensitive moving average; pure."""

import math
from typing import Final

MEMORY_S: Final = 10.0
"""After this long without news, about a third of what is remembered is left."""
UNKNOWN_S: Final = 1.0
"""What a target that nobody has measured counts as once somebody is asking it."""


class Latency:
    """A peak EWMA: a slow answer counts at once and in full, faster ones take it down slowly.

    Attributes:
        value_s: the average when it was last noted.
    """

    __slots__ = ("_at_s", "value_s")

    def __init__(self) -> None:
        self.value_s = 0.0
        self._at_s = 0.0

    def note(self, taken_s: float, now_s: float) -> None:
        """An attempt's first content came after ``taken_s`` seconds."""
        if taken_s >= self.value_s:
            self.value_s = taken_s
        else:
            weight = math.exp((self._at_s - now_s) / MEMORY_S)
            self.value_s = self.value_s * weight + taken_s * (1 - weight)
        self._at_s = now_s

    def find_cost_s(self, outstanding: int, now_s: float) -> float:
        """What another attempt would wait for: what is remembered, times those that wait there.

        What is remembered fades, so that a target that was slow once is asked again.
        """
        if not self.value_s:
            return UNKNOWN_S * outstanding
        faded_s = self.value_s * math.exp(min(self._at_s - now_s, 0) / MEMORY_S)
        return faded_s * (outstanding + 1)
