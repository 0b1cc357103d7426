"""How a route's calls find their target: policy, retries and circuits, as the operator set them."""

from typing import Literal

import msgspec

Policy = Literal["ordered", "weighted", "latency"]
Want = Literal["context", "filter"]
"""What a target that is kept for certain failures is kept for: a prompt that does not fit the
context of the one before, or one that a content filter refused."""


class CircuitRule(msgspec.Struct, frozen=True):
    """When a target is left alone, and for how long.

    Args:
        failures: in a row, after which its circuit opens.
        open_s: how long it stays open first; each probe that fails doubles it.
        open_max_s: the longest.
    """

    failures: int = 5
    open_s: float = 10
    open_max_s: float = 120


class RoutingRule(msgspec.Struct, frozen=True):
    """How the targets of one route are chosen and tried.

    Args:
        policy: in the order given; by weight; or the fastest of two drawn at random.
        sticky: a conversation goes to the same target while that is healthy.
        retries: further attempts of a call after its first, whatever the target.
        retry_share: attempts at a target that has failed already, per call.
        hedge_share: hedged attempts, per call; 0 for none.
        resume: a stream that broke may be continued by another target.
        circuit: of each target.
    """

    policy: Policy = "ordered"
    sticky: bool = False
    retries: int = 2
    retry_share: float = 0.2
    hedge_share: float = 0
    resume: bool = False
    circuit: CircuitRule = CircuitRule()
