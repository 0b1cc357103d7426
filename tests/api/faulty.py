"""An upstream that fails as it is told, from one request to the next.

tap = Tap()
with run_upstream(tap.play) as upstream: ...
    tap.fault = FAULTS["500"]
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

from gateway import PIECES, write_answer, write_frames
from scripted import Peer, Request

Fault = Callable[[Peer, Request], Awaitable[bool]]
"""Fails a request; returns whether the connection lives on."""


class Tap:
    """Answers as a model would while ``fault`` is None.

    Attributes:
        fault: what becomes of the next requests.
        hits: requests so far.
        gate: while it is cleared, requests wait.
    """

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.hits = 0
        self.gate: asyncio.Event | None = None

    async def play(self, peer: Peer) -> None:
        """The script."""
        lives = True
        while lives:
            request = await peer.request()
            self.hits += 1
            fault = self.fault
            if self.gate is not None:
                await self.gate.wait()
            lives = await (fault or talk)(peer, request)


async def talk(peer: Peer, request: Request) -> bool:
    asked = json.loads(request.body)
    if asked.get("stream"):
        await peer.begin_sse()
        await peer.frames(write_frames(request, asked, PIECES))
        await peer.end_chunked()
    else:
        await peer.answer(json.dumps(write_answer(request, asked, PIECES)).encode())
    return True


def say(status: int, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Fault:
    """Give a whole answer of that status."""

    async def fail(peer: Peer, request: Request) -> bool:
        await peer.answer(body, status, headers)
        return True

    return fail


def refuse(code: str) -> Fault:
    """Refuse the request with a code."""
    return say(400, json.dumps({"error": {"message": "canary", "code": code}}).encode())


async def hang(peer: Peer, request: Request) -> bool:
    await peer.wait_closed()
    return False


async def cut(peer: Peer, request: Request) -> bool:
    peer.cut()
    return False


async def reset(peer: Peer, request: Request) -> bool:
    peer.reset()
    return False


async def cut_body(peer: Peer, request: Request) -> bool:
    await peer.begin_chunked(headers={"content-type": "application/json"})
    await peer.chunk(b'{"id": "chatcmpl-up", "choices": [')
    return False


async def end_early(peer: Peer, request: Request) -> bool:
    """A stream that ends properly before any content; a whole answer of no bytes."""
    if json.loads(request.body).get("stream"):
        await peer.begin_sse()
        await peer.frames(list(write_frames(request, json.loads(request.body), ()))[:1])
        await peer.end_chunked()
    else:
        await peer.answer(b"")
    return True


async def stall_early(peer: Peer, request: Request) -> bool:
    """Begins to answer and then says nothing more."""
    await peer.begin_sse()
    await peer.frames(list(write_frames(request, json.loads(request.body), ()))[:1])
    await peer.wait_closed()
    return False


async def cut_late(peer: Peer, request: Request) -> bool:
    """Cuts the stream after the first content."""
    await peer.begin_sse()
    await peer.frames(list(write_frames(request, json.loads(request.body), PIECES))[:2])
    return False


FAULTS: dict[str, Fault] = {
    "408": say(408),
    "500": say(500, b'{"error": {"message": "canary"}}'),
    "502": say(502, b"<html>canary</html>"),
    "503": say(503),
    "504": say(504),
    "529": say(529),
    "malformed": say(200, b'{"choices": [canary'),
    "html": say(200, b"<html>canary</html>", {"content-type": "text/html"}),
    "error-inside": say(200, b'{"error": {"message": "canary", "code": 500}}'),
    "cut": cut,
    "reset": reset,
    "cut-body": cut_body,
    "ends-early": end_early,
    "stalls-early": stall_early,
    "hangs": hang,
}
