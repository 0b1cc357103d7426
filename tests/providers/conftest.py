"""Every test of the HTTP client runs on both event loops."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from scripted import ScriptedServer
from trunkline.call import Deadlines
from trunkline.providers.upstream import Origin, Response, Upstream

HEAD = b"POST /v1/x HTTP/1.1\r\nhost: upstream.example\r\ncontent-type: application/json\r\n"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    loops: dict[str, Any] = {
        "asyncio": asyncio.SelectorEventLoop,
        "uvloop": uvloop.new_event_loop,
    }
    return loops


@dataclass
class Client:
    """An upstream under test, with the head and the deadlines that most tests send."""

    upstream: Upstream
    responses: list[Response] = field(default_factory=list)

    async def send(
        self, body: bytes = b"{}", deadlines: Deadlines | None = None, head: bytes = HEAD
    ) -> Response:
        response = await self.upstream.send(head, body, deadlines or Deadlines())
        self.responses.append(response)
        return response

    async def fetch(self, body: bytes = b"{}", deadlines: Deadlines | None = None) -> bytes:
        response = await self.send(body, deadlines)
        try:
            return await response.read_all(1 << 26)
        finally:
            response.close()


@pytest.fixture
async def reach() -> AsyncIterator[Callable[..., Client]]:
    """Makes clients of a scripted server (or of an origin), and closes them after the test."""
    clients: list[Client] = []

    def make(place: ScriptedServer | Origin, **options: Any) -> Client:
        if isinstance(place, ScriptedServer):
            place = Origin("http", place.host, place.port)
        client = Client(Upstream(place, **options))
        clients.append(client)
        return client

    yield make
    for client in clients:
        for response in client.responses:
            response.close()
        await client.upstream.close()
