"""AWS event streams: splits an upstream's bytes into checked messages, and writes messages.

Layout and checksums from "Event stream encoding" (docs.aws.amazon.com/lexv2/latest/dg/
event-stream-encoding.html), numbers of the value types from the AWS Common Runtime
(awslabs.github.io/aws-crt-python/api/eventstream.html), both read 2026-11-22. All numbers are
big-endian; both checksums are CRC-32 as in gzip.
"""

import struct
import zlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec

from trunkline.errors import GatewayError

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
MESSAGE_LIMIT_BYTES: Final = 16 * 1024 * 1024

_PRELUDE: Final = struct.Struct(">III")
"""Size of the whole message, size of its headers, checksum of these two."""
_CHECKSUM: Final = struct.Struct(">I")
_OVERHEAD_BYTES: Final = _PRELUDE.size + _CHECKSUM.size
_LENGTH: Final = struct.Struct(">H")

_TRUE: Final = 0
_FALSE: Final = 1
_BYTES: Final = 6
_TEXT: Final = 7
_UUID: Final = 9
_INTEGERS: Final = {
    2: struct.Struct(">b"),
    3: struct.Struct(">h"),
    4: struct.Struct(">i"),
    5: struct.Struct(">q"),
    8: struct.Struct(">q"),  # a time, in milliseconds since 1970
}


class Message(msgspec.Struct, frozen=True):
    """One message of a stream: its headers as text, and its payload as it came.

    Headers that are no text are written as text: ``true`` or ``false``, decimal numbers (times
    in milliseconds since 1970), bytes in base64, a UUID in its usual form.
    """

    headers: dict[str, str]
    payload: bytes


class EventStreamReader:
    """Splits bytes, chunked anywhere, into messages whose checksums hold.

    ``rest`` is the part of a message that waits for its other part.
    """

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Messages that ``data`` completes.

        Those that came whole before a broken one are returned; the next call raises.

        Raises:
            GatewayError: ``upstream_error`` when the framing is broken or a message is larger
                than ``MESSAGE_LIMIT_BYTES``; from then on at every call.
        """
        rest = self.rest
        rest += data
        messages: list[Message] = []
        start = 0
        try:
            while (end := _find_end(rest, start)) is not None and end <= len(rest):
                messages.append(_read_message(rest, start, end))
                start = end
        except GatewayError:
            if not messages:
                raise
        del rest[:start]
        return messages

    def close(self) -> None:
        """Check that the stream ended where a message did.

        Raises:
            GatewayError: ``upstream_error`` when it was cut, or what is left is broken.
        """
        if self.rest:
            self.feed(b"")
            raise GatewayError("upstream_error", "The upstream's event stream was cut.")


def write_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message with text headers.

    Raises:
        ValueError: a name has no byte or more than 255, a value more than 65,535.
    """
    pieces = []
    for name, value in headers.items():
        name_bytes, value_bytes = name.encode(), value.encode()
        if not 0 < len(name_bytes) <= 0xFF or len(value_bytes) > 0xFFFF:
            raise ValueError(f"the header {name[:40]!r} does not fit into an event stream")
        pieces.append(bytes([len(name_bytes)]) + name_bytes)
        pieces.append(bytes([_TEXT]) + _LENGTH.pack(len(value_bytes)) + value_bytes)
    block = b"".join(pieces)
    sizes = struct.pack(">II", len(block) + len(payload) + _OVERHEAD_BYTES, len(block))
    message = sizes + _CHECKSUM.pack(zlib.crc32(sizes)) + block + payload
    return message + _CHECKSUM.pack(zlib.crc32(message))


def _find_end(data: bytearray, start: int) -> int | None:
    """Where the message that begins at ``start`` ends; None while its sizes are not all there."""
    if len(data) - start < _PRELUDE.size:
        return None
    size, headers_size, checksum = _PRELUDE.unpack_from(data, start)
    if zlib.crc32(data[start : start + 8]) != checksum:
        raise _broken("the checksum of a message's sizes does not hold")
    if size > MESSAGE_LIMIT_BYTES:
        raise GatewayError("upstream_error", "The upstream sent an event of over 16 MiB.")
    if headers_size + _OVERHEAD_BYTES > size:
        raise _broken("a message's sizes contradict each other")
    return start + int(size)


def _read_message(data: bytearray, start: int, end: int) -> Message:
    place = end - _CHECKSUM.size
    (checksum,) = _CHECKSUM.unpack_from(data, place)
    _, headers_size, _ = _PRELUDE.unpack_from(data, start)
    with memoryview(data) as view:
        if zlib.crc32(view[start:place]) != checksum:
            raise _broken("a message's checksum does not hold")
        split = start + _PRELUDE.size + headers_size
        headers = bytes(view[start + _PRELUDE.size : split])
        payload = bytes(view[split:place])
    return Message(_read_headers(headers), payload)


def _read_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(block):
            split = at + 1 + block[at]
            name = block[at + 1 : split].decode()
            if not name or name in headers:
                raise _broken("a header has no name, or comes twice")
            headers[name], at = _read_value(block, split)
    except (IndexError, ValueError, struct.error):
        raise _broken("a message's headers cannot be read") from None
    if at != len(block):
        raise _broken("a header is longer than its message says")
    return headers


def _read_value(block: bytes, at: int) -> tuple[str, int]:
    """A value as text, and where it ends; ``at`` is the place of its type."""
    kind = block[at]
    at += 1
    if kind in (_TEXT, _BYTES):
        (length,) = _LENGTH.unpack_from(block, at)
        at += _LENGTH.size
        value = block[at : at + length]
        text = value.decode() if kind == _TEXT else b64encode(value).decode()
        return text, at + length
    if kind in (_TRUE, _FALSE):
        return ("true" if kind == _TRUE else "false"), at
    if kind == _UUID:
        return str(UUID(bytes=block[at : at + 16])), at + 16
    if kind in _INTEGERS:
        shape = _INTEGERS[kind]
        return str(shape.unpack_from(block, at)[0]), at + shape.size
    raise _broken(f"a header is of the unknown type {kind}")


def _broken(what: str) -> GatewayError:
    return GatewayError("upstream_error", f"The upstream's event stream is broken: {what}.")
