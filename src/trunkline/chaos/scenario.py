"""What is played: every fault, streamed or not, before and after content, at one target or all."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from trunkline.chaos.heard import DOORS, Door
from trunkline.chaos.rehearsal import Line, Part
from trunkline.mock import FAULTS, Fault

Aim = Literal["first", "all"]
"""Which targets have the fault; the others are well."""
OUTAGE: Final = "status_500"
"""What a target answers while it is out."""
_MOST_CALLS: Final = 30
_DELAY_S: Final = 0.1
_LEFTOVERS: Final = frozenset({"short_length", "trailing_garbage"})
_TALK: Final = "chat"
_SPARED: Final = {"context_overflow": "context", "filter_error": "filter"}
"""What a target can be kept for (``on``), by the kind of fault that it helps against."""


class Scenario(msgspec.Struct, frozen=True):
    """One call, and what goes wrong with it.

    Args:
        number: of all that are played; names its model here and at the upstreams.
        line: the public name that is played.
        fault: None for a call with which nothing goes wrong.
        aim: who has the fault.
        stream: whether the answer is streamed.
        door: the dialect of the client.
        calls: how many are made, one after the other; several are an outage, in which the
            circuit of the target that fails must open.
    """

    number: int
    line: Line
    fault: Fault | None
    aim: Aim
    stream: bool
    door: Door
    calls: int = 1

    @property
    def model(self) -> str:
        """The public name that is asked for: one of its own, so that circuits are, too."""
        return f"chaos-{self.number}"

    @property
    def title(self) -> str:
        """Its description in a few words."""
        fault = "none" if self.fault is None else f"{self.fault.kind}@{self.place}"
        return f"{fault}, {'stream' if self.stream else 'whole'}, {self.aim}"

    @property
    def place(self) -> str:
        """Where the fault happens, in words."""
        if self.fault is None:
            return ""
        return f"{self.calls} calls" if self.calls > 1 else self.fault.place.replace("_", " ")

    def name_upstream(self, part: Part) -> str:
        """The model's name at a target's provider, which no other target has."""
        place = next(at for at, each in enumerate(self.line.parts) if each is part)
        return f"{part.model}-chaos-{self.number}-{place}"

    def hits(self, part: Part) -> bool:
        """Whether a target has the fault."""
        if self.fault is None:
            return False
        return self.aim == "all" or part is self.line.order[0]

    @property
    def spoils_connection(self) -> bool:
        """Whether it happens before anything is read."""
        return self.fault is not None and self.fault.place == "connect"

    @property
    def offers_tool(self) -> bool:
        """Whether the fault shows only where a tool is offered."""
        return _needs_tool(self.fault)

    @property
    def spoils_next(self) -> bool:
        """Whether whoever asks next on the same connection may find what is left of it."""
        return self.fault is not None and self.fault.kind in _LEFTOVERS

    @property
    def has_help(self) -> bool:
        """Whether another target of the normal order can answer instead."""
        return self.aim == "first" and self.line.retries > 0 and len(self.line.order) > 1

    @property
    def has_spare(self) -> bool:
        """Whether a target is kept for just this failure, and is well."""
        wanted = _SPARED.get(self.fault.kind if self.fault else "")
        return self.aim == "first" and any(
            wanted in part.words.get("on", ()) for part in self.line.parts
        )


def list_scenarios(lines: Sequence[Line], kinds: Sequence[str]) -> list[Scenario]:
    """All scenarios of these public names and kinds of faults, in an order that never changes."""
    made: list[Scenario] = []
    for line in lines:
        aims: tuple[Aim, ...] = ("first", "all") if len(line.parts) > 1 else ("all",)
        calm: list[tuple[Fault | None, bool]] = [(None, False), (None, True)]
        every = [*calm, *list_faults(kinds, with_tools=True)]
        for aim in aims:
            for fault, stream in every:
                if fault is None and aim != aims[0]:
                    continue  # without a fault both are the same
                number = len(made)
                doors = DOORS[:2] if _needs_tool(fault) else DOORS
                door = doors[number % len(doors)]
                made.append(Scenario(number, line, fault, aim, stream, door))
            calls = 2 * line.failures + 2
            if OUTAGE in kinds and calls <= _MOST_CALLS:
                fault = Fault(kind=OUTAGE)
                made.append(Scenario(len(made), line, fault, aim, False, "openai", calls))
    return made


def _needs_tool(fault: Fault | None) -> bool:
    return fault is not None and FAULTS[fault.kind].needs_tools


def list_faults(kinds: Sequence[str], *, with_tools: bool = False) -> Iterator[tuple[Fault, bool]]:
    """Every place of these faults, and whether the answer is streamed.

    Faults that show only where a tool is offered are left out without ``with_tools``.
    """
    for name in kinds:
        kind = FAULTS[name]
        if name == "status" or (kind.needs_tools and not with_tools):
            continue  # the first is each status by itself
        for stream in (False, True):
            if not kind.applies(_TALK, stream=stream):
                continue
            for place in kind.at:
                if name == "hang" and place == "end" and not stream:
                    continue  # nothing is missing, but whoever comes next on the connection waits
                yield Fault(kind=name, at=place, after_chunks=2, delay_s=_DELAY_S), stream
