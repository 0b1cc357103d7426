"""Knows the next token of a stream by what surrounded the one before.

The tokens of a stream differ in a piece of text and in nothing else, so most frames need not be
decoded: their bytes tell that they say what a frame that was decoded said, with another text.
"""

import re
from collections.abc import Callable
from typing import Final

_TRIES: Final = 4
"""Stencils that fit no frame, in a row, after which a stream is believed to vary elsewhere too."""

# Characters that stand for themselves in a string of JSON, and leave as they came.
_find_plain = re.compile(rb"[ !#-\[\]-~]+").fullmatch


class Stencil:
    """What stands around the text in a stream's tokens.

    Why it is safe: in front of the text stands the quote that opens a string of JSON, and behind
    it the quote that closes it. Characters that stand for themselves can be exchanged in there
    without a change to what any other part of the frame is. ``learn`` shows that this string is
    the text and nothing else, by putting another text there and decoding again.
    """

    __slots__ = ("_before", "_behind", "_fruitless", "_seen")

    def __init__(self) -> None:
        self._before: bytes | None = None
        self._behind = b""
        self._fruitless = 0
        self._seen = 0

    def match(self, data: bytes, start: int, stop: int) -> re.Match[bytes] | None:
        """The text, where ``data[start:stop]`` is a token like the one that was learned."""
        before, behind = self._before, self._behind
        if before is None:
            return None
        at = start + len(before)
        if data.startswith(before, start) and data.endswith(behind, at, stop):
            return _find_plain(data, at, stop - len(behind))
        return None

    def learn(
        self, frame: bytes, text: str, read: Callable[[bytes], str | None], pieces: int
    ) -> None:
        """Learn from a frame that was decoded, so that frames which differ in ``text`` are known.

        Args:
            frame: ``data: ``, a line of JSON, and a blank line.
            text: what it says.
            read: decodes such JSON; None for anything but a token that may go this short way.
            pieces: how many tokens came before; shows whether the last stencil fitted any.
        """
        if self._fruitless > _TRIES:
            return
        self._fruitless = 0 if pieces > self._seen else self._fruitless + 1
        self._seen = pieces + 1
        self._before = None
        plain = text.encode()
        quoted = b'"%b"' % plain
        if self._fruitless > _TRIES or not _find_plain(plain) or frame.count(quoted) != 1:
            return
        at = frame.index(quoted) + 1
        before, behind = frame[:at], frame[at + len(plain) :]
        if read(b"%b%b?%b" % (before[6:], plain, behind[:-2])) == text + "?":
            self._before, self._behind = before, behind

    def forget(self) -> None:
        """Know no frame until the next one is learned."""
        self._before = None
