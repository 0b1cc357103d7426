"""A provider at run time: an address, its key, and the pool of connections to it."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Final, Literal

import msgspec

from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.credential import Signer
from trunkline.providers.gate import Gate
from trunkline.providers.upstream import (
    ConnectFailed,
    Response,
    TlsOptions,
    Upstream,
    parse_base_url,
)
from trunkline.routing.table import Wire

Auth = Literal[
    "api-key", "aws-sigv4", "basic", "bearer", "google-oauth", "none", "x-api-key", "x-goog-api-key"
]
"""How a key is sent: as the header of that name, or by the scheme of that name."""
_HEADS: Final = 1024
_POLL_S: Final = 0.1
_LOADING: Final = 503


class ProviderSpec(msgspec.Struct, frozen=True):
    """Everything the gateway knows of a provider, secrets resolved.

    Args:
        name: as in the configuration; ``local`` for engines.
        wire: the format it speaks.
        base_url: everything before the operation.
        api_key: "" for servers without a key.
        auth: how the key is sent; the two that sign need a signer.
        headers: sent with every request.
        tls: how its certificate is checked.
        proxy: address of an HTTP proxy, if connections go through one.
        start_wait_s: for engines, how long a call waits for one that is starting.
    """

    name: str
    wire: Wire
    base_url: str
    api_key: str = ""
    auth: Auth = "bearer"
    headers: Mapping[str, str] = {}
    tls: TlsOptions = TlsOptions()
    proxy: str | None = None
    start_wait_s: float = 0

    @property
    def own(self) -> bool:
        """An engine that we started."""
        return self.start_wait_s > 0


class Provider:
    """Sends requests of one provider; heads are built once, bodies come from the wire format.

    Args:
        spec: where it is and how it is asked.
        signer: adds a credential to each request, where the scheme needs one.
        gate: which calls pass before they are sent, where not all may run at once.
    """

    def __init__(
        self, spec: ProviderSpec, signer: Signer | None = None, gate: Gate | None = None
    ) -> None:
        self.spec = spec
        self.gate = gate
        self._signer = signer
        origin, self._prefix = parse_base_url(spec.base_url)
        self._upstream = Upstream(origin, tls=spec.tls, proxy=spec.proxy)
        port = "" if origin.port == {"http": 80, "https": 443}[origin.scheme] else f":{origin.port}"
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        lines = [f"host: {host}{port}", "content-type: application/json", "accept: */*"]
        lines += [f"{name}: {value}" for name, value in spec.headers.items()]
        self._lines = "".join(f"{line}\r\n" for line in lines)
        self._credential = _write_credential(spec.auth, spec.api_key)
        self._heads: dict[str, bytes] = {}
        self._is_own = spec.own

    def _head(self, path: str) -> bytes:
        """Request line and headers but a signer's, kept for the next request."""
        if len(self._heads) >= _HEADS:  # paths hold models' names, which clients may choose
            self._heads.clear()
        text = f"POST {self._prefix}{path} HTTP/1.1\r\n{self._lines}{self._credential}"
        head = self._heads[path] = text.encode("latin-1")
        return head

    def send(
        self, path: str, body: bytes, deadlines: Deadlines, caller_key: str = ""
    ) -> Awaitable[Response]:
        """Send one request; returns when the answer's head is there.

        A call for an engine that is (re)starting waits for it, up to ``start_wait_s``.
        ``caller_key`` is sent in place of the provider's own.

        Raises:
            GatewayError: ``upstream_error``, ``upstream_timeout``, or ``overloaded`` for an
                engine that does not come up in time.
        """
        if self._is_own:
            return self._send_when_up(path, body, deadlines)
        if self._signer is not None:
            return self._send_signed(self._signer, path, body, deadlines)
        if caller_key:
            lines = self._lines + _write_credential(self.spec.auth, caller_key)
            head = f"POST {self._prefix}{path} HTTP/1.1\r\n{lines}".encode("latin-1")
            return self._upstream.send(head, body, deadlines)
        return self._upstream.send(self._heads.get(path) or self._head(path), body, deadlines)

    async def _send_signed(
        self, signer: Signer, path: str, body: bytes, deadlines: Deadlines
    ) -> Response:
        lines = signer.sign(f"{self._prefix}{path}", body)
        if lines is None:
            await signer.ready()
            lines = signer.sign(f"{self._prefix}{path}", body)
        if lines is None:
            raise GatewayError(
                "upstream_auth", f"Provider '{self.spec.name}' has no credential at hand."
            )
        return await self._upstream.send(self._head(path) + lines, body, deadlines)

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
        head = f"GET /health HTTP/1.1\r\n{self._lines}{self._credential}".encode("latin-1")
        deadlines = Deadlines(connect_s=1, first_token_s=2, idle_s=2, total_s=3)
        try:
            response = await self._upstream.send(head, b"", deadlines)
            await response.read_all(65536)
        except GatewayError:
            return False
        response.close()
        return response.status == 200

    async def close(self) -> None:
        """Close the idle connections, and stop renewing credentials."""
        if self._signer is not None:
            await self._signer.close()
        await self._upstream.close()


def _write_credential(auth: Auth, key: str) -> str:
    """The header line that carries a key, "" where there is none to carry."""
    if not key or auth in ("none", "aws-sigv4", "google-oauth"):
        return ""
    if auth == "bearer":
        return f"authorization: Bearer {key}\r\n"
    if auth == "basic":  # the key as the user's name, without a password
        return f"authorization: Basic {b64encode(f'{key}:'.encode()).decode()}\r\n"
    return f"{auth}: {key}\r\n"
