"""Recognises a request that repeats the one before it on its connection, but for its body.

A client that keeps its connection sends the same head again and again: only the body is another
one, and with it the digits of content-length. Bytes that were parsed once mean the same when they
stand in the same place again, so such a request is not parsed anew (docs/decisions/0014).
"""

import re
from collections.abc import Mapping
from hmac import compare_digest
from typing import Final

LEARN_TIMES: Final = 8
"""Heads in a row that repeat nothing, after which a connection's are looked at no longer."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})(?=\r\n)", re.IGNORECASE)
_DIGITS: Final = 9
_UNLIKE: Final = (b"transfer-encoding", b"expect", b"upgrade", b"connection")
"""Headers that change how a request is read: those that have one are always parsed."""


class Repeat:
    """The head of a request, with a hole where the length of its body stands.

    Args:
        before: the head up to those digits.
        behind: the rest of it, the empty line included.
        headers: what the parser read, by lower-case name.
    """

    __slots__ = ("_before", "_behind", "headers")

    def __init__(self, before: bytes, behind: bytes, headers: Mapping[bytes, bytes]) -> None:
        self._before = before
        self._behind = behind
        self.headers = headers

    def match(self, data: bytes) -> bytes | None:
        """The body, if the data are one whole request with this head; None if they are not."""
        before, behind = self._before, self._behind
        start = len(before)
        # A head holds a key, and the request before may have been another's, behind a proxy.
        if not compare_digest(data[:start], before):
            return None
        end = data.find(b"\r", start, start + _DIGITS + 1)
        digits = data[start:end]
        if not digits.isdigit():
            return None
        body_at = end + len(behind)
        if len(data) - body_at != int(digits) or not compare_digest(data[end:body_at], behind):
            return None
        return data[body_at:]


def learn_repeat(data: bytes, headers: Mapping[bytes, bytes]) -> Repeat | None:
    """What to compare the next request with; None where this one must be parsed each time.

    Args:
        data: the bytes of one read, in which a request began.
        headers: what the parser read of it.
    """
    if any(name in headers for name in _UNLIKE):
        return None
    body_at = data.find(b"\r\n\r\n") + 4
    head = data[:body_at]
    places = [*_LENGTH.finditer(head)]
    if len(places) != 1 or len(data) - body_at != int(places[0][1]):
        return None
    start, end = places[0].span(1)
    return Repeat(head[:start], head[end:], headers)
