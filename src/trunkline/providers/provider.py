"""A provider at run time: an address, its key, and the pool of connections to it."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, Literal

import msgspec

from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.upstream import (
    ConnectFailed,
    Response,
    TlsOptions,
    Upstream,
    parse_base_url,
)
from trunkline.routing.table import Wire

_POLL_S: Final = 0.1
_LOADING: Final = 503


class ProviderSpec(msgspec.Struct, frozen=True):
    """Everything the gateway knows of a provider, secrets resolved.

    Args:
        name: as in the configuration; ``local`` for engines.
        wire: the format it speaks.
        base_url: everything before the operation.
        api_key: "" for servers without a key.
        tls: how its certificate is checked.
        proxy: address of an HTTP proxy, if connections go through one.
        start_wait_s: for engines, how long a call waits for one that is starting.
    """

    name: str
    wire: Wire
    base_url: str
    api_key: str = ""
    auth: Literal["bearer", "none"] = "bearer"
    tls: TlsOptions = TlsOptions()
    proxy: str | None = None
    start_wait_s: float = 0

    @property
    def own(self) -> bool:
        """An engine that we started."""
        return self.start_wait_s > 0


class Provider:
    """Sends requests of one provider; heads are built once, bodies come from the wire format."""

    def __init__(self, spec: ProviderSpec) -> None:
        self.spec = spec
        origin, self._prefix = parse_base_url(spec.base_url)
        self._upstream = Upstream(origin, tls=spec.tls, proxy=spec.proxy)
        port = "" if origin.port == {"http": 80, "https": 443}[origin.scheme] else f":{origin.port}"
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        lines = [f"host: {host}{port}", "content-type: application/json", "accept: */*"]
        if spec.api_key and spec.auth == "bearer":
            lines.append(f"authorization: Bearer {spec.api_key}")
        self._lines = "".join(f"{line}\r\n" for line in lines)
        self._heads: dict[str, bytes] = {}

    def _head(self, path: str) -> bytes:
        head = self._heads.get(path)
        if head is None:
            text = f"POST {self._prefix}{path} HTTP/1.1\r\n{self._lines}"
            head = self._heads[path] = text.encode("latin-1")
        return head

    def send(self, path: str, body: bytes, deadlines: Deadlines) -> Awaitable[Response]:
        """Send one request; returns when the answer's head is there.

        A call for an engine that is (re)starting waits for it, up to ``start_wait_s``.

        Raises:
            GatewayError: ``upstream_error``, ``upstream_timeout``, or ``overloaded`` for an
                engine that does not come up in time.
        """
        if self.spec.own:
            return self._send_when_up(path, body, deadlines)
        return self._upstream.send(self._head(path), body, deadlines)

    async def _send_when_up(self, path: str, body: bytes, deadlines: Deadlines) -> Response:
        """Send to an engine, again and again while it is away or still loads its model (503)."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + self.spec.start_wait_s
        while loop.time() < give_up_s:
            with suppress(ConnectFailed):
                response = await self._upstream.send(self._head(path), body, deadlines)
                if response.status != _LOADING:
                    return response
                response.close()
            await asyncio.sleep(_POLL_S)
        raise GatewayError(
            "overloaded", f"Engine '{self.spec.name}' is not running.", retry_after_s=5
        )

    async def probe(self) -> bool:
        """Whether an engine of ours answers its health route."""
        head = f"GET /health HTTP/1.1\r\n{self._lines}".encode("latin-1")
        deadlines = Deadlines(connect_s=1, first_token_s=2, idle_s=2, total_s=3)
        try:
            response = await self._upstream.send(head, b"", deadlines)
            await response.read_all(65536)
        except GatewayError:
            return False
        response.close()
        return response.status == 200

    async def close(self) -> None:
        """Close the idle connections."""
        await self._upstream.close()
