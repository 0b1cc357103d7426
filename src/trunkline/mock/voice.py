"""What the dialects share: an answer before it is written, and the frames of a stream."""

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import msgspec

from trunkline.mock.behaviour import Asked, Finish, ToolCall

Json = dict[str, Any]
Mark = Literal["open", "content", "finish", "usage", "done"]
"""Where a frame stands: before the content, content, what closes it up to the finish reason,
counts of tokens, or the dialect's own word that the stream is over."""
CREATED_S: Final = 1_700_000_000
WINDOW_TOKENS: Final = 4096


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is said, in no dialect.

    Args:
        id: of the answer, the same for the same seed and request.
        model: as asked for.
        pieces: of the text, one list an alternative.
        tool: a call instead of a text; its arguments come in two pieces.
        finish: why it ends.
        usage: tokens in and out; None where they are kept quiet.
    """

    id: str
    model: str
    pieces: tuple[tuple[str, ...], ...]
    tool: ToolCall | None
    finish: Finish
    usage: tuple[int, int] | None

    @property
    def text(self) -> str:
        """The first alternative's text."""
        return "".join(self.pieces[0])

    def split_arguments(self) -> tuple[str, str]:
        """The two pieces of the tool's arguments."""
        text = self.tool.arguments if self.tool else ""
        middle = len(text) // 2
        return text[:middle], text[middle:]


class Frame(NamedTuple):
    """One frame of a stream: its JSON, its place, its event's name, and the text in it."""

    data: bytes
    mark: Mark
    event: str = ""
    text: str = ""


class Refusal(NamedTuple):
    """An error before it is written.

    ``sort`` is "" for one that its status describes, "context" or "filter"; ``said`` replaces
    the usual sentence.
    """

    status: int
    sort: str = ""
    said: str = ""

    @property
    def message(self) -> str:
        """A sentence for people."""
        return self.said or f"The mock answers {self.status}."


class Voice(NamedTuple):
    """How a dialect writes: whole answers, streams, errors, and an error inside a stream.

    The last frame of ``usage_mark`` tells of the tokens.
    """

    write_whole: Callable[[Asked, Answer], Json]
    list_frames: Callable[[Asked, Answer], list[Frame]]
    write_error: Callable[[Refusal], Json]
    write_inside: Callable[[], Frame]
    write_frame: Callable[[Frame, bytes], bytes]
    usage_mark: Mark = "finish"
    stream_type: str = "text/event-stream"
    error_headers: Callable[[Refusal], dict[str, str]] = lambda _refusal: {}


encode: Final = msgspec.json.Encoder().encode


def write_sse(frame: Frame, newline: bytes) -> bytes:
    """A frame as a server-sent event (WHATWG HTML, "Server-sent events", read 2026-11-22)."""
    name = b"event: %b%b" % (frame.event.encode(), newline) if frame.event else b""
    return b"%bdata: %b%b%b" % (name, frame.data, newline, newline)


def read_arguments(text: str) -> Any:
    """Arguments as a value, for dialects that write them so; a broken text stays a text."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
