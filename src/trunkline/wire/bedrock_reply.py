"""Amazon Bedrock's Converse API, upstream side: reads its answers, whole and streamed, as events.

Amazon Bedrock API Reference, "Converse" and "ConverseStream", botocore 1.44.5's service model of
bedrock-runtime, and the Amazon Bedrock User Guide, "Prompt caching" (read 2026-11-22). Events of
a stream are event-stream messages with a JSON payload; blocks, deltas and events of other types
are passed over.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from trunkline.events import (
    Citation,
    Event,
    Finish,
    PromptDetails,
    ReasoningDelta,
    ReasoningSeal,
    TextDelta,
    ToolDelta,
    ToolStart,
    Usage,
)
from trunkline.wire.argument import unreadable
from trunkline.wire.bedrock_failure import fail_stream, read_said
from trunkline.wire.event_stream import EventStreamReader, Message
from trunkline.wire.reason import read_reason
from trunkline.wire.reply import incomplete

__all__ = ["ConverseReader", "read_converse", "read_said"]


class _Source(msgspec.Struct, gc=False, rename="camel"):
    """Where a citation leads: ``location`` has one member, by its kind."""

    title: str | None = None
    source: str | None = None
    location: dict[str, Any] | None = None


class _Words(msgspec.Struct, gc=False):
    text: str | None = None
    signature: str | None = None


class _Thought(msgspec.Struct, gc=False, rename="camel"):
    reasoning_text: _Words | None = None
    redacted_content: str | None = None


class _Cited(msgspec.Struct, gc=False):
    content: list[_Words] = []
    citations: list[_Source] = []


class _Call(msgspec.Struct, gc=False, rename="camel"):
    """A call; ``type`` is told only of tools that the vendor runs itself."""

    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str | None = None


class _Block(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: _Call | None = None
    reasoning_content: _Thought | None = None
    citations_content: _Cited | None = None


class _Said(msgspec.Struct, gc=False):
    content: list[_Block]


class _Output(msgspec.Struct, gc=False):
    message: _Said


class _Counts(msgspec.Struct, gc=False, rename="camel"):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class _Whole(msgspec.Struct, gc=False, rename="camel"):
    output: _Output
    stop_reason: str
    usage: _Counts | None = None
    error: None = None


class _Start(msgspec.Struct, gc=False, rename="camel"):
    tool_use: _Call | None = None


class _BlockStart(msgspec.Struct, gc=False, rename="camel"):
    start: _Start
    content_block_index: int = 0


class _CallPiece(msgspec.Struct, gc=False):
    input: str = ""


class _ThoughtPiece(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Delta(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: _CallPiece | None = None
    reasoning_content: _ThoughtPiece | None = None
    citation: _Source | None = None


class _BlockDelta(msgspec.Struct, gc=False, rename="camel"):
    delta: _Delta
    content_block_index: int = 0


class _BlockStop(msgspec.Struct, gc=False, rename="camel"):
    content_block_index: int = 0


class _End(msgspec.Struct, gc=False, rename="camel"):
    stop_reason: str


class _Metadata(msgspec.Struct, gc=False):
    usage: _Counts | None = None


_WHOLE = msgspec.json.Decoder(_Whole)
_START = msgspec.json.Decoder(_BlockStart)
_DELTA = msgspec.json.Decoder(_BlockDelta)
_STOP = msgspec.json.Decoder(_BlockStop)
_END = msgspec.json.Decoder(_End)
_METADATA = msgspec.json.Decoder(_Metadata)


class _Open(msgspec.Struct):
    """A block that has begun: ``slot`` of a call, ``start`` of its text, what waits for its end."""

    start: int
    slot: int = -1
    has_input: bool = False
    signature: str = ""
    redacted: list[str] = []
    sources: list[_Source] = []


class _Reading:
    """What a reply has said so far; the same for whole answers and streams."""

    def __init__(self) -> None:
        self.has_ended = False
        self._open: dict[int, _Open] = {}
        self._slots = 0
        self._characters = 0

    def begin_call(self, index: int, call: _Call) -> Iterator[Event]:
        """A tool that Bedrock itself runs is none of the client's."""
        if call.type is not None:
            return
        opened = self._open[index] = _Open(self._characters, slot=self._slots)
        self._slots += 1
        yield ToolStart(opened.slot, call.tool_use_id, call.name)

    def add(self, index: int, delta: _Delta) -> Iterator[Event]:
        """A piece of a block; text first, for it is what comes most."""
        opened = self._open.get(index)
        if opened is None:
            if delta.tool_use is not None:
                return
            opened = self._open[index] = _Open(self._characters)
        if delta.text:
            self._characters += len(delta.text)
            yield TextDelta(delta.text)
        elif delta.tool_use is not None:
            if delta.tool_use.input and opened.slot >= 0:
                opened.has_input = True
                yield ToolDelta(opened.slot, delta.tool_use.input)
        elif delta.citation is not None:
            opened.sources.append(delta.citation)
        elif delta.reasoning_content is not None:
            yield from _think(opened, delta.reasoning_content)

    def end_block(self, index: int) -> Iterator[Event]:
        """What only the end of a block tells: seals, sources, and that a call had no input."""
        opened = self._open.pop(index, None)
        if opened is None:
            return
        if opened.slot >= 0 and not opened.has_input:
            yield ToolDelta(opened.slot, "{}")
        if opened.signature or opened.redacted:
            yield ReasoningSeal(opened.signature, _join(opened.redacted))
        for source in opened.sources:
            yield from _cite(source, opened.start, self._characters)

    def end(self, word: str) -> Iterator[Event]:
        """The reply's own word that it is complete."""
        for index in tuple(self._open):
            yield from self.end_block(index)
        if self.has_ended:
            return
        self.has_ended = True
        reason = read_reason(word)
        if reason == "tool_calls" and not self._slots:
            reason = "stop"
        yield Finish(reason, word)


def _think(opened: _Open, piece: _ThoughtPiece) -> Iterator[Event]:
    if piece.text:
        yield ReasoningDelta(piece.text)
    if piece.signature:
        opened.signature += piece.signature
    if piece.redacted_content:
        opened.redacted.append(piece.redacted_content)


def _join(pieces: list[str]) -> str:
    """Bytes in base64 that came in pieces."""
    if len(pieces) < 2:
        return "".join(pieces)
    return b64encode(b"".join(b64decode(piece) for piece in pieces)).decode()


def _cite(source: _Source, start: int, end: int) -> Iterator[Citation]:
    """Sources on the web, and what a search result of the client named as its source."""
    web = (source.location or {}).get("web")
    url = (web.get("url") if isinstance(web, dict) else None) or source.source
    if isinstance(url, str) and url:
        yield Citation(url, source.title or "", start, end)


def _add_up(counts: _Counts) -> Usage:
    """OpenAI's prompt tokens hold all input, which Bedrock counts in three parts."""
    read, written = counts.cache_read_input_tokens, counts.cache_write_input_tokens
    prompt = counts.input_tokens + (read or 0) + (written or 0)
    return Usage(
        prompt,
        counts.output_tokens,
        prompt + counts.output_tokens,
        None
        if read is None and written is None
        else PromptDetails(cached_tokens=read, cache_write_tokens=written or msgspec.UNSET),
    )


def read_converse(body: bytes) -> Iterator[Event]:
    """The events of a whole answer.

    Raises:
        GatewayError: ``upstream_error`` where the answer says that it is incomplete.
        msgspec.MsgspecError: where a part is of another type than the API says.
    """
    whole = _WHOLE.decode(body)
    reading = _Reading()
    for index, block in enumerate(whole.output.message.content):
        yield from _read_block(reading, index, block)
        yield from reading.end_block(index)
    if whole.usage is not None:
        yield _add_up(whole.usage)
    yield from reading.end(whole.stop_reason)


def _read_block(reading: _Reading, index: int, block: _Block) -> Iterator[Event]:
    """A whole block as the pieces that a stream would bring.

    Raises:
        GatewayError: ``upstream_error`` for a call whose input is no object.
    """
    if block.tool_use is not None:
        yield from reading.begin_call(index, block.tool_use)
        given = bytes(block.tool_use.input).decode()
        text = "" if given == "null" else given
        if text and not text.startswith("{"):
            raise unreadable()
        yield from reading.add(index, _Delta(tool_use=_CallPiece(text)))
    for delta in _split(block):
        yield from reading.add(index, delta)


def _split(block: _Block) -> Iterator[_Delta]:
    if block.text is not None:
        yield _Delta(text=block.text)
    thought, cited = block.reasoning_content, block.citations_content
    if thought is not None:
        words = thought.reasoning_text or _Words()
        piece = _ThoughtPiece(words.text, words.signature, thought.redacted_content)
        yield _Delta(reasoning_content=piece)
    if cited is not None:
        yield from (_Delta(text=words.text) for words in cited.content)
        yield from (_Delta(citation=source) for source in cited.citations)


class ConverseReader:
    """Reads one streamed answer; see ``EventReader``.

    Args:
        model: the model's id, for messages about failures.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._messages = EventStreamReader()
        self._reading = _Reading()

    def feed(self, data: bytes) -> Iterator[Event]:
        """See ``EventReader``."""
        for message in self._messages.feed(data):
            yield from self._read(message)

    def finish(self) -> Iterator[Event]:
        """See ``EventReader``."""
        self._messages.close()
        if not self._reading.has_ended:
            raise incomplete()
        yield from ()

    def _read(self, message: Message) -> Iterable[Event]:
        headers, payload = message.headers, message.payload
        kind = headers.get(":event-type")
        if kind == "contentBlockDelta":
            piece = _DELTA.decode(payload)
            return self._reading.add(piece.content_block_index, piece.delta)
        if headers.get(":message-type", "event") != "event":
            raise fail_stream(headers, payload, self._model)
        if kind == "contentBlockStart":
            begun = _START.decode(payload)
            if begun.start.tool_use is not None:
                return self._reading.begin_call(begun.content_block_index, begun.start.tool_use)
        elif kind == "contentBlockStop":
            return self._reading.end_block(_STOP.decode(payload).content_block_index)
        elif kind == "messageStop":
            return self._reading.end(_END.decode(payload).stop_reason)
        elif kind == "metadata":
            counts = _METADATA.decode(payload).usage
            return () if counts is None else (_add_up(counts),)
        return ()
