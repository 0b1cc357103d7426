"""What shall become of each call of a trial: drawn from a seed, whatever the order they run in."""

import random
from typing import Final, Literal

import msgspec

Ending = Literal[
    "whole",  # as it should be
    "hang_up",  # FIN before the answer
    "reset",  # RST before the answer
    "hush",  # no answer
    "refuse",  # 500, 503 or 429
    "cut",  # FIN in the middle
    "snap",  # RST in the middle
    "stall",  # silence in the middle
    "late_cut",  # FIN where only the mark of the end is missing
    "garble",  # no JSON
    "confess",  # an error object inside a 200
    "unfinished",  # a proper end without a finish reason
]
Counting = Literal["end", "running", "never"]
"""When a stream tells its usage."""
Leaving = Literal["stays", "early", "there", "anywhere"]
"""When the client leaves: before the answer; where the upstream waits for it; or in the flow."""
Grain = Literal["frames", "burst", "shreds"]
"""How a stream's bytes are cut into writes."""
Door = Literal["openai", "sgp", "beta"]

PATHS: Final[dict[Door, str]] = {
    "openai": "/v1/chat/completions",
    "sgp": "/v4/completions",
    "beta": "/v4/beta/chat/completions",
}
CHAINS: Final = 10
"""One call in so many goes to a model with two targets."""
KEEPS, DRAINS = "keeps", "drains"
"""The accounts: what a client leaves is cancelled, or read to its end."""

_BEFORE: Final[tuple[Ending, ...]] = ("hang_up", "reset", "refuse", "refuse", "refuse")
_MIDDLE: Final[tuple[Ending, ...]] = (
    "cut", "cut", "snap", "late_cut", "garble", "confess", "unfinished",
)  # fmt: skip
_SILENT: Final[tuple[Ending, ...]] = ("hush", "stall")


class Fate(msgspec.Struct, frozen=True):
    """What an upstream does with a request.

    ``input`` and ``cached`` are tokens; ``weights`` the tokens of each piece of the answer, of
    which ``at`` pieces come before something happens.
    """

    ending: Ending
    counting: Counting
    grain: Grain
    input: int
    cached: int
    weights: tuple[int, ...]
    at: int
    status: int

    def count(self, pieces: int) -> int:
        """The tokens of so many pieces."""
        return sum(self.weights[:pieces])


class Plan(msgspec.Struct, frozen=True):
    """One call: what is asked, what each target does, and what the client does.

    ``fates`` are those of the targets in order.
    """

    number: int
    model: str
    door: Door
    account: str
    stream: bool
    copies: int
    fates: tuple[Fate, ...]
    leaving: Leaving
    rude: bool
    max_tokens: int
    padding: int

    @property
    def name(self) -> str:
        """The model's name at the upstream, by which it knows the call."""
        return name_call(self.number)

    @property
    def at(self) -> int:
        """After how many pieces the client leaves."""
        return self.fates[0].at


def name_call(number: int) -> str:
    return f"call-{number:06}"


def is_chain(number: int) -> bool:
    return number % CHAINS == 0


def make_plan(seed: int, number: int) -> Plan:
    """The plan of one call: depends on nothing but these."""
    chance = random.Random(f"{seed}/{number}")
    stream = chance.random() < 0.65
    leaving = _draw_leaving(chance, stream=stream)
    door: Door = chance.choice(["openai", "openai", "sgp", "beta"])
    chained = is_chain(number)
    copies = 1
    if not chained and door != "sgp" and leaving == "stays" and chance.random() < 0.06:
        copies = chance.randint(2, 3)
    vendor = "chain" if chained else "alone" if copies > 1 else "lab"
    first = _draw_fate(chance, calm=leaving != "stays", failing=chained and leaving == "stays")
    return Plan(
        number,
        f"{vendor}/{name_call(number)}",
        door,
        chance.choice([KEEPS, KEEPS, DRAINS]),
        stream,
        copies,
        (first, _draw_fate(chance, calm=leaving != "stays")) if chained else (first,),
        leaving,
        chance.random() < 0.5,
        chance.randint(100, 200),
        chance.choice([0, 10, 300]),
    )


def _draw_leaving(chance: random.Random, *, stream: bool) -> Leaving:
    drawn = chance.random()
    if drawn < 0.06:
        return "early"
    if stream and drawn < 0.18:
        return "there"
    if stream and drawn < 0.24:
        return "anywhere"
    return "stays"


def _draw_fate(chance: random.Random, *, calm: bool, failing: bool = False) -> Fate:
    """A fate; ``calm`` for one that leaves it to the client to spoil the call."""
    drawn = chance.random()
    ending: Ending = "whole"
    if failing and drawn < 0.8:
        ending = chance.choice(_BEFORE)
    elif not calm and drawn < 0.03:
        ending = chance.choice(_SILENT)
    elif not calm and drawn < 0.12:
        ending = chance.choice(_BEFORE)
    elif not calm and drawn < 0.4:
        ending = chance.choice(_MIDDLE)
    weights = tuple(chance.randint(1, 4) for _ in range(chance.randint(1, 9)))
    size = chance.randint(1, 60)
    return Fate(
        ending,
        chance.choice(["end", "end", "running", "running", "running", "never"]),
        chance.choice(["frames", "burst", "shreds"]),
        size,
        chance.choice([0, 0, size // 2]),
        weights,
        chance.randint(1, len(weights)),
        chance.choice([500, 503, 429]),
    )
