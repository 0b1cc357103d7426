"""An answer on its way: its body, piece by piece or whole, and what can go wrong with it."""

import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.connection import BODY, DONE, WAITING, Connection
from trunkline.providers.inflate import Inflater
from trunkline.providers.origin import Origin
from trunkline.providers.sink import Sink, Take, TakeChunk

if TYPE_CHECKING:
    from trunkline.providers.gate import Place


class Response(msgspec.Struct, eq=False):
    """An answer whose status and headers have come; its user must call ``close`` in the end.

    Args:
        status: the final status, 200 to 599.
        fields: the headers as they came.
        origin: where it comes from.
        connection: brings it.
        deadlines: of the request.
        first_at: when its first content must be there (loop time).
        total_at: when its end must be there (loop time).
        release: takes the connection back.
        place: what the call has to leave when the answer is closed, if it came in by a gate.
    """

    status: int
    _fields: Mapping[bytes, bytes]
    _origin: Origin
    _connection: Connection | None
    _deadlines: Deadlines
    _first_at: float
    _total_at: float
    _release: Callable[[Connection], None]
    place: "Place | None" = None
    _headers: dict[bytes, bytes] | None = None

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers by lower-case name; of one that came twice, the last value."""
        if self._headers is None:
            self._headers = {name.lower(): value for name, value in self._fields.items()}
        return self._headers

    async def read(self) -> bytes:
        """Return the body bytes that came since the last call, or wait for some.

        Returns:
            ``b""`` when the body has reached its end, and from then on.

        Raises:
            GatewayError: ``upstream_error`` if the body is cut before its end,
                ``upstream_timeout`` when ``idle_s`` or ``total_s`` have passed.
        """
        connection = self._connection
        if connection is None:
            raise RuntimeError("this answer is closed")
        while connection.phase == BODY:
            now = connection.loop.time()
            if now > self._total_at:
                connection.expire(self._total_at)
            elif connection.chunks:
                break
            self._raise_failure(connection)
            try:
                await connection.wait(min(now + self._deadlines.idle_s, self._total_at))
            except BaseException:
                connection.abort()
                raise
        return connection.take()

    async def pump(
        self,
        take: Take,
        take_chunk: TakeChunk | None = None,
        progress: Callable[[], int] | None = None,
    ) -> bool:
        """Give the body to ``take``, piece by piece, inside the callback that brings it.

        A piece that comes as one whole chunk is offered to ``take_chunk`` first. ``progress``
        counts the content that came, see ``Sink``; with it, ``first_token_s`` bounds the wait for
        the first of it, and ``idle_s`` those for more.

        Returns:
            True when ``take`` did: its reader must be waited for before the next call.
            False when the body has reached its end.

        Raises:
            GatewayError: as ``read``; and whatever ``take`` raises.
        """
        connection = self._connection
        if connection is None:
            raise RuntimeError("this answer is closed")
        if connection.chunks and take(connection.take()):
            return True
        sink = Sink(take, take_chunk, self._deadlines.idle_s, self._total_at)
        sink.progress, sink.first_at = progress, self._first_at
        connection.sink, connection.heard_at = sink, connection.loop.time()
        try:
            while connection.phase == BODY and not sink.is_full and sink.error is None:
                self._raise_failure(connection, sink)
                heard_at = connection.heard_at
                await connection.wait(sink.find_deadline(heard_at, heard_at))
        except BaseException:
            connection.abort()
            raise
        finally:
            connection.sink = None
        if sink.error is not None:
            raise sink.error
        return sink.is_full

    def take_whole(self) -> bytes | None:
        """The whole body if it came with the head, as short answers do; else None."""
        connection = self._connection
        if connection is None or connection.phase != DONE or not connection.chunks:
            return None
        return connection.take()

    async def read_all(self, limit_bytes: int) -> bytes:
        """Return the rest of the body.

        Raises:
            GatewayError: as ``read``, and ``upstream_error`` for more than ``limit_bytes``.
        """
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > limit_bytes:
                raise self._refuse(f"sent an answer of more than {limit_bytes} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Give the connection back if the answer has ended, else close it at once."""
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        if self.place is not None:
            self.place.leave()
        if connection.phase == DONE and connection.is_reusable:
            self._release(connection)
        else:
            connection.abort()

    def _raise_failure(self, connection: Connection, sink: Sink | None = None) -> None:
        if connection.failure is not None:
            is_mute = sink is not None and sink.is_mute
            raise explain(
                self._origin, connection, self._deadlines, self._total_at, is_mute=is_mute
            )

    def _refuse(self, what: str) -> GatewayError:
        """Close the connection and describe why the answer cannot be used."""
        if self._connection is not None:
            self._connection.abort()
        return GatewayError("upstream_error", f"{self._origin} {what}")


class InflatedResponse(Response):
    """An answer that is compressed though nobody asked for that; it reads as plain bytes."""

    _inflater: Inflater = msgspec.field(default_factory=Inflater)

    def __post_init__(self) -> None:
        coding = self.headers[b"content-encoding"].strip().lower()
        if coding not in (b"gzip", b"x-gzip", b"deflate"):
            raise self._refuse("compressed its answer in a way that was not asked for")

    async def read(self) -> bytes:
        """Read as ``Response.read``; what cannot be inflated is an ``upstream_error`` too."""
        inflater = self._inflater
        try:
            while True:
                data = b"" if inflater.is_pending else await super().read()
                if not data and not inflater.is_pending:
                    if not inflater.is_complete:
                        raise self._refuse("ended its compressed answer before its end")
                    return b""
                plain = inflater.inflate(data)
                if plain:
                    return plain
        except zlib.error:
            raise self._refuse("sent an answer that is not compressed as it says") from None

    async def pump(
        self,
        take: Take,
        _take_chunk: TakeChunk | None = None,
        progress: Callable[[], int] | None = None,
    ) -> bool:
        """Give the inflated body to ``take``, as ``Response.pump`` does; no chunk is a piece.

        Signs of life are seen through before the first content only.
        """
        while plain := await self.read():
            if take(plain):
                return True
            if progress is not None and not progress():
                self._check_first()
        return False

    def take_whole(self) -> None:
        """What is compressed has to be read."""

    def _check_first(self) -> None:
        """Fail where nothing but signs of life has come for too long."""
        connection = self._connection
        if connection is not None and connection.loop.time() > self._first_at:
            connection.expire(self._first_at)
            raise explain(self._origin, connection, self._deadlines, self._total_at, is_mute=True)


def choose_reading(fields: Mapping[bytes, bytes]) -> type[Response]:
    """Choose how an answer with a content-encoding header is read."""
    codings = (value for name, value in fields.items() if name.lower() == b"content-encoding")
    is_plain = all(coding.strip().lower() in (b"", b"identity") for coding in codings)
    return Response if is_plain else InflatedResponse


def explain(
    origin: Origin,
    connection: Connection,
    deadlines: Deadlines,
    total_at: float,
    *,
    is_mute: bool = False,
) -> GatewayError:
    """Turn a connection's failure into the error that a client may see.

    ``is_mute``: the answer has begun, but its content has not.
    """
    has_begun = connection.phase != WAITING
    failure = connection.failure
    if failure == "timeout":
        if connection.deadline >= total_at:
            text = f"did not end its answer within {deadlines.total_s:g} s (total_s)"
        elif is_mute:
            text = f"sent no content within {deadlines.first_token_s:g} s (first_token_s)"
        elif has_begun:
            text = f"sent nothing more for {deadlines.idle_s:g} s (idle_s)"
        else:
            text = f"did not begin to answer within {deadlines.first_token_s:g} s (first_token_s)"
        return GatewayError("upstream_timeout", f"{origin} {text}")
    if failure == "malformed":
        text = "sent what is not an HTTP/1.1 answer"
    elif failure == "oversized":
        text = "sent an answer head or trailer that is too large"
    elif has_begun:
        text = "closed the connection before the end of its answer"
    else:
        text = "closed the connection without an answer"
    return GatewayError("upstream_error", f"{origin} {text}")
