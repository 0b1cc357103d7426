"""Reads an HTTP/1.1 answer byte by byte, and knows whether it was ended or cut. Pure."""

from typing import Final, Literal

_HEAD_END: Final = b"\r\n\r\n"
_State = Literal["head", "size", "chunk", "chunk end", "trailer", "length", "until close", "over"]


class AnswerReader:
    """One answer as its bytes come in; independent of the gateway's own parser.

    Attributes:
        status: 0 until the head is there.
        headers: names in lower case.
        body: what came of it, chunks joined.
        broken: what no server may send, "" while all is well.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.broken = ""
        self._state: _State = "head"
        self._pending = bytearray()
        self._left = 0

    @property
    def is_over(self) -> bool:
        """Whether the answer was ended as it should be: its length reached, or its last chunk."""
        return self._state == "over"

    @property
    def is_chunked(self) -> bool:
        """Whether its end is told by a last chunk."""
        return "chunked" in self.headers.get("transfer-encoding", "")

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        self._pending += data
        while not self.broken and self._step():
            pass
        if self._state == "over" and self._pending:
            self.broken = "bytes after the end of the answer"

    def close(self) -> None:
        """The connection has ended: for an answer without a length that is its end."""
        if self._state == "until close":
            self._state = "over"

    def _step(self) -> bool:
        """Take one part; False when more bytes are needed."""
        if self._state == "head":
            return self._take_head()
        if self._state in {"chunk", "length", "until close"}:
            return self._take_body()
        if self._state == "over":
            return False
        line, found, rest = bytes(self._pending).partition(b"\r\n")
        if not found:
            return False
        self._pending = bytearray(rest)
        self._take_line(line)
        return True

    def _take_head(self) -> bool:
        head, found, rest = bytes(self._pending).partition(_HEAD_END)
        if not found:
            return False
        self._pending = bytearray(rest)
        first, *fields = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[1].isdecimal():
            self.broken = "no status line"
            return False
        self.status = int(words[1])
        for field in fields:
            name, _, value = field.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self._state = "until close"
        if self.is_chunked:
            self._state = "size"
        elif "content-length" in self.headers:
            self._left = int(self.headers["content-length"])
            self._state = "length" if self._left else "over"
        return True

    def _take_body(self) -> bool:
        if not self._pending:
            return False
        if self._state == "until close":
            self.body += self._pending
            self._pending.clear()
            return False
        part = self._pending[: self._left]
        del self._pending[: len(part)]
        self.body += part
        self._left -= len(part)
        if not self._left:
            self._state = "chunk end" if self._state == "chunk" else "over"
        return True

    def _take_line(self, line: bytes) -> None:
        if self._state == "size":
            try:
                self._left = int(line.partition(b";")[0], 16)
            except ValueError:
                self.broken = "no size of a chunk"
            self._state = "chunk" if self._left else "trailer"
        elif self._state == "chunk end":
            if line:
                self.broken = "a chunk is longer than its size"
            self._state = "size"
        elif not line:  # the blank line after the last chunk
            self._state = "over"
