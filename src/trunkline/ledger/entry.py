"""What the ledger keeps of a call: an entry, and a row for every attempt at a target. Pure."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from trunkline.terms import Charge, Window

__all__ = [
    "NO_TOKENS",
    "Attempt",
    "Charge",
    "Entry",
    "Opening",
    "Status",
    "Tokens",
    "UsageSource",
    "Window",
]

UsageSource = Literal["provider", "counted", "estimated", "none"]
"""Who counted: the provider; this gateway, token by token; this gateway, by a rule of thumb; or
nobody, which is right where no model was reached and said so where it cannot be known."""
Status = Literal["complete", "failed", "left", "refused", "lost"]
"""How a call ended: with its whole answer; with an error; its client left first; it was refused
before any target was tried; or the gateway died and nobody knows. An attempt is left as well when
another one of the same call was sooner: its code is then ``hedged``."""


class Tokens(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Tokens by kind.

    Cached and cache-write tokens are parts of the input, reasoning tokens of the output, and both
    kinds of audio tokens of theirs.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0


NO_TOKENS: Final = Tokens()
_KINDS: Final = len(Tokens.__struct_fields__)


class Attempt(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One try at one target.

    ``target`` is ``provider/model``, ``code`` the error's if it failed, ``cost_micros`` None where
    the model has no price. Times are microseconds from the attempt's start.
    """

    target: str
    status: Status
    usage_source: UsageSource = "none"
    tokens: Tokens = NO_TOKENS
    cost_micros: int | None = None
    code: str = ""
    finish_reason: str = ""
    first_token_us: int | None = None
    total_us: int = 0


class Opening(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is known of a call before money is spent.

    ``at_us`` is microseconds since 1970, UTC; ``model`` the public name; ``target`` the first that
    is tried; ``holds`` what was reserved of budgets, charged if the call is lost.
    """

    id: str
    at_us: int
    account_id: str
    key_id: str
    model: str
    operation: str
    stream: bool
    target: str = ""
    holds: tuple[Charge, ...] = ()


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One call as it ended.

    Its tokens, its cost and who counted them follow from its attempts: see ``sum_attempts``. Times
    are microseconds from the call's start: until it was sent to a target first, until the first
    content, until the end.
    """

    opening: Opening
    status: Status
    attempts: tuple[Attempt, ...] = ()
    charges: tuple[Charge, ...] = ()
    code: str = ""
    changes: str = ""
    queue_us: int = 0
    first_token_us: int | None = None
    total_us: int = 0


_STRENGTH: Final[dict[UsageSource, int]] = {"none": 0, "estimated": 1, "counted": 2, "provider": 3}


def sum_attempts(attempts: Sequence[Attempt]) -> tuple[Tokens, int | None, UsageSource]:
    """What a call used, what it cost, and who counted: the sums over its attempts.

    The cost is None if an attempt that used tokens has none. The source is the weakest of the
    attempts': provider, then counted, estimated, none. An attempt that reached no model has
    nothing to count and weakens no other: it failed, was refused or was left, without tokens,
    content and a source. A call of which every attempt was like that, or that had none, used
    nothing: no tokens, a cost of 0, the source none.
    """
    if len(attempts) == 1:
        only = attempts[0]
        return only.tokens, find_cost(only), only.usage_source
    sums = [0] * _KINDS
    cost_micros: int | None = 0
    source: UsageSource | None = None
    for attempt in attempts:
        for kind, number in enumerate(msgspec.structs.astuple(attempt.tokens)):
            sums[kind] += number
        cost = find_cost(attempt)
        cost_micros = None if cost is None or cost_micros is None else cost_micros + cost
        if reached_model(attempt) and (
            source is None or _STRENGTH[attempt.usage_source] < _STRENGTH[source]
        ):
            source = attempt.usage_source
    return Tokens(*sums), cost_micros, source or "none"


def reached_model(attempt: Attempt) -> bool:
    """Whether a model may have worked on an attempt; False only where none can have."""
    return (
        attempt.usage_source != "none"
        or attempt.status in {"complete", "lost"}
        or attempt.first_token_us is not None
        or attempt.tokens != NO_TOKENS
    )


def find_cost(attempt: Attempt) -> int | None:
    """What an attempt cost: 0 without any tokens, None where its model has no price."""
    if attempt.cost_micros is None and attempt.tokens == NO_TOKENS:
        return 0
    return attempt.cost_micros
