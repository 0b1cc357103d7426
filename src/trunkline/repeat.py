"""Recognises a message that repeats the one before it on its connection, but for its body.

Who keeps a connection sends the same head again and again: only the body is another one, and with
it the digits of content-length. Bytes that were parsed once mean the same when they stand in the
same place again, so such a message is not parsed anew (docs/decisions/0014).
"""

import re
from collections.abc import Callable, Mapping
from hmac import compare_digest
from operator import eq
from typing import Final

import msgspec

LEARN_TIMES: Final = 8
"""Heads in a row that repeat nothing, after which a connection's are looked at no longer."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})(?=\r\n)", re.IGNORECASE)
_DIGITS: Final = 9
_UNLIKE: Final = (b"transfer-encoding", b"expect", b"upgrade", b"connection")
"""Headers that change how a request is read: those that have one are always parsed."""

Compare = Callable[[bytes, bytes], bool]
"""Whether two texts are the same; in constant time, where one of them is a secret."""


class Repeat(msgspec.Struct, frozen=True, eq=False):
    """The head of a message, with a hole where the length of its body stands.

    Args:
        head: the head without those digits.
        start: where they stood.
        headers: what the parser read, as its reader wants it.
        compare: how heads are compared.
    """

    head: bytes
    start: int
    headers: Mapping[bytes, bytes]
    compare: Compare

    def match(self, data: bytes) -> tuple[bytes, int] | None:
        """What there is of the body, and how many bytes of it are to come.

        None if the data are not the beginning of one message with this head, the head whole.
        """
        head, start = self.head, self.start
        end = data.find(b"\r", start, start + _DIGITS + 1)
        digits = data[start:end]
        if not digits.isdigit():
            return None
        body_at = end - start + len(head)
        missing = body_at + int(digits) - len(data)
        if missing < 0 or not self.compare(data[:start] + data[end:body_at], head):
            return None
        return data[body_at:], missing


def learn_request(data: bytes, headers: Mapping[bytes, bytes]) -> Repeat | None:
    """What to compare the next request with; None where this one must be parsed each time.

    Args:
        data: the bytes of one read, which began with a request's head.
        headers: what the parser read of it, by lower-case name.
    """
    if any(name in headers for name in _UNLIKE):
        return None
    # A head holds a key, and the request before may have been another's, behind a proxy.
    return _learn(data, headers, compare_digest)


def learn_answer(data: bytes, headers: Mapping[bytes, bytes]) -> Repeat | None:
    """The same for an answer that came whole, and that the connection outlives."""
    return _learn(data, headers, eq)


def _learn(data: bytes, headers: Mapping[bytes, bytes], compare: Compare) -> Repeat | None:
    body_at = data.find(b"\r\n\r\n") + 4
    head = data[:body_at]
    places = [*_LENGTH.finditer(head)]
    # With more bytes than that, it is not known whose headers they are.
    if len(places) != 1 or len(data) - body_at > int(places[0][1]):
        return None
    start, end = places[0].span(1)
    return Repeat(head[:start] + head[end:], start, headers, compare)
