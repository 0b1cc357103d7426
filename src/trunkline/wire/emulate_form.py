"""The JSON form in which a model without tools is made to answer, read as it arrives.

``{"tool_calls":[{"name":…,"arguments":{…}},…]}`` calls tools, ``{"message":…}`` answers.
"""

import json
import re
from collections.abc import Callable, Generator
from typing import Any, Final, Literal

import msgspec

from trunkline.errors import GatewayError

CALLS: Final = "tool_calls"
MESSAGE: Final = "message"
_BLANK: Final = " \t\r\n"
_VALUE: Final = '"{[-0123456789tfn'
_PLAIN: Final = re.compile(r'[^"\\]*')
_BETWEEN: Final = re.compile(r'[^"{}\[\]]*')
_SCALAR: Final = re.compile(r"[^\s,\]}]*")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{4}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HIGH: Final = re.compile("[\ud800-\udbff]\\Z")
_ESCAPES: Final = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}

_Steps = Generator[None, None, None]
_Text = Generator[None, None, str]
_Write = Callable[[str], None]


class Form(msgspec.Struct, frozen=True):
    """What an answer may be: calls of these tools, and a message if there is a sort of it.

    ``single`` allows one call only.
    """

    tools: frozenset[str]
    message: Literal["text", "json"] | None
    single: bool


class CallPiece(msgspec.Struct, gc=False):
    """What has come of a call: its name when it begins, and more of its arguments' JSON."""

    index: int
    name: str | None
    arguments: str


class Said(msgspec.Struct, gc=False):
    """What a piece of an answer says: text of the message, and a piece of each call in it."""

    text: str
    calls: list[CallPiece]


def misfit() -> GatewayError:
    """The failure of an answer that is not in the form asked for."""
    return GatewayError(
        "upstream_error", "The upstream's answer is not in the JSON form that it was asked for."
    )


class Halves:
    """Joins surrogate pairs that came apart; a half that stays alone becomes U+FFFD."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The text, but for a last character whose other half may still come."""
        text, self._held = self._held + text, ""
        if not _SURROGATE.search(text):
            return text
        if _HIGH.search(text):
            text, self._held = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def flush(self) -> str:
        """What is left when nothing more comes."""
        held, self._held = self._held, ""
        return "\ufffd" if held else ""


class FormReader:
    """Reads one answer, whatever pieces it comes in.

    ``complete`` says that all of it has come, ``calling`` that it calls, and
    ``calls`` how many calls have come whole.
    """

    def __init__(self, form: Form) -> None:
        self.complete = False
        self.calling = form.message is None
        self.calls = 0
        self._form = form
        self._steps = self._read()
        self._text = ""
        self._at = 0
        self._said: list[str] = []
        self._names: dict[int, str] = {}
        self._arguments: dict[int, list[str]] = {}

    def feed(self, text: str) -> Said:
        """What the next piece of the answer says.

        Raises:
            GatewayError: ``upstream_error`` where it leaves the form.
        """
        self._text, self._at = text, 0
        self._said, self._names, self._arguments = [], {}, {}
        next(self._steps, None)
        calls = [
            CallPiece(index, self._names.get(index), "".join(parts))
            for index, parts in self._arguments.items()
        ]
        return Said("".join(self._said), calls)

    def _read(self) -> _Steps:
        yield from self._expect("{")
        key = yield from self._read_key()
        if key == CALLS:
            self.calling = True
            yield from self._read_calls()
        elif key == MESSAGE and self._form.message == "json":
            yield from self._copy_value(self._said_more)
        elif key == MESSAGE and self._form.message:
            yield from self._read_string(self._said_more)
        else:
            raise misfit()
        yield from self._expect("}")
        self.complete = True
        yield from self._next()
        raise misfit()

    def _said_more(self, text: str) -> None:
        self._said.append(text)

    def _read_calls(self) -> _Steps:
        yield from self._expect("[")
        while True:
            yield from self._read_call(self.calls)
            self.calls += 1
            char = yield from self._next()
            if char == "]":
                return
            if char != "," or self._form.single:
                raise misfit()

    def _read_call(self, index: int) -> _Steps:
        """One call; what comes of its arguments before its name is held back until then."""
        yield from self._expect("{")
        name: str | None = None
        raw: str | None = None
        held: list[str] = []

        def write(text: str) -> None:
            into = held if name is None else self._arguments.setdefault(index, [])
            into.append(text)

        while name is None or raw is None:
            key = yield from self._read_key()
            if key == "name" and name is None:
                name = yield from self._read_name()
                self._names[index] = name
                self._arguments[index] = held
            elif key == "arguments" and raw is None:
                raw = yield from self._copy_value(write)
            else:
                raise misfit()
            yield from self._expect("," if name is None or raw is None else "}")
        if not raw.startswith("{"):
            raise misfit()

    def _read_name(self) -> _Text:
        parts: list[str] = []
        yield from self._read_string(parts.append)
        name = "".join(parts)
        if name not in self._form.tools:
            raise misfit()
        return name

    def _read_key(self) -> _Text:
        parts: list[str] = []
        yield from self._read_string(parts.append)
        yield from self._expect(":")
        return "".join(parts)

    def _read_string(self, write: _Write) -> _Steps:
        """A string's text, without its escapes."""
        halves = Halves()
        yield from self._expect('"')
        while True:
            yield from self._copy_run(_PLAIN, lambda text: write(halves.feed(text)))
            char = yield from self._take()
            if char == '"':
                break
            unit = yield from self._read_escape()
            write(halves.feed(unit))
        write(halves.flush())

    def _read_escape(self) -> _Text:
        char = yield from self._take()
        if char != "u":
            if char not in _ESCAPES:
                raise misfit()
            return _ESCAPES[char]
        digits = ""
        while len(digits) < 4:
            digits += yield from self._take()
        if not _HEX.fullmatch(digits):
            raise misfit()
        return chr(int(digits, 16))

    def _copy_value(self, write: _Write) -> _Text:
        """Any value's JSON as it is written, checked when it is whole."""
        halves = Halves()
        parts: list[str] = []

        def copy(text: str) -> None:
            text = halves.feed(text)
            parts.append(text)
            write(text)

        first = yield from self._next()
        if first not in _VALUE:
            raise misfit()
        copy(first)
        if first == '"':
            yield from self._copy_string(copy)
        elif first in "{[":
            yield from self._copy_nested(copy)
        else:
            yield from self._copy_run(_SCALAR, copy)
        copy(halves.flush())
        raw = "".join(parts)
        _check_json(raw)
        return raw

    def _copy_nested(self, write: _Write) -> _Steps:
        depth = 1
        while depth:
            yield from self._copy_run(_BETWEEN, write)
            char = yield from self._take()
            write(char)
            if char == '"':
                yield from self._copy_string(write)
            else:
                depth += 1 if char in "{[" else -1

    def _copy_string(self, write: _Write) -> _Steps:
        """The rest of a string behind its opening quote, escapes and all."""
        while True:
            yield from self._copy_run(_PLAIN, write)
            char = yield from self._take()
            write(char)
            if char == '"':
                return
            write((yield from self._take()))

    def _copy_run(self, pattern: re.Pattern[str], write: _Write) -> _Steps:
        """Everything up to a character that the pattern does not match."""
        while True:
            found = pattern.match(self._text, self._at)
            end = found.end() if found else self._at
            write(self._text[self._at : end])
            self._at = end
            if end < len(self._text):
                return
            yield

    def _expect(self, wanted: str) -> _Steps:
        char = yield from self._next()
        if char != wanted:
            raise misfit()

    def _next(self) -> _Text:
        """The next character that is not blank."""
        char = " "
        while char in _BLANK:
            char = yield from self._take()
        return char

    def _take(self) -> _Text:
        while self._at == len(self._text):
            yield
        self._at += 1
        return self._text[self._at - 1]


def _check_json(raw: str) -> None:
    # Python's own reader: a model may write the escape of half a pair, which msgspec refuses.
    try:
        json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise misfit() from None


def _refuse_constant(word: str) -> Any:
    raise ValueError(word)
