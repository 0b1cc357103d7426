"""Two targets behind a hedged model, and what they do about one call."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from api.crossing import MORE, PATH, TALK, Crossing, cross
from api.faulty import FAULTS, talk
from books import read_ledger
from gateway import Door
from scripted import Peer, Request
from trunkline.routing.hedge import LEAST
from trunkline.store.posting import Posting

CONFIG = MORE.replace("first_token_s = 0.4\nidle_s = 0.4", "first_token_s = 5\nidle_s = 5")
PRICES = '[[prices.list]]\nprovider = "{}"\nmodel = "*"\ninput = "1"\noutput = "2"\n'
USUAL_S = 0.1
SOON_S = 0.05
TRIES = 4


class Mark:
    """Something that happens once at one upstream, and that others wait for."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.at_s = 0.0

    def set(self) -> None:
        self.at_s = time.monotonic()
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(10)

    async def seen(self) -> None:
        """As ``wait``, in a script; each has a loop of its own."""
        assert await asyncio.to_thread(self._event.wait, 10)


class Meeting:
    """What both targets do about one call, and when.

    Attributes:
        asked: the second one has the request.
        left: the connection of the one that lost is closed.
        said: the other one has begun to answer.
    """

    def __init__(self) -> None:
        self.asked, self.left, self.said = Mark(), Mark(), Mark()

    async def wait(self, peer: Peer, request: Request) -> bool:
        """Say nothing until the connection is closed."""
        await peer.wait_closed()
        self.left.set()
        return False

    async def wait_second(self, peer: Peer, request: Request) -> bool:
        self.asked.set()
        return await self.wait(peer, request)

    async def say(self, peer: Peer, request: Request) -> bool:
        self.said.set()
        return await talk(peer, request)

    async def say_when_asked(self, peer: Peer, request: Request) -> bool:
        await self.asked.seen()
        return await self.say(peer, request)

    async def fail_when_asked(self, peer: Peer, request: Request) -> bool:
        await self.asked.seen()
        await FAULTS["500"](peer, request)
        self.left.set()
        return True

    async def say_after_failure(self, peer: Peer, request: Request) -> bool:
        self.asked.set()
        await self.left.seen()
        await asyncio.sleep(0.05)  # the gateway shall have heard of it
        return await talk(peer, request)


async def take_usual_time(peer: Peer, request: Request) -> bool:
    await asyncio.sleep(USUAL_S)
    return await talk(peer, request)


async def take_long(peer: Peer, request: Request) -> bool:
    await asyncio.sleep(10 * USUAL_S)
    return await talk(peer, request)


@contextmanager
def hedge(
    tmp_path: Path, door: Door, client: httpx.Client, share: float = 1, more: str = ""
) -> Iterator[Crossing]:
    """A gateway whose model ``both`` is hedged; its second target counts its tokens as well."""
    on = f"\n[models.both.routing]\nhedge_share = {share}\n"
    prices = "".join(PRICES.format(name) for name in ("lab", "other"))
    with cross(tmp_path, door, client, on + prices + more, CONFIG) as at:
        yield at


def warm(at: Crossing, *, stream: bool, **more: Any) -> None:
    """Enough calls to know how long the first target takes: ``USUAL_S`` and a little."""
    at.one.fault = take_usual_time
    with ThreadPoolExecutor(LEAST) as pool:
        answers = [pool.submit(at.ask, stream=stream, **more) for _ in range(LEAST)]
        for each in answers:
            assert each.result().headers["x-trunkline-attempts"] == "1"
    assert at.count() == [LEAST, 0]


def count_outcomes(at: Crossing) -> dict[str, int]:
    lines = re.findall(
        r'trunkline_hedges_total{outcome="(\w+)",.*?} (\d+)', at.look("/metrics").text
    )
    return {name: int(count) for name, count in lines if int(count)}


def read_last(path: Path) -> Posting:
    return read_ledger(path)[-1]


def list_attempts(posting: Posting) -> list[tuple[str, str, str]]:
    return [(each.target, each.status, each.code) for each in posting.attempts]


def leave(at: Crossing, *, stream: bool, after: Mark, account: str = "account_id") -> float:
    """Ask, go when the mark is set, and say when that was."""
    body = json.dumps({"model": "both", "messages": TALK, "stream": stream}).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {at.gateway.headers['x-api-key']}\r\n"
        f"x-selected-account-id: {account}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", at.gateway.port), timeout=20) as client:
        client.sendall(head.encode() + body)
        after.wait()
        return time.monotonic()
