"""Clients that ask as planned, stay or leave, and remember what they got."""

import asyncio
import json
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from ledger.fate import PATHS, Plan
from ledger.served import PIECE, Stage

Got = Literal["complete", "error", "broken", "left", "nothing"]
"""A whole answer; an honest failure; a cut; the client's own leaving; or no word at all."""
_MARK: Final = PIECE.encode()
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)")
_CALL_ID: Final = re.compile(rb"\r\nx-request-id: (\S+)")


class Outcome(msgspec.Struct):
    """One call as its client saw it; times are seconds on the monotonic clock.

    ``said`` is the body of a failure.
    """

    body_bytes: int
    sent_at_s: float
    ended_at_s: float = 0.0
    got: Got = "nothing"
    status: int = 0
    call_id: str = ""
    pieces: int = 0
    said: bytes = b""


class Caller:
    """One client with a connection that it keeps as long as it can.

    Args:
        find_port: of the gateway for a call.
        keys: by account.
        stages: by a call's number; made where they are missing.
    """

    def __init__(
        self,
        find_port: Callable[[Plan], int],
        keys: dict[str, str],
        stages: Mapping[int, Stage],
    ) -> None:
        self._find_port = find_port
        self._keys = keys
        self._stages = stages
        self._port = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(self, plan: Plan) -> Outcome:
        """Ask once; waits for a gateway that is down, but never asks twice."""
        reader, writer = await self._connect(self._find_port(plan))
        stage, body = self._stages[plan.number], write_body(plan)
        outcome = Outcome(len(body), time.monotonic())
        try:
            writer.write(write_head(plan, self._keys[plan.account], len(body)) + body)
            if plan.leaving == "early":
                await self._leave_early(stage, plan, outcome)
            else:
                await self._read(reader, stage, plan, outcome)
        except (ConnectionError, asyncio.IncompleteReadError):
            outcome.got = "broken" if outcome.status else "nothing"
        outcome.ended_at_s = time.monotonic()
        if outcome.got not in {"complete", "error"}:
            self.close(rude=plan.rude)
        stage.gone.set()
        return outcome

    def close(self, *, rude: bool = False) -> None:
        """Leave, with RST if ``rude``."""
        if self._writer is not None:
            if rude and not self._writer.is_closing():
                sock = self._writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
            self._writer = self._reader = None

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port != self._port or (self._reader is not None and self._reader.at_eof()):
            self.close()
        self._port = port
        while self._reader is None or self._writer is None:
            try:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)  # it is being started
        return self._reader, self._writer

    async def _leave_early(self, stage: Stage, plan: Plan, outcome: Outcome) -> None:
        """Go as soon as the upstream has the request; a gateway may die before that."""
        reader = self._reader
        assert reader is not None
        waits = (asyncio.create_task(stage.asked.wait()), asyncio.create_task(reader.read(1)))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        outcome.got = "left" if stage.asked.is_set() else "nothing"

    async def _read(
        self, reader: asyncio.StreamReader, stage: Stage, plan: Plan, outcome: Outcome
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        outcome.status = int(head[9:12])
        found = _CALL_ID.search(head)
        assert found is not None, head
        outcome.call_id = found[1].decode()
        length = _LENGTH.search(head)
        if length is not None:
            body = await reader.readexactly(int(length[1]))
            outcome.got = "complete" if outcome.status == 200 else "error"
            outcome.said = b"" if outcome.status == 200 else body
            return
        leaves_at = plan.at if plan.leaving in {"there", "anywhere"} else 0
        while size := int(await reader.readuntil(b"\r\n"), 16):
            outcome.pieces += (await reader.readexactly(size + 2)).count(_MARK)
            stage.hear(outcome.pieces)
            if leaves_at and outcome.pieces >= leaves_at:
                outcome.got = "left"
                return
        await reader.readexactly(2)
        outcome.got = "complete"


def write_head(plan: Plan, key: str, size: int) -> bytes:
    lines = [
        f"POST {PATHS[plan.door]} HTTP/1.1",
        "host: x",
        f"x-api-key: {key}",
        f"content-length: {size}",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def write_body(plan: Plan) -> bytes:
    prompt = "Say it. " + "x" * plan.padding
    asked: dict[str, Any] = {"model": plan.model, "stream": plan.stream}
    if plan.door == "sgp":
        parameters = {"max_tokens": plan.max_tokens, "temperature": 0.5}
        return json.dumps({**asked, "prompt": prompt, "model_parameters": parameters}).encode()
    asked |= {"messages": [{"role": "user", "content": prompt}], "max_tokens": plan.max_tokens}
    if plan.copies > 1:
        asked["n"] = plan.copies
    if plan.stream and plan.number % 2:
        asked["stream_options"] = {"include_usage": True}
    return json.dumps(asked).encode()


def may_be_held(plan: Plan, outcome: Outcome) -> tuple[int, int]:
    """What is reserved for a call: micro-dollars and tokens, by the rule of budgets.

    A token of input is a byte at least, and costs a micro-dollar; one of output costs two.
    """
    output = plan.max_tokens * plan.copies
    heard = outcome.body_bytes * plan.copies
    return heard + 2 * output, heard + output
