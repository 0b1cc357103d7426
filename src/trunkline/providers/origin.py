"""Where an upstream is: scheme, host and port, read from a URL."""

import re
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")
"""What may not stand in a URL that becomes part of a request head: blanks, controls, non-ASCII."""


class Origin(msgspec.Struct, frozen=True):
    """The place that a pool of connections leads to; an IPv6 host stands without brackets."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{join_host_port(self.host, self.port)}"

    @property
    def authority(self) -> str:
        """The value of the ``host`` header: the port only where it is not the scheme's own."""
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return f"[{self.host}]" if ":" in self.host else self.host
        return join_host_port(self.host, self.port)


def join_host_port(host: str, port: int) -> str:
    """Write ``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_url(url: str) -> tuple[Origin, SplitResult]:
    """Split an http or https URL into its origin and its parts.

    Raises:
        ValueError: says what is wrong with the URL; it never repeats user information, path
            or query, which may be secret.
    """
    if _UNSAFE.search(url):
        raise ValueError("the URL holds a blank, a control or a non-ASCII character")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text repeats a part that may be a misplaced password
        raise ValueError("this is not a URL: its host or its port cannot be read") from None
    scheme = parts.scheme
    if scheme not in ("http", "https"):
        raise ValueError("the URL must begin with http:// or https://")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    if port == 0:
        raise ValueError("port 0 cannot be connected to")
    origin = Origin("https" if scheme == "https" else "http", parts.hostname, port or 0)
    if port is None:
        origin = msgspec.structs.replace(origin, port=_DEFAULT_PORTS[scheme])
    return origin, parts


def parse_base_url(url: str) -> tuple[Origin, str]:
    """Split a base URL into its origin and the path before every operation, without end slash.

    Raises:
        ValueError: as ``split_url``; also for what a base URL must not hold.
    """
    origin, parts = split_url(url)
    if "@" in parts.netloc:
        raise ValueError("the URL must not hold a user name or password: give the key as api_key")
    if "?" in url or "#" in url:
        raise ValueError("the URL must end with its path: no ?query and no #fragment")
    return origin, parts.path.rstrip("/")
