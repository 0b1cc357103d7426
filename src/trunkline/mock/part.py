"""The parts of an answer, what happens between them, and how HTTP carries them."""

import zlib
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final, Literal, NamedTuple

from trunkline.mock.voice import Answer, Frame, Mark, Voice

Then = Literal["", "end", "hang", "cut", "reset"]
"""What follows a part: the next one, a clean end at once, silence, FIN or RST."""
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class Part(NamedTuple):
    """A piece of an answer.

    Args:
        data: its bytes, before HTTP's own framing.
        mark: where it stands; "" for what a fault puts in.
        text: the content in it.
        usage: tokens in and out that it tells of.
        wait_s: how long to wait before it.
        then: what follows it.
        is_raw: its bytes are sent without HTTP's framing.
    """

    data: bytes = b""
    mark: Mark | Literal[""] = ""
    text: str = ""
    usage: tuple[int, int] | None = None
    wait_s: float = 0
    then: Then = ""
    is_raw: bool = False


class Head(NamedTuple):
    """Status and headers of an answer; ``content_type`` "" for none, ``extra`` as bytes."""

    status: int = 200
    content_type: str = "application/json"
    length: int | None = None
    extra: bytes = b""
    before: bytes = b""

    def write(self) -> bytes:
        """The bytes up to the blank line; chunked where no length is known."""
        phrase = _PHRASES.get(self.status, "Mock")
        kind = f"content-type: {self.content_type}\r\n" if self.content_type else ""
        size = (
            "transfer-encoding: chunked"
            if self.length is None
            else f"content-length: {self.length}"
        )
        line = f"HTTP/1.1 {self.status} {phrase}\r\n{kind}{size}\r\n"
        return b"%b%b%b\r\n" % (self.before, line.encode("latin-1"), self.extra)


def list_whole(body: bytes, answer: Answer | None = None, text: str = "") -> list[Part]:
    """A whole body in two halves, so that something can happen after the first one."""
    middle = len(body) // 2
    usage = answer.usage if answer else None
    return [Part(body[:middle], "content"), Part(body[middle:], "finish", text, usage)]


def list_streamed(frames: list[Frame], voice: Voice, answer: Answer, newline: bytes) -> list[Part]:
    """A part for each frame; the one that tells of usage says so."""
    places = [place for place, frame in enumerate(frames) if frame.mark == voice.usage_mark]
    told = places[-1] if places else -1
    return [
        Part(
            voice.write_frame(frame, newline),
            frame.mark,
            frame.text,
            answer.usage if place == told else None,
        )
        for place, frame in enumerate(frames)
    ]


def write_headers(headers: Mapping[str, str]) -> bytes:
    """Header lines."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def frame_parts(head: Head, parts: Iterable[Part], *, is_gzip: bool = False) -> list[Part]:
    """The same parts as HTTP sends them: head, chunks or a counted body, and the end."""
    packer = zlib.compressobj(wbits=31) if is_gzip else None
    framed = []
    for part in parts:
        data = part.data
        if packer is not None and data:
            data = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
        framed.append(part._replace(data=_write_chunk(head, part, data)))
    if not (framed and framed[-1].then):
        rest = packer.flush() if packer is not None else b""
        last = Part(rest)
        framed.append(last._replace(data=_write_chunk(head, last, rest) + _write_end(head)))
    return [Part(head.write()), *framed]


def _write_chunk(head: Head, part: Part, data: bytes) -> bytes:
    end = _write_end(head) if part.then == "end" else b""
    if part.is_raw or head.length is not None or not data:
        return data + end
    return b"%x\r\n%b\r\n%b" % (len(data), data, end)


def _write_end(head: Head) -> bytes:
    return b"0\r\n\r\n" if head.length is None else b""
