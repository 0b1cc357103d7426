"""Server-sent events: splits an upstream's bytes into frames and writes frames for clients.

Rules from the WHATWG HTML standard, section "Server-sent events" (read 2026-11-21), and from
what the official clients accept (docs/contract.md, Streams).
"""

import codecs
from typing import Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.wire.failure import write_failure

FRAME_LIMIT_BYTES: Final = 16 * 1024 * 1024
DONE: Final = b"data: [DONE]\n\n"
_BOM: Final = b"\xef\xbb\xbf"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream: its name, if it has one, and its data."""

    data: bytes
    event: bytes = b""


class SseReader:
    """Splits bytes, chunked anywhere, into frames; comments and empty frames are dropped.

    ``rest`` is the half of a frame that waits for its other half.
    """

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that ``data`` completes.

        Raises:
            GatewayError: ``upstream_error`` when a frame outgrows ``FRAME_LIMIT_BYTES``.
        """
        if self.rest:
            data = self.rest + data
        if data.find(b"\r") >= 0:
            # A CR at the very end may be half of a CRLF: it waits for the next bytes.
            held = data.endswith(b"\r")
            body = data[:-1] if held else data
            data = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + (b"\r" if held else b"")
        *blocks, self.rest = data.split(b"\n\n")
        if len(self.rest) > FRAME_LIMIT_BYTES:
            raise GatewayError("upstream_error", "The upstream sent an event of over 16 MiB.")
        frames = []
        for block in blocks:
            if block.startswith(b"data: ") and block.find(b"\n") < 0:
                if len(block) > 6:
                    frames.append(Frame(block[6:]))
            elif frame := _read_block(block):
                frames.append(frame)
        return frames

    def close(self) -> list[Frame]:
        """The frame that lacks its blank line at the end of the stream, if there is one."""
        rest, self.rest = self.rest, b""
        frame = _read_block(rest.replace(b"\r", b"\n").strip(b"\n"))
        return [frame] if frame else []


def cut_frame(data: bytes) -> bytes | None:
    """The data of bytes that are exactly one ``data:`` frame, as a token comes; else None."""
    body = data[6:-2]
    if data[:6] == b"data: " and data[-2:] == b"\n\n" and body.find(b"\n") < 0 > body.find(b"\r"):
        return body
    return None


def are_frames(data: bytes) -> bool:
    """Whether bytes look like whole ``data:`` frames, none of which ends the stream."""
    return (
        data.startswith(b"data: ")
        and data.endswith(b"\n\n")
        and not data.endswith(b"[DONE]\n\n")
        and data.find(b"\r") < 0  # it would end a line, at the client too
    )


def _read_block(block: bytes) -> Frame | None:
    event = b""
    lines: list[bytes] = []
    for line in block.removeprefix(_BOM).split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            lines.append(value)
        elif name == b"event":
            event = value
    data = b"\n".join(lines)
    return Frame(data, event) if data else None


def write_frame(payload: bytes) -> bytes:
    """One frame of JSON, ASCII only: some clients split lines at U+2028 and U+0085."""
    if not payload.isascii():
        payload = escape_non_ascii(payload)
    if payload.find(b"\n") >= 0:
        # JSON that came on several lines: there a line break is a blank, never part of a text.
        payload = payload.replace(b"\n", b" ")
    return b"data: " + payload + b"\n\n"


def escape_non_ascii(payload: bytes) -> bytes:
    r"""The same JSON with every non-ASCII character as ``\uXXXX``.

    Bytes that are no UTF-8 become U+FFFD. In JSON such characters stand in strings only.
    """
    return payload.decode("utf-8", "replace").encode("ascii", "trunkline-json-escape")


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escaped = "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
    return escaped, error.end


codecs.register_error("trunkline-json-escape", _escape)


def write_error_frame(error: GatewayError, request_id: str) -> bytes:
    """The failure recipe for a started stream; the connection must then be cut.

    The event name is for the v4 SDK, the ``error`` object for OpenAI's, and the missing end of
    the body for the v5 SDK, which ignores both (docs/contract.md, Streams).
    """
    return b"event: error\n" + write_frame(write_failure(error, request_id))
