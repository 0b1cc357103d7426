"""The forward proxy on the way to an upstream: which one, and what it must be told.

Environment names as curl reads them (curl.se/docs/manpage.html, ENVIRONMENT, read 2026-11-21).
"""

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import msgspec

from trunkline.providers.origin import Origin, join_host_port


class Proxy(msgspec.Struct, frozen=True):
    """A forward proxy: its address, and the value of ``proxy-authorization`` if it wants one."""

    host: str
    port: int
    authorization: str = ""

    def __str__(self) -> str:
        return f"http://{join_host_port(self.host, self.port)}"

    @property
    def credential_line(self) -> bytes:
        """The ``proxy-authorization`` header line, or nothing."""
        if not self.authorization:
            return b""
        return b"proxy-authorization: " + self.authorization.encode() + b"\r\n"


def parse_proxy(text: str) -> Proxy:
    """Read ``http://[user:password@]host[:port]``; the scheme may be left out.

    Raises:
        ValueError: says what is wrong, without the text itself, which may hold a password.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the proxy must be written http://host:port") from None
    if parts.scheme != "http":
        raise ValueError(f"a proxy is reached by http://, not {parts.scheme}://")
    if not host or any(c <= " " for c in host):
        raise ValueError("the proxy must be written http://host:port")
    if parts.username is None:
        return Proxy(host, port or 80)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(host, port or 80, "Basic " + b64encode(pair.encode()).decode())


def find_proxy(origin: Origin, variables: Mapping[str, str]) -> str | None:
    """Find the proxy that the environment sets for an origin; None means connect directly.

    Loopback is never proxied: engines live there. Lower-case names win over upper-case ones.
    """

    def get(name: str) -> str:
        return variables.get(name) or variables.get(name.upper()) or ""

    proxy = get(f"{origin.scheme}_proxy") or get("all_proxy")
    if not proxy or _is_loopback(origin.host):
        return None
    if any(_is_exempt(origin, entry.strip()) for entry in get("no_proxy").split(",")):
        return None
    return proxy


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_exempt(origin: Origin, entry: str) -> bool:
    """Whether one ``NO_PROXY`` entry covers the origin: ``*``, host, suffix, network, with port."""
    if entry in ("", "*"):
        return entry == "*"
    try:
        return ipaddress.ip_address(origin.host) in ipaddress.ip_network(entry.strip("[]"), False)
    except ValueError:
        pass  # a name on one side or the other: compare as text
    host, _, port = entry.lower().rpartition(":")
    if not port.isdecimal() or not host:
        host, port = entry.lower(), ""
    if port and int(port) != origin.port:
        return False
    name = host.strip("[]").lstrip(".")
    return origin.host == name or origin.host.endswith(f".{name}")
