"""How a connection comes about: addresses raced, a proxy's tunnel, TLS with checked names."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Any, Final, TypeVar

import msgspec

from trunkline.errors import GatewayError
from trunkline.providers.origin import Origin, join_host_port
from trunkline.providers.proxy import Proxy

Address = tuple[int, Any]
"""An address family and the socket address in it."""
Check = Callable[[Sequence[str]], None]
"""Looks at the IP addresses of a name, as text."""
ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)

_NEXT_ADDRESS_S: Final = 0.25
"""Wait before the next address is tried beside the first (RFC 8305 section 8)."""
_MAX_TUNNEL_HEAD_BYTES: Final = 16 << 10


class ConnectFailed(GatewayError):  # noqa: N818 - says what happened, as relay reads it
    """No connection came about, so the upstream has seen nothing of the request."""


class TlsOptions(msgspec.Struct, frozen=True):
    """Whom TLS trusts and who it says we are: paths of PEM files.

    ``ca_file`` replaces the system's authorities; ``key_file`` may be left out where
    ``cert_file`` holds the key too.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True


def build_context(tls: TlsOptions) -> ssl.SSLContext:
    """Build the TLS context of a client.

    Raises:
        ValueError: a file cannot be read or is no PEM; says which.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise ValueError(f"ca_file {tls.ca_file} cannot be used: {_reason(error)}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        except OSError as error:
            files = " with key_file ".join(filter(None, (tls.cert_file, tls.key_file)))
            raise ValueError(f"cert_file {files} cannot be used: {_reason(error)}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Opens connections to one origin, directly or through a proxy.

    Args:
        origin: scheme, host and port.
        context: for TLS; None for plain http.
        proxy: the way to the origin, if not direct.
        check: is shown all addresses of a name before any of them is connected to, and raises
            ``ConnectFailed`` to refuse them. The name is not looked up again after that.
    """

    __slots__ = ("_check", "_context", "_origin", "_proxy")

    def __init__(
        self,
        origin: Origin,
        context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        check: Check | None = None,
    ) -> None:
        self._check = check
        self._origin = origin
        self._context = context
        self._proxy = proxy

    async def open(self, make: Callable[[], ProtocolT], within_s: float) -> ProtocolT:
        """Connect, and return the protocol that ``make`` built for the new transport.

        Raises:
            ConnectFailed: ``upstream_timeout`` after ``within_s`` seconds, else
                ``upstream_error``; says which step failed and why.
        """
        try:
            async with asyncio.timeout(within_s):
                return await self._open(make)
        except TimeoutError:
            message = f"{self._way()} did not accept a connection within {within_s:g} s"
            raise ConnectFailed("upstream_timeout", message) from None
        except (OSError, UnicodeError) as error:
            message = f"{self._way()} cannot be connected to: {_reason(error)}"
            raise ConnectFailed("upstream_error", message) from None

    async def _open(self, make: Callable[[], ProtocolT]) -> ProtocolT:
        loop = asyncio.get_running_loop()
        near: Origin | Proxy = self._proxy or self._origin
        sock = await _open_socket(loop, near.host, near.port, self._check)
        context = self._context
        if self._proxy is not None and context is not None:
            try:
                await _open_tunnel(loop, sock, self._origin, self._proxy)
            except BaseException:
                sock.close()
                raise
        # From here the transport owns the socket and closes it, whatever happens.
        host = self._origin.host if context is not None else None
        _, protocol = await loop.create_connection(
            make, sock=sock, ssl=context, server_hostname=host
        )
        return protocol

    def _way(self) -> str:
        return (
            f"{self._origin} (by way of the proxy {self._proxy})"
            if self._proxy
            else str(self._origin)
        )


def _reason(error: Exception) -> str:
    """Say in a few words why, without addresses of ours or file names of the interpreter."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused, {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed, {(error.reason or 'no reason given').replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return "the connection was cut" if isinstance(error, OSError) else "its name is not valid"


async def _open_socket(
    loop: asyncio.AbstractEventLoop, host: str, port: int, check: Check | None
) -> socket.socket:
    """Resolve a host and race its addresses, families by turns (RFC 8305 section 4)."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if check is not None:
        check([str(info[4][0]) for info in found])
    first = found[0][0]
    same = [(info[0], info[4]) for info in found if info[0] == first]
    other = [(info[0], info[4]) for info in found if info[0] != first]
    turns = chain.from_iterable(zip_longest(same, other))
    return await _race_addresses(loop, [address for address in turns if address is not None])


async def _race_addresses(
    loop: asyncio.AbstractEventLoop, addresses: Sequence[Address]
) -> socket.socket:
    """Connect to whichever address answers first; the next one starts when one fails or lags."""
    if len(addresses) == 1:
        return await _connect(loop, addresses[0])
    waiting = list(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    try:
        while waiting or running:
            if waiting:
                running.add(loop.create_task(_connect(loop, waiting.pop(0))))
            done, _ = await asyncio.wait(
                running,
                timeout=_NEXT_ADDRESS_S if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                running.discard(task)
                failure = task.exception()
                if failure is None:
                    running.update(done - {task})
                    return task.result()
                failures.append(failure)
    finally:
        for task in running:
            task.add_done_callback(_discard)
            task.cancel()
    raise failures[-1]


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that came in after the first, or take note of its failure."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    family, target = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A model may think for minutes: keep the path open through address translators.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await loop.sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


async def _open_tunnel(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, origin: Origin, proxy: Proxy
) -> None:
    """Ask a proxy for a tunnel (RFC 9110 section 9.3.6), on the bare socket, before TLS.

    Raises:
        ConnectFailed: the proxy refused, or answered something else.
    """
    target = join_host_port(origin.host, origin.port).encode()
    line = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n" % (target, target)
    await loop.sock_sendall(sock, line + proxy.credential_line + b"\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _MAX_TUNNEL_HEAD_BYTES:
        piece = await loop.sock_recv(sock, 4096)
        if not piece:
            break
        answer += piece
    version, _, rest = answer.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise ConnectFailed("upstream_error", f"the proxy {proxy} does not speak HTTP/1.1")
    if rest[:1] != b"2":
        raise ConnectFailed(
            "upstream_error",
            f"the proxy {proxy} refused the way to {origin} with status {rest[:3].decode()}",
        )
    if not answer.endswith(b"\r\n\r\n"):
        # TLS servers wait for the client: bytes here come from no one we can trust.
        raise ConnectFailed("upstream_error", f"the proxy {proxy} sent more than an answer")
