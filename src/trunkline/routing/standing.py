"""How the targets stand: what a worker remembers of each from the calls that it sent there."""

from collections.abc import Iterable, Iterator
from typing import Final

from trunkline.observe.metrics import Family, Sample
from trunkline.routing.circuit import Circuit
from trunkline.routing.latency import Latency
from trunkline.routing.retry import RetryBudget, Verdict
from trunkline.routing.rule import CircuitRule
from trunkline.routing.table import Route, Target

LIMIT: Final = 4096
"""Targets that are remembered; clients may name new ones (``vendor/model``)."""
ENGINE_OPEN_S: Final = 1.0
"""An engine of ours is restarted at once, so it is asked again soon."""


class Standing:
    """One target's standing: its circuit, how fast it is, and who waits for it.

    Attributes:
        label: ``provider/model``.
        is_own: it is an engine of ours.
        circuit: leaves it alone while it fails.
        latency: until its first content.
        retries: what further attempts at it may be made.
        aside_until_s: until when it goes last; 0 where it does not.
        outstanding: attempts under way.
        outcomes: attempts that have ended, by the error's code, "left" or "hedged"; "" for a
            complete answer.
    """

    __slots__ = (
        "_rule",
        "aside_until_s",
        "circuit",
        "is_own",
        "label",
        "latency",
        "outcomes",
        "outstanding",
        "retries",
    )

    def __init__(self, target: Target, rule: CircuitRule) -> None:
        self.label = target.label
        self.is_own = bool(target.upstream)
        if self.is_own:
            open_s = min(ENGINE_OPEN_S, rule.open_s)
            rule = CircuitRule(rule.failures, open_s, rule.open_max_s)
        self._rule = rule
        self.circuit = Circuit()
        self.latency = Latency()
        self.retries = RetryBudget()
        self.aside_until_s = 0.0
        self.outstanding = 0
        self.outcomes: dict[str, int] = {"": 0}

    def enter(self) -> bool:
        """An attempt begins; returns whether it is a probe, which is told again at its end."""
        self.outstanding += 1
        return not self.circuit.is_closed and self.circuit.enter()

    def note_success(self, first_s: float, now_s: float, *, probe: bool) -> None:
        """An attempt brought its whole answer, the first content after ``first_s`` seconds."""
        self.outstanding -= 1
        self.outcomes[""] += 1
        self.latency.note(first_s, now_s)
        if self.aside_until_s and self.aside_until_s <= now_s:
            self.aside_until_s = 0.0
        if not self.circuit.is_spotless:
            self.circuit.note_success(self._rule, probe=probe)

    def note_failure(self, code: str, verdict: Verdict, now_s: float, *, probe: bool) -> None:
        """An attempt failed."""
        self.outstanding -= 1
        self.outcomes[code] = self.outcomes.get(code, 0) + 1
        if verdict.aside_s > 0:
            self.aside_until_s = max(self.aside_until_s, now_s + verdict.aside_s)
        if verdict.counts:
            self.circuit.note_failure(self._rule, now_s, probe=probe)
        else:
            self.circuit.release(probe=probe)

    def leave(self, code: str, *, probe: bool) -> None:
        """An attempt ended by no doing of the target."""
        self.outstanding -= 1
        self.outcomes[code] = self.outcomes.get(code, 0) + 1
        self.circuit.release(probe=probe)


class Standings:
    """The standing of every target, by its label; one a worker.

    Args:
        rule: of targets that no route names.
    """

    def __init__(self, rule: CircuitRule) -> None:
        self._rule = rule
        self._known: dict[str, Standing] = {}
        self._strangers: dict[str, Standing] = {}

    def add(self, target: Target, rule: CircuitRule) -> None:
        """Know a target of the configuration; of several routes' rules the first one holds."""
        if target.label not in self._known:
            self._known[target.label] = Standing(target, rule)

    def find(self, target: Target) -> Standing:
        """A target's standing; a new one is in good standing."""
        label = target.label
        standing = self._known.get(label) or self._strangers.get(label)
        if standing is None:
            if len(self._strangers) >= LIMIT:
                self._forget()
            standing = self._strangers[label] = Standing(target, self._rule)
        return standing

    def __iter__(self) -> Iterator[Standing]:
        """Those of the configuration, and strangers that have answered: they do exist."""
        # Copies: others may look from a thread of their own.
        yield from tuple(self._known.values())
        yield from (each for each in tuple(self._strangers.values()) if each.outcomes[""])

    def list_warnings(self, routes: Iterable[Route], now_s: float) -> dict[str, str]:
        """The targets that are left alone, and the models that none of their targets answers."""
        found = {}
        for each in self:
            state = each.circuit.find_state(now_s)
            if state != "closed":
                found[f"target {each.label}"] = f"its circuit is {state}: it failed too often"
        for route in routes:
            targets = [target.label for target in route.targets if not target.on]
            if found and all(f"target {label}" in found for label in targets):
                found[f"model {route.name}"] = "the circuits of all its targets are open"
        return found

    def list_families(self) -> Iterable[Family]:
        """The metrics of the targets."""
        known = [each for each in self if sum(each.outcomes.values())]
        yield Family(
            "trunkline_target_open",
            "Whether a target's circuit is open, half-open included: 1 or 0.",
            "gauge",
            tuple(
                Sample(0 if each.circuit.is_closed else 1, {"target": each.label}) for each in known
            ),
        )
        yield Family(
            "trunkline_target_opened",
            "How often a target's circuit has opened.",
            "counter",
            tuple(Sample(each.circuit.opened, {"target": each.label}) for each in known),
        )
        yield Family(
            "trunkline_target_latency_seconds",
            "Time to the first content: a moving average that counts slow answers in full.",
            "gauge",
            tuple(Sample(each.latency.value_s, {"target": each.label}) for each in known),
        )
        yield Family(
            "trunkline_attempts",
            "Attempts that have ended, by target and outcome: complete, left, hedged (another one "
            "was sooner), or the error's code.",
            "counter",
            tuple(
                Sample(count, {"target": each.label, "outcome": code or "complete"})
                for each in known
                for code, count in sorted(each.outcomes.items())
            ),
        )
        yield Family(
            "trunkline_retries_denied",
            "Further attempts that the retry budget of their target did not allow.",
            "counter",
            tuple(Sample(each.retries.denied, {"target": each.label}) for each in known),
        )

    def _forget(self) -> None:
        """Make room: who has nothing under way and nothing against it goes."""
        kept = {
            label: each
            for label, each in self._strangers.items()
            if each.outstanding or not each.circuit.is_spotless
        }
        self._strangers = dict(list(kept.items())[-LIMIT // 2 :])
