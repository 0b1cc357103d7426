"""One HTTP request and its answer, as the inference routes see it, whatever server carries it."""

from collections.abc import Mapping
from typing import Protocol

from trunkline.wishes import Wishes

Headers = list[tuple[bytes, bytes]]


def write_head(headers: Headers) -> bytes:
    """Header lines, each ended by CR LF: what ``Exchange`` takes as ``head``."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def read_head(head: bytes) -> Headers:
    """The headers of header lines; the opposite of ``write_head``."""
    headers: Headers = []
    for line in head.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        headers.append((name, value))
    return headers


def cut_chunk(chunk: bytes) -> bytes:
    """The data of a whole chunk of HTTP/1.1."""
    return chunk[chunk.index(b"\n") + 1 : -2]


class Exchange(Protocol):
    """A request that is answered whole, or streamed and then ended or cut.

    Both doors (the direct protocol and the ASGI adapter) implement it; handlers know nothing
    else of HTTP. When the client leaves, the task that runs the handler is cancelled.
    """

    method: str
    headers: Mapping[bytes, bytes]
    """Header values by lower-case name; the last of several wins."""
    wishes: Wishes
    """What the headers ask of the gateway."""
    started: bool
    """Status and headers are decided."""
    gone: bool
    """The client has left; whatever is written is dropped."""
    idle_s: float
    """How long the client may take nothing of what it is sent; then it counts as gone."""

    @property
    def paused(self) -> bool:
        """The client reads slower than we write: await ``drain`` before more."""

    def take_body(self, limit_bytes: int) -> bytes | None:
        """The body if all of it is here and within the limit; else it must be read."""

    async def read_body(self, limit_bytes: int) -> bytes:
        """The whole body; raises ``request_too_large`` past ``limit_bytes``."""

    def answer(self, status: int, head: bytes, body: bytes) -> None:
        """Send a complete answer; ``head`` is header lines, the length is added."""

    def start(self, status: int, head: bytes) -> None:
        """Decide status and headers of a streamed answer; they leave with the first write."""

    def write(self, data: bytes) -> bool:
        """Send a piece of the body, not empty; never waits. Returns ``paused``."""

    def write_chunk(self, chunk: bytes) -> bool:
        """As ``write``, for a piece that is framed as one chunk of HTTP/1.1 already."""

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written, or is gone."""

    def end(self, last: bytes = b"") -> None:
        """Send the last piece, if any, and end the body properly."""

    def cut(self) -> None:
        """Flush, then drop the connection without the end mark, so that no client believes it."""
