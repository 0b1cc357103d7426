"""One call's way through the targets of its route: which is tried next, and after what wait."""

from collections.abc import Iterable
from typing import Final

from trunkline.errors import GatewayError
from trunkline.routing.order import Place, order_places
from trunkline.routing.retry import Draw, Verdict, find_wait_s
from trunkline.routing.standing import Standing, Standings
from trunkline.routing.table import Route, Target

LEAST_S: Final = 0.02
"""With less than this of its time left, a call is not tried again."""

Step = tuple[Target, Standing]
"""A target and how it stands."""


class Trail:
    """The way of one call; time is passed in, in seconds of the standings' clock.

    A target that the call has not tried comes before one that it has, whatever the policy. The
    first try at another target is not bounded by the retry budget: each of them sees the call
    once, and those that keep failing are left alone by their circuits.

    Args:
        route: of the call.
        standings: of all targets.
        draw: random numbers.
        now_s: the time.
        prefix: of the conversation, where it stays at one target.

    Attributes:
        tried: labels and error codes of the attempts that failed, in order.
        hedge: the label of the target that was asked beside the first one; "" for none.
    """

    def __init__(
        self,
        route: Route,
        standings: Standings,
        draw: Draw,
        now_s: float,
        prefix: bytes | None = None,
    ) -> None:
        self._route = route
        self._standings = standings
        self._draw = draw
        self._prefix = prefix
        self._order = self._sort((each for each in route.targets if not each.on), now_s)
        self._again: dict[str, int] = {}
        self._left = route.rule.retries
        self.tried: list[tuple[str, str]] = []
        self.hedge = ""

    def begin(self, now_s: float) -> Step:
        """The first target.

        Raises:
            GatewayError: ``overloaded`` when every circuit is open: the one that is closed
                soonest is not asked before its time.
        """
        step = self._find_fresh(now_s)
        if step is None:
            circuits = [standing.circuit for _, standing in self._order]
            wait_s = min(circuit.find_wait_s(now_s) for circuit in circuits)
            raise GatewayError(
                "overloaded",
                f"Every target of model '{self._route.name}' has failed too often of late and is "
                "left alone for a while.",
                retry_after_s=max(wait_s, 1),
            )
        return step

    def find_beside(self, slow: Standing, now_s: float) -> Step | None:
        """A target in good standing that can be asked beside one that is slow."""
        for target, standing in self._order:
            is_well = standing.circuit.is_closed and standing.aside_until_s <= now_s
            if is_well and standing is not slow:
                return target, standing
        return None

    def note(self, standing: Standing, code: str, verdict: Verdict) -> None:
        """An attempt failed."""
        self.tried.append((standing.label, code))
        times = self._again.get(standing.label, 0)
        # An engine of ours that is too slow now has only more to do when it is asked once more.
        is_slow = standing.is_own and code == "upstream_timeout"
        could_help = verdict.again == "anywhere" and not is_slow
        # Counted as long as asking it again could help: 0 is for those that are done with.
        self._again[standing.label] = times + 1 if could_help else -1000

    def find_next(self, verdict: Verdict, now_s: float, left_s: float) -> tuple[Step, float] | None:
        """What is tried after a failure, and after how many seconds; None where nothing is.

        Args:
            verdict: on the failure.
            now_s: the time.
            left_s: of the call's own time.
        """
        if verdict.want is not None:
            kept = [each for each in self._route.targets if verdict.want in each.on]
            self._order = self._sort(kept, now_s)
        elif verdict.again == "no":
            return None
        if self._left <= 0 or left_s < LEAST_S:
            return None
        self._left -= 1
        fresh = self._find_fresh(now_s)
        if fresh is not None:
            return fresh, 0.0
        return self._find_again(now_s, left_s)

    def describe(self, now_s: float) -> str:
        """Why the call goes where it goes, in one line for its caller; no secrets."""
        rule = self._route.rule
        words = [f"policy={rule.policy}{',sticky' if self._prefix is not None else ''}"]
        for target, standing in self._order:
            facts: list[str] = [standing.circuit.find_state(now_s)]
            if standing.latency.value_s:
                facts.append(f"{standing.latency.value_s * 1000:.0f}ms")
            if standing.aside_until_s > now_s:
                facts.append(f"aside:{standing.aside_until_s - now_s:.0f}s")
            if self.hedge == target.label:
                facts.append("hedge")
            facts += [f"tried:{code}" for label, code in self.tried if label == target.label]
            words.append(f"{target.label}={','.join(facts)}")
        return "; ".join(words)

    def _sort(self, targets: Iterable[Target], now_s: float) -> list[Step]:
        steps = [(target, self._standings.find(target)) for target in targets]
        places = [find_place(target, standing, now_s) for target, standing in steps]
        order = order_places(self._route.rule.policy, places, self._draw, self._prefix)
        return [steps[at] for at in order]

    def _find_fresh(self, now_s: float) -> Step | None:
        """The first target that this call has not tried and that may be asked."""
        for target, standing in self._order:
            if target.label not in self._again and standing.circuit.may_enter(now_s):
                return target, standing
        return None

    def _find_again(self, now_s: float, left_s: float) -> tuple[Step, float] | None:
        """The target that may be asked again soonest, if its budget allows."""
        found: tuple[Step, float] | None = None
        for target, standing in self._order:
            times = self._again.get(target.label, 0)
            if times <= 0 or not standing.circuit.may_enter(now_s):
                continue
            aside_s = max(standing.aside_until_s - now_s, 0.0)
            wait_s = find_wait_s(times, aside_s, left_s, self._draw())
            if wait_s is not None and (found is None or wait_s < found[1]):
                found = (target, standing), wait_s
        if found is not None and found[0][1].retries.take(self._route.rule.retry_share, now_s):
            return found
        return None


def find_place(target: Target, standing: Standing, now_s: float) -> Place:
    """Where a target stands at this moment."""
    return Place(
        target.label,
        target.weight,
        standing.latency.find_cost_s(standing.outstanding, now_s),
        is_aside=standing.aside_until_s > now_s or not standing.circuit.may_enter(now_s),
    )
