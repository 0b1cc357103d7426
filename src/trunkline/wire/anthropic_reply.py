"""Anthropic's Messages API, upstream side: reads its answers, whole and streamed, as events.

Anthropic's API reference, "Create a Message", and the pages "Streaming messages", "Handle stop
reasons", "Citations", "Web search tool" and "Prompt caching" (read 2026-11-22). Blocks, deltas
and events of unknown types are passed over.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from trunkline.events import (
    Began,
    Citation,
    CompletionDetails,
    Event,
    Finish,
    PromptDetails,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    ToolStart,
    Usage,
)
from trunkline.wire.anthropic_failure import fail_inside
from trunkline.wire.anthropic_shape import (
    ANY_DELTA,
    BLOCK,
    BLOCK_DELTA,
    BLOCK_START,
    BLOCK_STOP,
    DELTA_TYPES,
    KNOWN,
    MESSAGE,
    MESSAGE_DELTA,
    MESSAGE_START,
    TYPED,
    Block,
    CitationPiece,
    Counts,
    End,
    JsonPiece,
    Message,
    Piece,
    SealPiece,
    TextPiece,
    ThoughtPiece,
)
from trunkline.wire.argument import unreadable
from trunkline.wire.reason import read_reason
from trunkline.wire.reply import decode_object
from trunkline.wire.sse import Frame
from trunkline.wire.translate import SseEvents

_EMPTY: Final = frozenset({b"", b"{}", b"null"})
_CACHE: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")


class _Open(msgspec.Struct):
    """A block that has begun: ``slot`` of a call, ``start`` of a text; what waits for its end."""

    type: str
    slot: int = -1
    start: int = 0
    signature: str = ""
    input: str = "{}"
    has_spoken: bool = False
    citations: list[dict[str, Any]] = []


class _Reading:
    """What a message has said so far; the same for whole answers and streams."""

    def __init__(self, answer: str) -> None:
        self.reason = ""
        self._answer = answer
        self._answered = False
        self._open: dict[int, _Open] = {}
        self._slots = 0
        self._characters = 0
        self._counts = Counts()

    def begin(self, message: Message) -> Iterator[Event]:
        yield Began(message.id, message.model)
        if message.usage is not None:
            yield from self._count(message.usage)

    def say(self, text: str) -> Iterable[Event]:
        if not text:
            return ()
        self._characters += len(text)
        return (TextDelta(text),)

    def start(self, index: int, raw: msgspec.Raw) -> Iterator[Event]:
        if TYPED.decode(raw).type not in KNOWN:
            return
        block = BLOCK.decode(raw)
        if block.type == "redacted_thinking":
            yield ReasoningSeal(redacted=block.data or "")
            return
        opened = self._open[index] = _Open(block.type, start=self._characters)
        if block.type == "text":
            opened.citations += block.citations or ()
            yield from self.say(block.text or "")
        elif block.type == "thinking":
            opened.signature = block.signature or ""
            yield from self.add(index, ThoughtPiece(block.thinking or ""))
        else:
            yield from self._start_call(opened, block)

    def _start_call(self, opened: _Open, block: Block) -> Iterator[Event]:
        """Raises ``upstream_error`` for an input that is no object."""
        given = bytes(block.input)
        if given not in _EMPTY:
            if not given.startswith(b"{"):
                raise unreadable()
            opened.input = given.decode()
        if not self._answer or block.name != self._answer:
            opened.slot = self._slots
            self._slots += 1
            yield ToolStart(opened.slot, block.id or f"call_{opened.slot}", block.name)
        elif self._answered:
            opened.type = "ignored"
        else:
            opened.type = "answer"
            self._answered = True

    def add(self, index: int, delta: Piece) -> Iterable[Event]:
        opened = self._open.get(index)
        if type(delta) is ThoughtPiece and delta.thinking:
            if opened is not None:
                opened.has_spoken = True
            return (ReasoningDelta(delta.thinking),)
        if opened is None:
            return ()
        if type(delta) is JsonPiece and delta.partial_json:
            opened.has_spoken = True
            return self._add_input(opened, delta.partial_json)
        if type(delta) is SealPiece:
            opened.signature = delta.signature
        elif type(delta) is CitationPiece:
            opened.citations.append(delta.citation)
        return ()

    def _add_input(self, opened: _Open, text: str) -> Iterable[Event]:
        if opened.slot >= 0:
            return (ToolDelta(opened.slot, text),)
        return self.say(text) if opened.type == "answer" else ()

    def stop(self, index: int) -> Iterable[Event]:
        opened = self._open.pop(index, None)
        if opened is None:
            return ()
        if opened.type == "text":
            return tuple(self._cite(opened))
        if opened.type == "thinking":
            sealed = opened.has_spoken or opened.signature
            return (ReasoningSeal(opened.signature),) if sealed else ()
        return () if opened.has_spoken else self._add_input(opened, opened.input)

    def _cite(self, opened: _Open) -> Iterator[Event]:
        """Sources on the web; those in the client's own documents have no address."""
        for citation in opened.citations:
            url = citation.get("url") or citation.get("source")
            if isinstance(url, str) and url.startswith(("http://", "https://")):
                title = citation.get("title")
                yield Citation(
                    url,
                    title if isinstance(title, str) else "",
                    opened.start,
                    self._characters,
                )

    def note_end(self, end: End, usage: Counts | None) -> Iterator[Event]:
        if usage is not None:
            yield from self._count(usage)
        if not end.stop_reason:
            return
        details = end.stop_details
        if end.stop_reason == "refusal" and not self.reason and details and details.explanation:
            yield RefusalDelta(details.explanation)
        self.reason = end.stop_reason

    def end(self) -> Iterator[Event]:
        for index in tuple(self._open):
            yield from self.stop(index)
        if self.reason:
            reason = read_reason(self.reason)
            if reason == "tool_calls" and not self._slots:
                reason = "stop"
            yield Finish(reason, self.reason)

    def _count(self, usage: Counts) -> Iterator[Event]:
        """Counts only grow: some servers send 0 at the end for what they told at the start."""
        counts = self._counts
        for name in ("input_tokens", "output_tokens", *_CACHE):
            count = getattr(usage, name)
            if count is not None:
                setattr(counts, name, max(count, getattr(counts, name) or 0))
        counts.output_tokens_details = usage.output_tokens_details or counts.output_tokens_details
        if counts.input_tokens is not None:
            yield _add_up(counts)


def _add_up(counts: Counts) -> Usage:
    """OpenAI's prompt tokens hold all input, cached or not; its completion tokens all output."""
    read, written = counts.cache_read_input_tokens, counts.cache_creation_input_tokens
    prompt = (counts.input_tokens or 0) + (read or 0) + (written or 0)
    completion = counts.output_tokens or 0
    thought = counts.output_tokens_details
    return Usage(
        prompt,
        completion,
        prompt + completion,
        None
        if read is None and written is None
        else PromptDetails(cached_tokens=read, cache_write_tokens=written or msgspec.UNSET),
        None
        if thought is None or thought.thinking_tokens is None
        else CompletionDetails(reasoning_tokens=thought.thinking_tokens),
    )


def read_message(body: bytes, answer: str = "") -> Iterator[Event]:
    """The events of a whole answer.

    Args:
        body: the upstream's answer.
        answer: name of the tool whose input is the answer, "" for none.

    Raises:
        GatewayError: ``upstream_error`` for no message, or for a failure inside a 200.
        msgspec.MsgspecError: where a part is of another type than the API says.
    """
    if body.find(b'"error"') >= 0 and TYPED.decode(body).type == "error":
        raise fail_inside(msgspec.json.decode(body))
    message = MESSAGE.decode(body)
    if not message.stop_reason or b'"error"' in body:
        decode_object(body)  # other servers' errors inside a 200 have no type of their own
    reading = _Reading(answer)
    yield from reading.begin(message)
    for index, block in enumerate(message.content):
        yield from reading.start(index, block)
        yield from reading.stop(index)
    yield from reading.note_end(message, message.usage)
    yield from reading.end()


class MessageReader(SseEvents):
    """Reads one streamed answer.

    Args:
        answer: name of the tool whose input is the answer, "" for none.
    """

    def __init__(self, answer: str = "") -> None:
        super().__init__()
        self._reading = _Reading(answer)
        self._stopped = False

    def read_frame(self, frame: Frame) -> Iterable[Event]:
        """See ``SseEvents``."""
        kind = frame.event or TYPED.decode(frame.data).type.encode()
        if kind == b"content_block_delta":
            return self._read_delta(frame.data)
        if kind == b"content_block_start":
            start = BLOCK_START.decode(frame.data)
            return self._reading.start(start.index, start.content_block)
        if kind == b"content_block_stop":
            return self._reading.stop(BLOCK_STOP.decode(frame.data).index)
        if kind == b"message_start":
            return self._reading.begin(MESSAGE_START.decode(frame.data).message)
        if kind == b"message_delta":
            change = MESSAGE_DELTA.decode(frame.data)
            return self._reading.note_end(change.delta, change.usage)
        if kind == b"error":
            raise fail_inside(msgspec.json.decode(frame.data))
        if kind == b"message_stop" and not self._stopped:
            TYPED.decode(frame.data)  # half of a frame must not end the reply
            self._stopped = True
            return self._reading.end()
        if not kind:
            decode_object(frame.data)  # as for a whole message
        return ()

    def is_complete(self) -> bool:
        """See ``SseEvents``."""
        return self._stopped and bool(self._reading.reason)

    def _read_delta(self, data: bytes) -> Iterable[Event]:
        try:
            change = BLOCK_DELTA.decode(data)
        except msgspec.ValidationError:
            if ANY_DELTA.decode(data).delta.type in DELTA_TYPES:
                raise
            return ()
        delta = change.delta
        if type(delta) is TextPiece:
            return self._reading.say(delta.text)
        return self._reading.add(change.index, delta)
