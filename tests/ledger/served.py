"""An upstream that plays fates, and keeps its own books of what it has told."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ledger.fate import DRAINS, Fate, Plan
from scripted import Peer
from trunkline.ledger.entry import NO_TOKENS, Tokens

PIECE: Final = "tok "
TARGETS: Final = ("lab", "second", "alone")
_ERROR: Final = json.dumps({"error": {"message": "overheated", "type": "server_error"}})
_START: Final = {"id": "chatcmpl-up", "created": 1700000000}


class Serving(msgspec.Struct, eq=False):
    """What the upstream did with one request.

    ``told`` is the usage that it has told, or was about to tell when the connection went;
    ``pieces`` likewise. ``sure``: all that was told has been read, or stands before the end of the
    connection; ``whole``: it was an answer as it should be.
    """

    target: str
    fate: Fate
    told: Tokens | None = None
    pieces: int = 0
    sure: bool = False
    whole: bool = False
    ended_at_s: float = 0.0


class Stage:
    """Where the client and the upstream of one call wait for each other."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()
        self._heard: dict[int, asyncio.Event] = {}
        self._pieces = 0

    def hear(self, pieces: int) -> None:
        """The client has read so many pieces by now."""
        self._pieces = pieces
        for count, event in self._heard.items():
            if count <= pieces:
                event.set()

    def when_heard(self, pieces: int) -> asyncio.Event:
        """Set once the client has read so many."""
        event = self._heard.setdefault(pieces, asyncio.Event())
        if self._pieces >= pieces:
            event.set()
        return event


class Upstream:
    """Serves the calls of plans; ``servings`` and ``stages`` are by a call's number.

    Args:
        find_plan: by the name of the model at the upstream.
    """

    def __init__(self, find_plan: Callable[[str], Plan]) -> None:
        self.servings: dict[int, list[Serving]] = defaultdict(list)
        self.stages: dict[int, Stage] = defaultdict(Stage)
        self._find_plan = find_plan

    async def serve(self, peer: Peer) -> None:
        """A script of one connection."""
        while True:
            request = await peer.request()
            peer.server.requests.clear()
            asked = json.loads(request.body)
            plan = self._find_plan(asked["model"])
            target = request.target.split("/")[1]
            fate = plan.fates[target == "second"]
            serving = Serving(f"{target}/{plan.name}", fate)
            self.servings[plan.number].append(serving)
            try:
                await self._play(peer, plan, serving, asked)
            finally:
                serving.ended_at_s = time.monotonic()
            if peer.writer.is_closing():
                return

    async def _play(self, peer: Peer, plan: Plan, serving: Serving, asked: dict[str, Any]) -> None:
        stage, fate = self.stages[plan.number], serving.fate
        stage.asked.set()
        if plan.leaving == "early":
            await (until(peer, stage.gone) if plan.account == DRAINS else until_closed(peer))
        serving.sure = fate.ending in {"hang_up", "reset", "hush", "refuse"}
        if fate.ending == "hang_up":
            peer.cut()
        elif fate.ending == "reset":
            peer.reset()
        elif fate.ending == "hush":
            await until_closed(peer)
        elif fate.ending == "refuse":
            await peer.answer(_ERROR.encode(), fate.status)
        elif asked.get("stream"):
            # The gateway asks for usage whether the client did or not.
            assert asked["stream_options"] == {"include_usage": True}, asked
            await _Telling(peer, plan, serving, stage).stream()
        else:
            await _answer(peer, serving)


async def until(peer: Peer, event: asyncio.Event) -> None:
    """Wait for an event; raises ``ConnectionError`` if the gateway leaves before."""
    waits = (asyncio.create_task(event.wait()), asyncio.create_task(peer.reader.read(1)))
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for each in waits:
        each.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    if not event.is_set():
        raise ConnectionResetError


async def until_closed(peer: Peer) -> None:
    """Wait until the gateway has left; always raises ``ConnectionError``."""
    await peer.wait_closed()
    raise ConnectionResetError


def find_told(fate: Fate, pieces: int) -> Tokens:
    """The usage of so many pieces."""
    output = fate.count(pieces)
    return Tokens(fate.input, output, cached=fate.cached, reasoning=output // 3)


def write_usage(told: Tokens) -> dict[str, Any]:
    """The same in the provider's words."""
    return {
        "prompt_tokens": told.input,
        "completion_tokens": told.output,
        "total_tokens": told.input + told.output,
        "prompt_tokens_details": {"cached_tokens": told.cached},
        "completion_tokens_details": {"reasoning_tokens": told.reasoning},
    }


class _Telling:
    """A streamed answer on its way."""

    def __init__(self, peer: Peer, plan: Plan, serving: Serving, stage: Stage) -> None:
        self._peer = peer
        self._plan = plan
        self._serving = serving
        self._stage = stage

    async def stream(self) -> None:
        """Play the fate of a stream from its head on."""
        peer, fate, serving = self._peer, self._serving.fate, self._serving
        await peer.begin_sse()
        delta = {"role": "assistant", "content": ""}
        await self._send([_write_frame({"delta": delta, "finish_reason": None}, None)], 0, None)
        await self._tell_pieces(0, fate.at)
        if self._plan.leaving == "there":
            await until(peer, self._stage.when_heard(fate.at))
            if self._plan.account != DRAINS:
                serving.sure = True
                await until_closed(peer)
            await until(peer, self._stage.gone)
        if fate.ending in {"whole", "late_cut"}:
            await self._tell_pieces(fate.at, len(fate.weights))
            await self._tell_end()
        else:
            await self._spoil()
        serving.sure = True
        serving.whole = fate.ending == "whole"

    async def _tell_pieces(self, since: int, until: int) -> None:
        fate = self._serving.fate
        runs = fate.counting == "running"
        frames = [
            _write_frame(
                {"delta": {"content": PIECE}, "finish_reason": None},
                find_told(fate, number) if runs else None,
            )
            for number in range(since + 1, until + 1)
        ]
        await self._send(frames, until, find_told(fate, until) if runs else None)

    async def _tell_end(self) -> None:
        fate = self._serving.fate
        told = None if fate.counting == "never" else find_told(fate, len(fate.weights))
        now = told if fate.counting == "running" else None
        frames = [_write_frame({"delta": {}, "finish_reason": "stop"}, now)]
        if told is not None:
            frames.append(_write_frame(None, told))
        await self._send([*frames, "[DONE]"], len(fate.weights), told)
        if fate.ending == "whole":
            await self._peer.end_chunked()
        else:
            self._peer.cut()

    async def _spoil(self) -> None:
        peer, fate, serving = self._peer, self._serving.fate, self._serving
        if fate.ending in {"snap", "stall"}:
            await until(peer, self._stage.when_heard(fate.at))
            serving.sure = True
            if fate.ending == "stall":
                await until_closed(peer)
            peer.reset()
        elif fate.ending == "cut":
            peer.cut()
        else:
            told = serving.told
            frames = ['{"id": "chatcmpl-up", "choices": [']
            if fate.ending == "confess":
                frames = [_ERROR]
            elif fate.ending == "unfinished":
                told = None if fate.counting == "never" else find_told(fate, fate.at)
                frames = [] if told is None else [_write_frame(None, told)]
                frames.append("[DONE]")
            await self._send(frames, fate.at, told)
            await peer.end_chunked()

    async def _send(self, frames: Sequence[str], pieces: int, told: Tokens | None) -> None:
        """Send frames, after which so much is told; noted first, for the gateway may read it."""
        peer, serving, grain = self._peer, self._serving, self._serving.fate.grain
        serving.pieces, serving.told = pieces, told or serving.told
        if grain == "frames":
            await peer.frames(frames)
            return
        data = b"".join(f"data: {frame}\n\n".encode() for frame in frames)
        size = 37 if grain == "shreds" else len(data) or 1
        for at in range(0, len(data), size):
            await peer.chunk(data[at : at + size])


async def _answer(peer: Peer, serving: Serving) -> None:
    """Play the fate of a whole answer."""
    fate = serving.fate
    told = None if fate.counting == "never" else find_told(fate, len(fate.weights))
    message = {"role": "assistant", "content": PIECE * len(fate.weights)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer: dict[str, Any] = {**_START, "object": "chat.completion", "model": "m"}
    answer["choices"] = [choice]
    if told is not None:
        answer["usage"] = write_usage(told)
    body = json.dumps(answer).encode()
    if fate.ending in {"cut", "snap", "stall", "late_cut"}:
        part = body[:-1] if fate.ending == "late_cut" else body[: len(body) // 2]
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
        await peer.write(head + part)
        serving.sure = True
        if fate.ending == "stall":
            await until_closed(peer)
        elif fate.ending == "snap":
            peer.reset()
        peer.cut()
    elif fate.ending in {"garble", "confess"}:
        serving.sure = True
        await peer.answer(body[:-9] if fate.ending == "garble" else _ERROR.encode())
    else:
        serving.told, serving.pieces = told, len(fate.weights)
        await peer.answer(body)
        serving.sure = serving.whole = True


def _write_frame(choice: dict[str, Any] | None, told: Tokens | None) -> str:
    frame: dict[str, Any] = {**_START, "object": "chat.completion.chunk", "model": "m"}
    frame["choices"] = [] if choice is None else [{"index": 0, **choice}]
    if told is not None:
        frame["usage"] = write_usage(told)
    return json.dumps(frame)


def sum_told(servings: Sequence[Serving]) -> Tokens:
    """All that was told."""
    sums = [0] * len(NO_TOKENS.__struct_fields__)
    for serving in servings:
        for kind, number in enumerate(msgspec.structs.astuple(serving.told or NO_TOKENS)):
            sums[kind] += number
    return Tokens(*sums)
