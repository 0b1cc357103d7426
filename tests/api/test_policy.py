"""Policies through a whole gateway: by weight, by speed, and each conversation at one target."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.crossing import MORE, Crossing, cross
from api.faulty import FAULTS, talk
from gateway import Door
from scripted import Peer, Request

SLOW_S = 0.05


def find_targets(at: Crossing, bodies: list[dict[str, Any]]) -> list[str]:
    """Who answers each of the requests."""
    return [at.ask("both", **body).headers["x-trunkline-target"] for body in bodies]


def converse(number: int, turns: int = 1) -> dict[str, Any]:
    first = {"role": "user", "content": f"Conversation {number}"}
    later = [{"role": "assistant", "content": "Go on"}, {"role": "user", "content": "More"}]
    return {"messages": [{"role": "system", "content": "Be kind"}, first, *later * (turns - 1)]}


async def talk_slowly(peer: Peer, request: Request) -> bool:
    await asyncio.sleep(SLOW_S)
    return await talk(peer, request)


@pytest.mark.parametrize("door", ["direct"])
def test_weights_are_shares(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    config = MORE.replace('model = "one" }}, {{', 'model = "one", weight = 4 }}, {{')
    with cross(tmp_path, door, client, '\n[routing]\npolicy = "weighted"\n', config) as at:
        for _ in range(300):
            assert at.ask().headers["x-trunkline-attempts"] == "1"
        # 240 and 60 are expected; six times the standard deviation is 42.
        assert 198 < at.one.hits < 282
        assert sum(at.count()) == 300


@pytest.mark.parametrize("door", ["direct"])
def test_the_faster_target_is_preferred(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    with cross(tmp_path, door, client, '\n[models.both.routing]\npolicy = "latency"\n') as at:
        at.one.fault = talk_slowly
        for _ in range(60):
            assert at.ask().headers["x-trunkline-attempts"] == "1"
        assert at.one.hits < 10
        debug = at.ask(headers={"x-trunkline-debug": "true"}).headers["x-trunkline-route"]
        found = re.fullmatch(
            r"policy=latency; other/two=closed,\d+ms; lab/one=closed,(\d+)ms", debug
        )
        assert found, debug
        assert int(found[1]) >= SLOW_S * 1000


@pytest.mark.parametrize("policy", ["weighted", "latency"])
def test_a_conversation_stays_at_its_target(
    tmp_path: Path, door: Door, client: httpx.Client, policy: str
) -> None:
    more = f'\n[routing]\npolicy = "{policy}"\nsticky = true\n[routing.circuit]\nfailures = 1\n'
    with cross(tmp_path, door, client, more) as at:
        before = find_targets(at, [converse(number) for number in range(30)])
        assert min(Counter(before).values()) >= 5
        assert len(Counter(before)) == 2
        assert find_targets(at, [converse(number, turns=3) for number in range(30)]) == before
        at.two.fault = FAULTS["500"]
        assert set(find_targets(at, [converse(number, turns=4) for number in range(30)])) == {
            "lab/one"
        }
        assert at.two.hits <= 2 * before.count("other/two") + 1
