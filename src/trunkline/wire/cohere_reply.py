"""Cohere's Chat API v2, upstream side: reads its answers, streams and error bodies.

Cohere's API reference, "Chat (V2)", "Chat with streaming (V2)" and "Errors", its pages
"Streaming", "Streaming for tool use" and "Citations", and the types of its Python SDK 7.3.1
(read 2026-11-22). Blocks and events of unknown types are passed over.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.events import (
    Began,
    Citation,
    Event,
    Finish,
    PromptDetails,
    ReasoningDelta,
    TextDelta,
    ToolDelta,
    ToolStart,
    Usage,
)
from trunkline.wire.reason import read_reason
from trunkline.wire.sse import Frame
from trunkline.wire.translate import SseEvents
from trunkline.wire.upstream_failure import Said

_DONE: Final = b"[DONE]"
_CITES_TEXT: Final = (None, "TEXT_CONTENT")
_OVERFLOW: Final = re.compile(
    r"too many tokens: (?:total number of tokens in the prompt cannot exceed (\d+) - received (\d+)"
    r"|size limit exceeded|the total number of tokens)"
)


class _Words(msgspec.Struct, gc=False):
    """A piece of a content block: its text or its thought."""

    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    id: str = ""
    function: _Function = _Function()


class _Source(msgspec.Struct, gc=False):
    """A document or a tool's result; both are objects of the client's own making."""

    id: str | None = None
    document: dict[str, Any] | None = None
    tool_output: dict[str, Any] | None = None


class _Cited(msgspec.Struct, gc=False):
    start: int = 0
    end: int = 0
    sources: list[_Source] | None = None
    content_index: int | None = None
    type: str | None = None


class _Counts(msgspec.Struct, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Used(msgspec.Struct, gc=False):
    tokens: _Counts | None = None
    billed_units: _Counts | None = None
    cached_tokens: float | None = None


class _Piece(msgspec.Struct, gc=False):
    """A message of a stream: lists where it begins, objects where it goes on."""

    content: _Words | list[_Words] | None = None
    tool_plan: str | None = None
    tool_calls: _Call | list[_Call] | None = None
    citations: _Cited | list[_Cited] | None = None


class _Delta(msgspec.Struct, gc=False):
    message: _Piece | None = None
    finish_reason: str | None = None
    usage: _Used | None = None


class _Frame(msgspec.Struct, gc=False):
    type: str
    id: str | None = None
    index: int = 0
    delta: _Delta | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Words] | None = None
    tool_plan: str | None = None
    tool_calls: list[_Call] | None = None
    citations: list[_Cited] | None = None


class _Whole(msgspec.Struct, gc=False):
    finish_reason: str
    message: _Message
    id: str = ""
    usage: _Used | None = None
    error: None = None


_FRAME = msgspec.json.Decoder(_Frame)
_WHOLE = msgspec.json.Decoder(_Whole)
_ERROR = msgspec.json.Decoder(dict[str, Any])


class _Open(msgspec.Struct, gc=False):
    """A call that has begun."""

    slot: int
    has_arguments: bool = False


class _Reading:
    """What a reply has said so far; the same for whole answers and streams."""

    def __init__(self) -> None:
        self.has_ended = False
        self._calls: dict[int, _Open] = {}
        self._slots = 0
        self._characters = 0
        self._starts: dict[int, int] = {}

    def say(self, index: int, words: _Words) -> Iterable[Event]:
        """A piece of the content block of this index."""
        text = words.text
        if text:
            if index not in self._starts:
                self._starts[index] = self._characters
            self._characters += len(text)
            return (TextDelta(text),)
        return (ReasoningDelta(words.thinking),) if words.thinking else ()

    def call(self, index: int, call: _Call) -> Iterator[Event]:
        """A call begins, perhaps with all of its arguments."""
        self._calls[index] = _Open(self._slots)
        yield ToolStart(self._slots, call.id or f"call_{self._slots}", call.function.name or "")
        self._slots += 1
        yield from self.add(index, call)

    def add(self, index: int, call: _Call) -> Iterator[Event]:
        """A piece of a call's arguments."""
        opened, arguments = self._calls.get(index), call.function.arguments
        if opened is not None and arguments:
            opened.has_arguments = True
            yield ToolDelta(opened.slot, arguments)

    def end_call(self, index: int) -> Iterator[Event]:
        """A call without arguments still needs a JSON object."""
        opened = self._calls.pop(index, None)
        if opened is not None and not opened.has_arguments:
            yield ToolDelta(opened.slot, "{}")

    def cite(self, cited: _Cited) -> Iterator[Event]:
        """Sources by their address, else by the id that the client or its tool gave them."""
        if cited.type not in _CITES_TEXT:
            return
        before = self._starts.get(cited.content_index or 0, 0)
        for source in cited.sources or ():
            about = source.document or source.tool_output or {}
            url, title = about.get("url"), about.get("title")
            where = url if isinstance(url, str) and url else source.id
            if where:
                name = title if isinstance(title, str) else ""
                yield Citation(where, name, before + cited.start, before + cited.end)

    def end(self, word: str, used: _Used | None) -> Iterator[Event]:
        """The reply's own word that it is complete; an end without one is none."""
        for index in tuple(self._calls):
            yield from self.end_call(index)
        if used is not None:
            yield from _add_up(used)
        if word and not self.has_ended:
            self.has_ended = True
            yield Finish(read_reason(word), word)


def _add_up(used: _Used) -> Iterator[Usage]:
    """All tokens, not only the billed ones; cached ones are among the input's."""
    counts = used.tokens or used.billed_units
    if counts is None:
        return
    prompt, completion = int(counts.input_tokens or 0), int(counts.output_tokens or 0)
    cached = used.cached_tokens
    details = None if cached is None else PromptDetails(cached_tokens=int(cached))
    yield Usage(prompt, completion, prompt + completion, details)


def read_chat(body: bytes) -> Iterator[Event]:
    """The events of a whole answer.

    Raises:
        GatewayError: ``upstream_error`` where the answer says that it is incomplete.
        msgspec.MsgspecError: where a part is of another type than the API says.
    """
    whole = _WHOLE.decode(body)
    reading, message = _Reading(), whole.message
    yield Began(whole.id)
    if message.tool_plan:
        yield ReasoningDelta(message.tool_plan)
    for index, words in enumerate(message.content or ()):
        yield from reading.say(index, words)
    for index, call in enumerate(message.tool_calls or ()):
        yield from reading.call(index, call)
        yield from reading.end_call(index)
    for cited in message.citations or ():
        yield from reading.cite(cited)
    yield from reading.end(whole.finish_reason, whole.usage)


class CohereReader(SseEvents):
    """Reads one streamed answer; see ``EventReader``."""

    def __init__(self) -> None:
        super().__init__()
        self._reading = _Reading()

    def read_frame(self, frame: Frame) -> Iterable[Event]:
        """See ``SseEvents``."""
        if frame.data == _DONE:
            return ()
        told = _FRAME.decode(frame.data)
        kind, delta = told.type, told.delta or _Delta()
        if kind in ("content-delta", "content-start"):
            words = (delta.message or _Piece()).content
            return self._reading.say(told.index, words) if isinstance(words, _Words) else ()
        if kind == "message-start":
            return (Began(told.id or ""),)
        if kind == "message-end":
            return self._reading.end(delta.finish_reason or "", delta.usage)
        if kind == "tool-call-end":
            return self._reading.end_call(told.index)
        if kind == "error":
            raise GatewayError("upstream_error", "The upstream failed in the middle of its answer.")
        return self._read_piece(kind, told.index, delta.message or _Piece())

    def _read_piece(self, kind: str, index: int, piece: _Piece) -> Iterator[Event]:
        if kind == "tool-plan-delta" and piece.tool_plan:
            yield ReasoningDelta(piece.tool_plan)
        elif kind == "tool-call-start":
            for call in _list(piece.tool_calls):
                yield from self._reading.call(index, call)
        elif kind == "tool-call-delta":
            for call in _list(piece.tool_calls):
                yield from self._reading.add(index, call)
        elif kind == "citation-start":
            for cited in _list(piece.citations):
                yield from self._reading.cite(cited)

    def is_complete(self) -> bool:
        """See ``SseEvents``."""
        return self._reading.has_ended


def _list(given: Any) -> list[Any]:
    """One or several: the types say one, some servers send a list."""
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def read_said(body: bytes, _headers: Mapping[bytes, bytes] | None = None) -> Said:
    """What an error body says: a sentence and an id.

    There are no codes: Cohere's sentences for an over-long prompt are matched, as its page
    "Errors" has them; the one for a too large ``max_tokens`` begins like them and is another.
    """
    try:
        error = _ERROR.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Said()
    message = str(error.get("message") or "")
    found = _OVERFLOW.match(message)
    window, asked = found.groups() if found else (None, None)
    return Said(
        message=message,
        overflow=found is not None,
        window_tokens=int(window) if window else None,
        prompt_tokens=int(asked) if asked else None,
    )
