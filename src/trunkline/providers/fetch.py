"""Fetches a file that a client names by URL, from public addresses only, within fixed limits.

The URL is a stranger's, so it must not become a way into the network that the gateway stands in.
A name is looked up once; each of its addresses must be public; the connection goes to one of
them; a redirect is a new URL and is held to the same rules.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import quote, urljoin

import msgspec

from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.dial import ConnectFailed, Dialer, TlsOptions, build_context
from trunkline.providers.origin import Origin, join_host_port, split_url
from trunkline.providers.response import Response
from trunkline.providers.upstream import Upstream

_MAX_URL_CHARACTERS: Final = 8192
_PORTS: Final = (80, 443)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_HOST: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f.]*:[0-9a-f:.]*"
)
"""A host name without an end dot, or an IPv6 address without a zone."""

_MAGIC: Final[dict[str, Callable[[bytes], bool]]] = {
    "application/pdf": lambda data: data.startswith(b"%PDF-"),
    "image/gif": lambda data: data.startswith((b"GIF87a", b"GIF89a")),
    "image/jpeg": lambda data: data.startswith(b"\xff\xd8\xff"),
    "image/png": lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"),
    "image/webp": lambda data: data.startswith(b"RIFF") and data[8:14] == b"WEBPVP",
}
"""How a file of each type begins (mimesniff.spec.whatwg.org, sections 6.1 and 7.1, read
2026-11-22)."""

_GLOBAL_UNICAST: Final = ip_network("2000::/3")
_NAT64: Final = ip_network("64:ff9b::/96")
_NOT_PUBLIC: Final = tuple(
    map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20"))
)
"""Global as far as ``ipaddress`` knows, but for no public host: protocol assignments, relays of
6to4, documentation (the IANA special-purpose address registries), and the address at which Azure
serves each machine its own settings (learn.microsoft.com, "What is IP address 168.63.129.16?");
all read 2026-11-22."""


class Fetched(msgspec.Struct, frozen=True):
    """A file that came whole, and the type that both its server and its first bytes give it."""

    media_type: str
    data: bytes


class _Unfit(Exception):  # noqa: N818 - a reason, in words for the client
    """Why a file is not fetched."""


class Fetcher:
    """Fetches files by URL; no proxy, no cookie and no credential ever goes with the request.

    Args:
        limit_bytes: the largest file, counted after decompression.
        total_s: how long, in seconds, all of it may take, redirects included.
        most_redirects: how many are followed.
        media_types: what a file may be.
        allow: places, each as ``host:port`` stands in a URL, that may be fetched from although
            their address is not public or their port is neither 80 nor 443.

    Raises:
        ValueError: a media type whose first bytes are not known, so that it cannot be checked.
    """

    def __init__(
        self,
        *,
        limit_bytes: int = 20 << 20,
        total_s: float = 15,
        most_redirects: int = 3,
        media_types: frozenset[str] = frozenset(_MAGIC),
        allow: frozenset[str] = frozenset(),
    ) -> None:
        if unknown := media_types - _MAGIC.keys():
            raise ValueError(f"files of {', '.join(sorted(unknown))} cannot be told from others")
        self._limit_bytes = limit_bytes
        self._total_s = total_s
        self._most_redirects = most_redirects
        self._media_types = media_types
        self._allow = frozenset(place.lower() for place in allow)
        # One for all: building it reads the system's authorities.
        self._context = build_context(TlsOptions())
        self._lines = (
            f"accept: {', '.join(sorted(media_types))}\r\n"
            "accept-encoding: identity\r\nuser-agent: trunkline\r\nconnection: close\r\n"
        )

    async def fetch(self, url: str) -> Fetched:
        """Fetch the file at a URL.

        Raises:
            GatewayError: ``invalid_request`` for whatever keeps the file from being taken; names
                the host, never the path or the query, which may be secret.
        """
        try:
            return await self._follow(url)
        except _Unfit as reason:
            message = f"A file of this request cannot be fetched: {reason}."
            raise GatewayError("invalid_request", message, param="messages") from None

    async def _follow(self, url: str) -> Fetched:
        end = asyncio.get_running_loop().time() + self._total_s
        place = _write_ascii(url)
        origin, target = self._read_url(place)
        for _ in range(self._most_redirects + 1):
            try:
                found = await self._ask(origin, target, end)
            except GatewayError as error:
                if error.code == "upstream_timeout":
                    raise _Unfit(f"{origin} did not send it within {self._total_s:g} s") from None
                raise _Unfit(error.message) from None
            if isinstance(found, Fetched):
                return found
            place = _join(origin, place, found)
            origin, target = self._read_url(place)
        raise _Unfit(
            f"it is behind more than {self._most_redirects} redirects, to {origin} at last"
        )

    def _read_url(self, url: str) -> tuple[Origin, str]:
        """Read where a URL leads and what to ask for there, if it may be asked."""
        try:
            origin, parts = split_url(url)
        except ValueError as error:
            raise _Unfit(str(error)) from None
        if "@" in parts.netloc:
            raise _Unfit("the URL must not hold a user name or password")
        if not _HOST.fullmatch(origin.host):
            raise _Unfit("the URL names a host that cannot be looked up (write xn-- for Unicode)")
        if origin.port not in _PORTS and not self._is_allowed(origin):
            raise _Unfit(f"{origin} is not at port 80 or 443")
        return origin, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def _is_allowed(self, origin: Origin) -> bool:
        return join_host_port(origin.host, origin.port) in self._allow

    async def _ask(self, origin: Origin, target: str, end: float) -> Fetched | bytes:
        """Send one request; return the file, or where the answer redirects to."""

        def check(addresses: Sequence[str]) -> None:
            if not all(map(is_public, addresses)):
                message = f"{origin} is not at a public address"
                raise ConnectFailed("upstream_error", message)

        context = self._context if origin.scheme == "https" else None
        dialer = Dialer(origin, context, check=None if self._is_allowed(origin) else check)
        head = f"GET {target} HTTP/1.1\r\nhost: {origin.authority}\r\n{self._lines}"
        left_s = end - asyncio.get_running_loop().time()
        deadlines = Deadlines(left_s, left_s, left_s, left_s)
        upstream = Upstream(origin, max_idle=0, dialer=dialer)
        response = await upstream.send(head.encode("ascii"), b"", deadlines)
        try:
            if response.status in _REDIRECTS:
                return response.headers.get(b"location", b"")
            return await self._take(origin, response)
        finally:
            response.close()

    async def _take(self, origin: Origin, response: Response) -> Fetched:
        """Read the file, and be sure that it is what its server says."""
        if response.status != 200:
            raise _Unfit(f"{origin} answered with status {response.status}")
        kind = response.headers.get(b"content-type", b"").decode("latin-1")
        media_type = kind.partition(";")[0].strip().lower()
        if media_type not in self._media_types:
            wanted = ", ".join(sorted(self._media_types))
            raise _Unfit(f"{origin} sent something else than {wanted}")
        length = response.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limit_bytes:
            raise _Unfit(f"{origin} sent a file of more than {self._limit_bytes} bytes")
        data = await response.read_all(self._limit_bytes)
        if not _MAGIC[media_type](data):
            raise _Unfit(f"{origin} sent a file that is not of the type {media_type}")
        return Fetched(media_type, data)


def is_public(address: str) -> bool:
    """Whether an IP address is one that any host of the Internet may have.

    An IPv4 address inside an IPv6 address counts as itself: mapped (RFC 4291 section 2.5.5.2),
    behind a translator (RFC 6052 section 2.1) and 6to4 (RFC 3056 section 2). Teredo's prefix is
    not globally reachable at all, and what lies outside of 2000::/3 is not assigned.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        carried = _find_carried(found)
        if carried is None and found not in _GLOBAL_UNICAST:
            return False
        found = carried or found
    return (
        found.is_global
        and not found.is_multicast
        and not any(found in network for network in _NOT_PUBLIC)
    )


def _find_carried(address: IPv6Address) -> IPv4Address | None:
    """Find the IPv4 address that packets to an IPv6 address are really for."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _write_ascii(url: str | bytes) -> str:
    """Percent-encode what may not stand in a request line; ends nothing, hides nothing."""
    if len(url) > _MAX_URL_CHARACTERS:
        raise _Unfit(f"its URL is longer than {_MAX_URL_CHARACTERS} characters")
    try:
        return quote(url, safe=_PRINTABLE)
    except UnicodeEncodeError:
        raise _Unfit("its URL is not valid Unicode") from None


def _join(origin: Origin, url: str, location: bytes) -> str:
    """Resolve the target of a redirect (RFC 9110 section 10.2.2)."""
    if not location:
        raise _Unfit(f"{origin} redirects without saying where")
    try:
        return urljoin(url, _write_ascii(location))
    except ValueError:
        raise _Unfit(f"{origin} redirects to what is not a URL") from None
