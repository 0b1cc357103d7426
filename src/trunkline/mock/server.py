"""The mock's server: it listens, answers, and remembers what it has served."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import msgspec

from trunkline.errors import GatewayError
from trunkline.mock.asking import read_asked
from trunkline.mock.behaviour import Asked, Behaviour, Dialect, Plan, Planned, Served, honest
from trunkline.mock.connection import Connection, Request
from trunkline.mock.control import CONTROL, answer_control
from trunkline.mock.fault import read_fault
from trunkline.mock.part import Part
from trunkline.mock.score import Score, fit_fault, write_refusal, write_score

ROOTS: Final[dict[Dialect, str]] = {
    "openai": "/v1",
    "anthropic": "/v1",
    "gemini": "/v1beta",
    "bedrock": "",
    "cohere": "/v2",
    "llm-engine": "",
}
"""The path of each dialect's ``base_url``."""
BY_NAME: Final = "fault:"
"""A model whose name begins so asks for the fault that the rest of its name says."""
KEPT: Final = 100_000
_BACKLOG: Final = 1024


class MockServer:
    """An upstream in every dialect, on one port.

    Attributes:
        plan: what is done about each request; may be replaced at any time.
        served: what was served, in the order in which the requests came; the oldest half is
            forgotten when there are ``kept`` of them.
        port: where it listens.
        on_end: called with each request when it has ended.
    """

    def __init__(
        self,
        plan: Planned | None = None,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        seed: int = 0,
        pace_s: float = 0,
        kept: int = KEPT,
    ) -> None:
        self.plan: Planned = plan or honest()
        self.served: list[Served] = []
        self.port = port
        self.host = host
        self.seed = seed
        self.pace_s = pace_s
        self._kept = kept
        self.on_end: Callable[[Served], None] | None = None
        self._connections: dict[Connection, Served | None] = {}
        self._met = 0
        self._asked = 0

    def base_url(self, dialect: Dialect) -> str:
        """What a configuration names as ``base_url`` of a provider with this dialect."""
        return f"http://{self.host}:{self.port}{ROOTS[dialect]}"

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(
            lambda: Connection(self), self.host, self.port, backlog=_BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        tasks = [each.task for each in self._connections if each.task is not None]
        for connection in [*self._connections]:
            connection.is_ending = True
            connection.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    # What a connection calls; see ``Player``.

    def meet(self, connection: Connection) -> None:
        """See ``Player``."""
        self._met += 1
        self._connections[connection] = None
        plan = self.plan
        fault = plan.on_accept(self._met) if isinstance(plan, Plan) else None
        if fault is None:
            return
        served = self._begin(Served(number=self._met, fault=fault.kind, at="connect", cut=True))
        if fault.kind == "reset":
            connection.reset()
        else:
            connection.close()
        self._end(served)

    def answer(self, connection: Connection, request: Request) -> None:
        """See ``Player``."""
        if request.target.startswith(CONTROL):
            connection.write(answer_control(self, request, connection.host))
            connection.end_answer()
            return
        self._asked += 1
        served, score = self._decide(request)
        self._connections[connection] = self._begin(served)
        if len(score.parts) == 1 and not score.parts[0].then:
            part = score.parts[0]
            self._note(served, score, part)
            self._end(served, completed=True)  # first, so that no client knows more than we
            connection.write(part.data)
            connection.end_answer()
            return
        connection.task = self._loop.create_task(self._play(connection, score, served))

    def leave(self, connection: Connection) -> None:
        """See ``Player``."""
        served = self._connections.pop(connection, None)
        if served is not None and not served.has_ended:
            if not connection.is_ending:
                served.client_left_at = time.monotonic()
            self._end(served)
        if connection.task is not None:
            connection.task.cancel()

    # What happens to one request.

    def _decide(self, request: Request) -> tuple[Served, Score]:
        """The answer to a request, and its record."""
        asked = None
        try:
            asked = read_asked(self._asked, *request)
            if asked is None:
                unknown = "This path is of no dialect that the mock speaks."
                return self._refuse(request), write_refusal(None, 404, unknown)
            behaviour = self.plan(asked)
            if behaviour.fault is None and asked.model.startswith(BY_NAME):
                fault = read_fault(asked.model.removeprefix(BY_NAME))
                behaviour = msgspec.structs.replace(behaviour, fault=fault)
        except GatewayError as error:
            return self._refuse(request), write_refusal(asked, 400, error.message)
        behaviour = fit_fault(asked, behaviour)
        score = write_score(asked, behaviour, self.seed, self.pace_s)
        return _open_record(asked, behaviour), score

    def _refuse(self, request: Request) -> Served:
        return Served(number=self._asked, path=request.target)

    async def _play(self, connection: Connection, score: Score, served: Served) -> None:
        for part in score.parts:
            if part.wait_s:
                await asyncio.sleep(part.wait_s)
            self._note(served, score, part)
            served.completed = part is score.parts[-1] and not part.then
            await self._send(connection, part.data, is_bytewise=score.is_bytewise)
            if part.then == "hang":
                await self._loop.create_future()  # until the client leaves
            elif part.then in ("cut", "reset"):
                served.cut = True
                self._end(served)
                if part.then == "reset":
                    # What was written shall be sent before it: the socket takes it in a turn.
                    await asyncio.sleep(0)
                    connection.reset()
                else:
                    connection.close()
                return
        self._end(served, completed=True)
        connection.end_answer()

    async def _send(self, connection: Connection, data: bytes, *, is_bytewise: bool) -> None:
        if not is_bytewise:
            connection.write(data)
            with suppress(ConnectionResetError):  # whoever is told of it cancels this task
                await connection.drain()
            return
        for place in range(len(data)):
            connection.write(data[place : place + 1])
            await asyncio.sleep(0)

    def _note(self, served: Served, score: Score, part: Part) -> None:
        served.status = score.status
        served.text += part.text
        if part.mark == "finish":
            served.finish = score.finish
        if part.usage:
            served.input_tokens, served.output_tokens = part.usage

    def _begin(self, served: Served) -> Served:
        if len(self.served) >= self._kept:
            del self.served[: self._kept // 2]
        served.began_at = time.monotonic()
        self.served.append(served)
        return served

    def _end(self, served: Served, *, completed: bool = False) -> None:
        served.completed = completed
        served.has_ended = True
        served.ended_at = time.monotonic()
        if self.on_end is not None:
            self.on_end(served)


def _open_record(asked: Asked, behaviour: Behaviour) -> Served:
    fault = behaviour.fault
    return Served(
        number=asked.number,
        dialect=asked.dialect,
        operation=asked.operation,
        path=asked.path,
        model=asked.model,
        stream=asked.stream,
        fault=fault.kind if fault else "",
        at=fault.place if fault else "",
    )
