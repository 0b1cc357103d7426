"""What the tests of the fetcher share: a small world to fetch in, and what they expect of it."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from scripted import Script, ScriptedServer, answering
from trunkline.errors import GatewayError
from trunkline.providers.fetch import Fetched, Fetcher

PNG = b"\x89PNG\r\n\x1a\n and so on"
IMAGE = {"content-type": "image/png"}
PUBLIC = "93.184.215.14"
CANARY = "canary-7f3a"


class Net(asyncio.SelectorEventLoop):
    """A loop in a small world: its own names, its own routes to addresses, its own clock.

    ``names`` holds the answers to each look-up of a name, one after the other; what they do not
    hold is unknown, unless it is an address itself. No address is reached without a route.
    """

    def __init__(self) -> None:
        self.ahead_s = 0.0
        super().__init__()
        self.names: dict[str, list[list[str]]] = {}
        self.routes: dict[tuple[str, int], int] = {}
        self.connected: list[tuple[str, int]] = []

    def time(self) -> float:
        return super().time() + self.ahead_s

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:
        answers = self.names[host].pop(0) if host in self.names else [host]
        found: list[Any] = []
        for text in answers:
            found += socket.getaddrinfo(
                text, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        return found

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self.connected.append(address[:2])
        if address not in self.routes:
            raise OSError(errno.ENETUNREACH, "no route")
        await super().sock_connect(sock, ("127.0.0.1", self.routes[address]))


def run(work: Callable[[Net], Awaitable[None]]) -> None:
    """Run a test in a world of its own."""

    async def begin() -> None:
        net = asyncio.get_running_loop()
        assert isinstance(net, Net)
        await work(net)

    with asyncio.Runner(loop_factory=Net) as runner:
        runner.run(begin())


async def fetch(server: ScriptedServer, path: str = "/a.png", **options: Any) -> Fetched:
    """Fetch from a server that the operator allows."""
    fetcher = Fetcher(allow=frozenset({f"{server.host}:{server.port}"}), **options)
    return await fetcher.fetch(server.url + path)


async def expect_refusal(fetching: Awaitable[Fetched], *words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await fetching
    error = caught.value
    assert (error.code, error.status, error.param) == ("invalid_request", 400, "messages")
    for word in words:
        assert word in error.message
    assert CANARY not in error.message


def redirecting(location: str, status: int = 302) -> Script:
    return answering(b"", status, {"location": location})


class StillTransport(asyncio.Transport):
    """A transport without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted
