"""Mock upstreams in a process of their own: one that fails in every way, and one that is well.

Prints their ports as JSON and serves until it is stopped; on SIGUSR1 the first one is healed.
"""

import argparse
import asyncio
import json
import random
import signal

import uvloop

from trunkline.errors import KINDS
from trunkline.mock import FAULTS, Asked, Behaviour, Fault, MockServer, Plan

ASIDE = {"status_429", "status_429_bare", "status_503"}
"""Faults that ask to be left alone for a while."""
TEXT = "Everything is said in one go, and nothing is left out of it."
SIZE_WORDS = 4000


def list_faults(*, before_content: bool, aside: bool) -> dict[bool, list[Fault]]:
    """Faults at every place, for whole answers and for streams.

    With ``before_content`` only those of which another target can help: they show before the
    first content, and are no fault of the request itself. Without ``aside`` no fault keeps the
    gateway away by itself.
    """
    helpable = {code for code, kind in KINDS.items() if kind.retryable}
    found: dict[bool, list[Fault]] = {False: [], True: []}
    for name, kind in FAULTS.items():
        if name in ASIDE and not aside:
            continue
        for stream, faults in found.items():
            if kind.needs_tools or not kind.applies("chat", stream=stream):
                continue
            for place in kind.at:
                early = kind.expect(place, stream=stream) == "error before content"
                if place != "connect" and (
                    not before_content or (early and helpable.issuperset(kind.codes))
                ):
                    faults.append(Fault(kind=name, at=place, after_chunks=2))
    return found


class Lab:
    """Decides what goes wrong: the same for the same seed and number of a request."""

    def __init__(self, share: float, seed: int, faults: dict[bool, list[Fault]]) -> None:
        self.share = share
        self._seed = seed
        self._faults = faults

    def plan(self) -> Plan:
        """Faults for a share of requests and, where all fail, of connections as well."""
        return Plan(self._decide, self._accept)

    def _decide(self, asked: Asked) -> Behaviour:
        chance = random.Random(f"{self._seed}/{asked.number}")
        fault = None
        if chance.random() < self.share:
            fault = chance.choice(self._faults[asked.stream])
        if "long" in asked.model:
            return Behaviour(text="word " * SIZE_WORDS, fault=fault)
        return Behaviour(text=TEXT, fault=fault)

    def _accept(self, number: int) -> Fault | None:
        chance = random.Random(f"{self._seed}/connection/{number}")
        if chance.random() >= self.share / 10:
            return None
        return Fault(kind=chance.choice(["cut", "reset"]), at="connect")


async def forget(mocks: list[MockServer]) -> None:
    """Forget what was served: nobody here asks, and a soak would fill the memory."""
    while True:
        await asyncio.sleep(5)
        for mock in mocks:
            mock.served.clear()


async def serve(arguments: argparse.Namespace) -> None:
    faults = list_faults(before_content=arguments.before_content, aside=arguments.aside)
    lab = Lab(arguments.share, arguments.seed, faults)
    first = MockServer(lab.plan(), seed=arguments.seed, pace_s=arguments.pace_s)
    second = MockServer(Plan(_behave_well), seed=arguments.seed, pace_s=arguments.pace_s)

    def heal() -> None:
        lab.share = 0

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heal)
    async with first, second:
        print(json.dumps({"first": first.port, "second": second.port}), flush=True)
        await forget([first, second])


def _behave_well(asked: Asked) -> Behaviour:
    return Behaviour(text="word " * SIZE_WORDS if "long" in asked.model else TEXT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace-s", type=float, default=0)
    parser.add_argument("--before-content", action="store_true")
    parser.add_argument("--no-aside", dest="aside", action="store_false")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
