"""A server that issues credentials: a metadata service or a token endpoint."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.upstream import TlsOptions, Upstream, find_proxy, parse_base_url

NEAR: Final = Deadlines(connect_s=1, first_token_s=4, idle_s=4, total_s=5)
"""For services on the machine itself: who is not there at once is not there."""
FAR: Final = Deadlines(connect_s=5, first_token_s=10, idle_s=10, total_s=20)
"""For token endpoints on the internet."""
_ANSWER_LIMIT_BYTES: Final = 256 << 10
_SENDABLE: Final = re.compile(r"[\x20-\x7e]*")


class Issuer:
    """One such server; asked seldom, answers briefly.

    Args:
        url: of the server, or of the thing that it is asked for; may have a query.
        deadlines: ``NEAR`` or ``FAR``.
        tls: trust and identity; the system's authorities where None.
        variables: names a proxy as the environment does; none is used where None.

    Attributes:
        origin: scheme, host and port, for messages.
        target: path and query of ``url``.

    Raises:
        ValueError: the URL, a TLS file or the proxy's address cannot be used.
    """

    def __init__(
        self,
        url: str,
        deadlines: Deadlines,
        *,
        tls: TlsOptions | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        root, self.target = _split(url)
        self.origin, _ = parse_base_url(root)
        self._deadlines = deadlines
        proxy = find_proxy(self.origin, variables) if variables else None
        # The next question comes in minutes or hours: no connection is kept for it.
        self._upstream = Upstream(self.origin, tls=tls, proxy=proxy, max_idle=0)

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, bytes]:
        """Send one request; return the status and the whole answer.

        Raises:
            GatewayError: as ``Upstream.send``; ``upstream_auth`` when a header, which may come
                from a file or from another server, cannot be sent.
        """
        lines = [f"{method} {target} HTTP/1.1", f"host: {self.origin.authority}"]
        for name, value in {"accept": "application/json", **headers}.items():
            if not _SENDABLE.fullmatch(value):
                message = f"the header {name} for {self.origin} holds what no header may"
                raise GatewayError("upstream_auth", message)
            lines.append(f"{name}: {value}")
        head = "".join(f"{line}\r\n" for line in lines).encode("ascii")
        response = await self._upstream.send(head, body, self._deadlines)
        try:
            return response.status, await response.read_all(_ANSWER_LIMIT_BYTES)
        finally:
            response.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"this is not a URL: {error}") from None
    query = f"?{parts.query}" if parts.query else ""
    target = f"{parts.path or '/'}{query}"
    if not re.fullmatch(r"[\x21-\x7e]+", target):
        raise ValueError("the URL holds a blank, a control or a non-ASCII character")
    return f"{parts.scheme}://{parts.netloc}", target
