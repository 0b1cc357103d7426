"""In which order the targets of a route are tried; pure."""

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from trunkline.routing.retry import Draw
from trunkline.routing.rule import Policy

DRAWN: Final = 2
"""Targets of which the faster one is taken: two are enough to keep load even, and a target whose
figures are old is not taken by everybody at once."""


class Place(msgspec.Struct, frozen=True):
    """What the order is made of: one target at this moment.

    Args:
        label: ``provider/model``.
        weight: its share of the calls, as the operator set it.
        cost_s: what another attempt there would wait for.
        is_aside: it asked to be left alone, or its circuit is not closed: it goes last.
    """

    label: str
    weight: int = 1
    cost_s: float = 0
    is_aside: bool = False


def order_places(
    policy: Policy, places: Sequence[Place], draw: Draw, prefix: bytes | None = None
) -> list[int]:
    """The positions of the places in the order in which they are tried.

    Args:
        policy: how they are chosen.
        places: in the operator's order.
        draw: random numbers from 0 to 1.
        prefix: of the conversation, which then stays at one target; None where it need not. An
            operator's order is the same for every conversation anyway.
    """
    healthy = [at for at, place in enumerate(places) if not place.is_aside]
    aside = [at for at, place in enumerate(places) if place.is_aside]
    if policy == "ordered" or len(places) < DRAWN:
        return healthy + aside
    if prefix is not None:
        scores = [_score(prefix, place) for place in places]
        healthy.sort(key=scores.__getitem__, reverse=True)
        return healthy + aside
    if policy == "weighted":
        # A race of exponential times: who is first, second and so on falls by the weights.
        times = [-math.log(1 - draw()) / place.weight for place in places]
        healthy.sort(key=times.__getitem__)
        return healthy + aside
    return _order_fastest(places, healthy, draw) + aside


def _order_fastest(places: Sequence[Place], healthy: list[int], draw: Draw) -> list[int]:
    """The faster of two drawn at random, then the others by their speed."""
    order = sorted(healthy, key=lambda at: places[at].cost_s)
    if len(order) <= DRAWN:
        if len(order) == DRAWN and places[order[0]].cost_s == places[order[1]].cost_s:
            order = order[::-1] if draw() < 0.5 else order
        return order
    one = min(int(draw() * len(order)), len(order) - 1)
    other = min(int(draw() * (len(order) - 1)), len(order) - 2)
    other += other >= one
    first = order.pop(min(one, other))  # they are in the order of their cost
    return [first, *order]


def _score(prefix: bytes, place: Place) -> float:
    """Rendezvous hashing: each target draws for a conversation, and the same one wins again.

    When a target is away only its own conversations move. Weighted as by Schindelhauer and
    Schomaker ("Weighted distributed hash tables", 2005).
    """
    digest = blake2b(place.label.encode(), key=prefix[:64], digest_size=8).digest()
    share = (int.from_bytes(digest) + 1) / (2**64 + 1)
    return -place.weight / math.log(share) if share < 1 else math.inf
