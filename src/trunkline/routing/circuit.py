"""A circuit breaker: leaves a target alone that keeps failing, and probes it gently; pure."""

from typing import Final, Literal

from trunkline.routing.rule import CircuitRule

State = Literal["closed", "open", "half-open"]
WINDOW_OUTCOMES: Final = 4
"""Outcomes that the error rate is taken of, for each failure in a row that would open it."""
WINDOW_S: Final = 60.0
"""A failure this long after the one before begins a new error rate."""
PROBES: Final = 1
"""Probes at once while it is half-open."""


class Circuit:
    """The circuit of one target; time is passed in, in seconds of any steady clock.

    It opens after ``failures`` failures in a row, or when half of the last 4 times ``failures``
    outcomes were failures. When its time is over it is half-open: one probe may go, which closes
    it or opens it for twice as long.

    Attributes:
        is_closed: calls may go as they like.
        is_spotless: closed, and nothing has failed of late: a success changes nothing.
        opened: how often it has opened.
    """

    __slots__ = (
        "_failed_s",
        "_in_a_row",
        "_open_s",
        "_outcomes",
        "_probes",
        "_until_s",
        "is_closed",
        "is_spotless",
        "opened",
    )

    def __init__(self) -> None:
        self.is_closed = True
        self.is_spotless = True
        self.opened = 0
        self._in_a_row = 0
        self._outcomes: list[bool] = []
        self._failed_s = float("-inf")
        self._open_s = 0.0
        self._until_s = 0.0
        self._probes = 0

    def find_state(self, now_s: float) -> State:
        """How it is at a moment."""
        if self.is_closed:
            return "closed"
        return "open" if now_s < self._until_s else "half-open"

    def may_enter(self, now_s: float) -> bool:
        """Whether an attempt may begin now."""
        return self.is_closed or (now_s >= self._until_s and self._probes < PROBES)

    def find_wait_s(self, now_s: float) -> float:
        """How long until a probe may go; 0 where an attempt may begin now.

        While another's probe is out nobody knows: what is left of the open time is then 0 too.
        """
        return 0.0 if self.is_closed else max(self._until_s - now_s, 0.0)

    def enter(self) -> bool:
        """Begin an attempt that ``may_enter``; returns whether it is a probe.

        Every probe must come to ``note_success``, ``note_failure`` or ``release``.
        """
        if self.is_closed:
            return False
        self._probes += 1
        return True

    def release(self, *, probe: bool) -> None:
        """An attempt ended without telling anything of the target."""
        if probe:
            self._probes -= 1

    def note_success(self, rule: CircuitRule, *, probe: bool) -> None:
        """An attempt was answered; what began before the circuit opened does not close it."""
        if probe:
            self._close()
        elif self.is_closed and not self.is_spotless:
            self._in_a_row = 0
            self._note_outcome(rule, failed=False)
            self.is_spotless = not any(self._outcomes)
            if self.is_spotless:
                self._outcomes.clear()

    def note_failure(self, rule: CircuitRule, now_s: float, *, probe: bool) -> None:
        """An attempt failed by the target's fault."""
        if probe:
            self._probes -= 1
            self._open(now_s, min(self._open_s * 2, rule.open_max_s))
        elif self.is_closed:
            if now_s - self._failed_s > WINDOW_S:
                self._outcomes.clear()
            self._failed_s = now_s
            self._in_a_row += 1
            self._note_outcome(rule, failed=True)
            self.is_spotless = False
            half = 2 * sum(self._outcomes) >= WINDOW_OUTCOMES * rule.failures
            if self._in_a_row >= rule.failures or half:
                self._open(now_s, min(rule.open_s, rule.open_max_s))

    def _note_outcome(self, rule: CircuitRule, *, failed: bool) -> None:
        self._outcomes.append(failed)
        del self._outcomes[: -WINDOW_OUTCOMES * rule.failures]

    def _open(self, now_s: float, open_s: float) -> None:
        self.is_closed = self.is_spotless = False
        self.opened += 1
        self._open_s = open_s
        self._until_s = now_s + open_s

    def _close(self) -> None:
        self.is_closed = self.is_spotless = True
        self._in_a_row = self._probes = 0
        self._outcomes.clear()
        self._open_s = 0.0
