"""The cases of the matrix: every fault, in every dialect, streamed or not, at every place."""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from trunkline.call import Deadlines
from trunkline.chaos.heard import DOORS
from trunkline.chaos.rehearsal import Line, Part
from trunkline.chaos.scenario import Scenario, list_faults
from trunkline.mock import FAULTS, Fault

Upstream = Literal["openai", "anthropic", "gemini", "bedrock"]
UPSTREAMS: Final[tuple[Upstream, ...]] = ("openai", "anthropic", "gemini", "bedrock")
Client = Literal["raw", "v4", "v5", "openai"]
"""Bytes over a socket; ``scale-gp``; ``scale-gp-beta``; and ``openai``."""
CLIENTS: Final[tuple[Client, ...]] = ("raw", "v4", "v5", "openai")
WAITS: Final = Deadlines(connect_s=2, first_token_s=4, idle_s=4, total_s=9)
"""Far more than an answer takes on a busy machine: else a fault is told as a late answer."""


class Case(msgspec.Struct, frozen=True):
    """One fault at one place of one upstream's answer."""

    number: int
    upstream: Upstream
    fault: Fault
    stream: bool

    @property
    def id(self) -> str:
        """What pytest shows."""
        shape = "stream" if self.stream else "whole"
        return f"{self.upstream}-{shape}-{self.fault.kind}-{self.fault.place}"

    def name_provider(self, client: Client) -> str:
        """Whose connections it uses: a copy where they are no others' any more."""
        if self.fault.place == "connect":
            return f"{self.upstream}-{self.fault.kind}"
        if self.fault.kind in {"short_length", "trailing_garbage"}:
            return self.name_model(client)
        return self.upstream

    def name_model(self, client: Client) -> str:
        """At the upstream: a name of its own, so that a circuit is."""
        return f"{self.upstream}-{self.number}-{client}"

    def name_public(self, client: Client) -> str:
        """At the gateway."""
        return f"{self.name_provider(client)}/{self.name_model(client)}"

    @property
    def scenario(self) -> Scenario:
        """The same for the judge of ``trunkline chaos``."""
        part = Part(self.name_provider("raw"), self.name_model("raw"))
        line = Line(self.name_public("raw"), (part,), {}, WAITS, 0)
        door = DOORS[self.number % len(DOORS)]
        return Scenario(self.number, line, self.fault, "all", self.stream, door)


def list_cases() -> Iterator[Case]:
    """All of them, numbered within their upstream."""
    for upstream in UPSTREAMS:
        for number, (fault, stream) in enumerate(list_faults(list(FAULTS))):
            yield Case(number, upstream, fault, stream)
