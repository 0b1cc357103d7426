"""The conversation with one Redis or Valkey server: scripts go out and are answered in order.

One connection a process, which only its own task ever touches: whoever asks for a script may
leave at any time without an answer being taken for another's. What is asked for while an answer
is under way goes out together. Needs redis-py (the extra ``redis``).
"""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError

from trunkline.limits.wait import is_done_soon

Argument = str | int
Reply = list[int]

_BATCH: Final = 200
_FOLDER: Final = Path(__file__).parent
_STOPPING: Final = "the gateway is stopping"


class LinkError(Exception):
    """The server did not run a script, or nobody knows whether it did."""


class Script(msgspec.Struct, frozen=True):
    """A Lua script that the server runs as one step; ``sha`` is the name it gives it."""

    text: str
    sha: str


def load_script(name: str) -> Script:
    """The script of this name that stands beside this module."""
    data = (_FOLDER / f"{name}.lua").read_bytes()
    return Script(data.decode(), hashlib.sha1(data, usedforsecurity=False).hexdigest())


class _Order(msgspec.Struct, frozen=True):
    """A script to be run, and who waits for its answer."""

    script: Script
    words: tuple[Argument, ...]
    future: "asyncio.Future[Reply]"


class Link:
    """Runs scripts on one server; connects when there is one to run, and again after a failure.

    Args:
        url: as ``check_url`` lets it pass.
        answer_s: how long an answer may take, a new connection included.
    """

    def __init__(self, url: str, answer_s: float) -> None:
        pool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,  # one limit for everything is set here
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
        )
        # Only for the one connection: to borrow it anew for each script would cost more than that.
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._answer_s = answer_s
        self._orders: list[_Order] = []
        self._worker: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: Sequence[str], words: Sequence[Argument]) -> Reply:
        """Run a script on keys; what is run earlier is done earlier.

        Raises:
            LinkError: it failed, or was not answered in time. It may have been run.
        """
        future = asyncio.get_running_loop().create_future()
        self._orders.append(_Order(script, (len(keys), *keys, *words), future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        reply: Reply = await future
        return reply

    async def close(self) -> None:
        """Let go of the connection; what is under way fails."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait((self._worker,))
        self._fail(self._orders, _STOPPING)
        await self._connection.disconnect(nowait=True)

    async def _work(self) -> None:
        while self._orders:
            batch, self._orders = self._orders[:_BATCH], self._orders[_BATCH:]
            try:
                replies = await self._exchange_soon(batch)
            except asyncio.CancelledError:
                self._fail(batch, _STOPPING)
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, nobody may wait for ever
                # Whoever came meanwhile would wait for the same failure.
                waiting, self._orders = self._orders, []
                self._fail(batch + waiting, str(error) or f"no answer within {self._answer_s:g} s")
                await self._connection.disconnect(nowait=True)
                continue
            for order, reply in zip(batch, replies, strict=True):
                if isinstance(reply, ResponseError):
                    self._fail([order], str(reply))
                elif not order.future.done():
                    order.future.set_result(reply)

    async def _exchange_soon(self, batch: list[_Order]) -> list[Reply | ResponseError]:
        """As ``_exchange``, in time, or not at all."""
        exchange = asyncio.create_task(self._exchange(batch))
        try:
            if await is_done_soon(exchange, self._answer_s):
                return exchange.result()
        finally:
            if not exchange.done():
                exchange.cancel()
                await asyncio.wait((exchange,))
        raise TimeoutError

    async def _exchange(self, batch: list[_Order]) -> list[Reply | ResponseError]:
        """One answer an order; a server that does not know a script yet is told it."""
        connection = self._connection
        # A server that was restarted has closed it; nobody need notice.
        if connection.is_connected and await connection.can_read():
            await connection.disconnect(nowait=True)
        replies = await self._ask([("EVALSHA", each.script.sha, *each.words) for each in batch])
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = await self._ask(
                [("EVAL", batch[at].script.text, *batch[at].words) for at in unknown]
            )
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        return replies

    async def _ask(self, commands: list[tuple[Argument, ...]]) -> list[Reply | ResponseError]:
        connection = self._connection
        await connection.connect()
        await connection.send_packed_command(connection.pack_commands(commands))
        replies: list[Reply | ResponseError] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies

    def _fail(self, orders: list[_Order], reason: str) -> None:
        for order in orders:
            if not order.future.done():
                order.future.set_exception(LinkError(reason))
