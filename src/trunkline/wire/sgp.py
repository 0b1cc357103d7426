"""SGP's native completion format, client side: ``/v4/completions`` and its aliases.

Fields, defaults, ranges and the superset chunk: docs/contract.md, Completions (measured on the
official clients, 2026-11-21).
"""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta

from trunkline.chat import ImageRef, TextRequest
from trunkline.errors import FieldFault, GatewayError
from trunkline.events import (
    Began,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
)
from trunkline.wire.body import read_body
from trunkline.wire.mend import Stamp
from trunkline.wire.openai_chat import Count, ModelName
from trunkline.wire.reply import (
    Answer,
    Answered,
    FrameReply,
    StreamReply,
    contradict,
    contradictory,
    incomplete,
)
from trunkline.wire.sse import cut_frame, escape_non_ascii, write_frame

DEFAULT_TEMPERATURE: Final = 0.2
_ENCODER = msgspec.json.Encoder()
_N = TypeVar("_N", int, float)


class ModelParameters(msgspec.Struct, gc=False):
    """Sampling parameters; ``topK`` and ``topP`` are the SDK's spelling, both are taken."""

    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Count | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=4)] | None = None
    top_p: float | None = None
    topP: float | None = None  # noqa: N815 - the wire's own name
    top_k: int | None = None
    topK: int | None = None  # noqa: N815 - the wire's own name
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning_effort: Literal["low", "medium", "high"] | None = None


class CompletionBody(msgspec.Struct, gc=False):
    """The body of a native completion; unknown fields are ignored, null means absent."""

    model: ModelName
    prompt: str
    account_id: str | None = None
    images: Annotated[list[ImageRef], Meta(max_length=256)] | None = None
    model_parameters: ModelParameters | None = None
    stream: bool | None = None


_BODY = msgspec.json.Decoder(CompletionBody)
_NO_PARAMETERS = ModelParameters()


class TokenUsage(msgspec.Struct, gc=False):
    """SGP's usage: ``total`` is required wherever it is present."""

    prompt: int
    completion: int
    total: int


class Completion(msgspec.Struct, omit_defaults=True, gc=False):
    """Text, finish reason and, where the reply is complete, what is known of it."""

    text: str
    finish_reason: str | None
    response_metadata: dict[str, Any] | None = None


class CompletionAnswer(msgspec.Struct, gc=False):
    """A whole native answer."""

    completion: Completion
    token_usage: TokenUsage | None


class CompletionChunk(msgspec.Struct, gc=False):
    """A streamed chunk: the documented fields and those of the class that the v4 SDK expects."""

    completion: Completion
    token_usage: TokenUsage | None
    completions: list[tuple[str, tuple[()]]]
    finish_reason: str | None
    prompt_tokens: int | None
    response_tokens: int | None


def read_request(body: bytes) -> TextRequest:
    """A native completion request with SGP's default temperature filled in.

    Raises:
        GatewayError: ``validation_error`` for types, ranges, missing fields, and for two
            spellings of one parameter that differ.
    """
    checked = read_body(_BODY, body)
    given = checked.model_parameters or _NO_PARAMETERS
    return TextRequest(
        model=checked.model,
        prompt=checked.prompt,
        stream=bool(checked.stream),
        temperature=DEFAULT_TEMPERATURE if given.temperature is None else given.temperature,
        account_id=checked.account_id,
        images=tuple(checked.images or ()),
        max_tokens=given.max_tokens,
        stop=tuple(given.stop_sequences or ()),
        top_p=_choose_spelling("topP", given.topP, given.top_p),
        top_k=_choose_spelling("topK", given.topK, given.top_k),
        frequency_penalty=given.frequency_penalty,
        presence_penalty=given.presence_penalty,
        reasoning_effort=given.reasoning_effort,
        tempered=given.temperature is not None,
    )


def _choose_spelling(name: str, camel: _N | None, snake: _N | None) -> _N | None:
    if camel is not None and snake is not None and camel != snake:
        where = ("body", "model_parameters", name)
        message = "Both spellings of this parameter are given, with different values"
        raise GatewayError(
            "validation_error",
            f"{'.'.join(where)}: {message}",
            param=name,
            faults=(FieldFault(where, message, "value_error"),),
        )
    return snake if camel is None else camel


class UpstreamText(Protocol):
    """The face of an OpenAI format that a completion needs for the reply."""

    def read_whole(self, body: bytes, stamp: Stamp) -> Answered:
        """A whole answer."""

    def read_events(self, body: bytes, stamp: Stamp) -> list[Event]:
        """What one frame of a stream says."""

    def read_token(self, body: bytes) -> str | None:
        """The text of a frame that says nothing else, or None."""


class CompletionPair:
    """A native completion towards a target of any format: translated through events.

    Args:
        body: the upstream's request.
        path: where the upstream takes it.
        upstream: the target's format.
        stamp: for what the answer lacks.
        metadata: what to tell in ``response_metadata`` besides id and native reason.
    """

    def __init__(
        self,
        body: bytes,
        path: str,
        upstream: UpstreamText,
        stamp: Stamp,
        metadata: dict[str, Any],
    ) -> None:
        self.path = path
        self._body = body
        self._upstream = upstream
        self._stamp = stamp
        self._metadata = metadata

    def write_request(self) -> bytes:
        """See ``Pair``."""
        return self._body

    def read_answer(self, body: bytes) -> Answer:
        """See ``Pair``."""
        answered = self._upstream.read_whole(body, self._stamp)
        return _write_answer(answered, self._metadata)

    def open_fold(self) -> None:
        """See ``Pair``."""

    def open_stream(self) -> StreamReply:
        """See ``Pair``."""
        return CompletionStream(self._upstream, self._stamp, self._metadata)


class CompletionStream(FrameReply):
    """A streamed native completion: a frame a piece of text, and a last one with the rest."""

    __slots__ = ("_finish", "_metadata", "_stamp", "_upstream")

    def __init__(self, upstream: UpstreamText, stamp: Stamp, metadata: dict[str, Any]) -> None:
        super().__init__()
        self._upstream = upstream
        self._stamp = stamp
        self._metadata = metadata
        self._finish: Finish | None = None

    def feed(self, data: bytes) -> bytes:
        """See ``StreamReply``; a token in the middle of a stream takes the short way."""
        if self.content_seen and self._is_plain and not self._sse.rest:
            body, read = cut_frame(data), self._upstream.read_token
            text = read(body) if body is not None else None
            if text:
                self._note_token(data, text, read)
                return _write_chunk(text)
        return super().feed(data)

    def feed_token(self, data: bytes, start: int, stop: int) -> bytes | None:
        """See ``StreamReply``."""
        match = self._stencil.match(data, start, stop)
        if match is None:
            return None
        self.pieces += 1
        text = match[0]
        return _PLAIN_CHUNK % (text, text)

    def _take(self, data: bytes) -> bytes:
        out, finish = b"", self._finish
        for event in self._upstream.read_events(data, self._stamp):
            match event:
                case TextDelta(text=text):
                    self.content_seen = True
                    self.pieces += 1
                    out += _write_chunk(text)
                case ReasoningDelta():  # not part of this format
                    self.pieces += 1
                case Finish():
                    self._note_finish(event)
                case Usage():
                    self.usage = event
        if out and finish is not None and finish is self._finish:
            raise contradictory()
        return out

    def _note_finish(self, finish: Finish) -> None:
        """From here on each frame is looked at, for nothing new may come; see ``Tap``."""
        if self._finish is not None and contradict(self._finish.reason, finish.reason):
            raise contradictory()
        self.content_seen = True
        self._finish = finish
        self.finish_reason = finish.reason
        self._is_plain = False
        self._stencil.forget()

    def _end(self) -> bytes:
        if self._finish is None:
            raise incomplete()
        return _write_last(self._finish, self.usage, self._metadata)


class CompletionWriter:
    """Writes a native completion from events: a ``ClientWriter`` for translated upstreams.

    Thoughts are not part of this format; they are left out, and counted in the usage.
    """

    def __init__(self, stamp: Stamp, metadata: dict[str, Any]) -> None:
        self._id = stamp.id
        self._metadata = metadata
        self._finish: Finish | None = None
        self.usage: Usage | None = None

    def write(self, event: Event) -> bytes:
        """See ``ClientWriter``."""
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text):
                return _write_chunk(text)
            case Finish():
                self._finish = event
            case Usage():
                self.usage = event
            case Began(id=name):
                self._id = name or self._id
        return b""

    def end(self) -> bytes:
        """See ``ClientWriter``."""
        if self._finish is None:
            raise incomplete()
        usage = self.usage and self.usage.believe()
        return _write_last(self._finish, usage, self._metadata)

    def write_answer(self, events: Iterable[Event]) -> Answer:
        """See ``ClientWriter``."""
        text = []
        for event in events:
            if isinstance(event, (TextDelta, RefusalDelta)):
                text.append(event.text)
            else:
                self.write(event)
        if self._finish is None:
            raise incomplete()
        reason, native = self._finish.reason, self._finish.native
        usage = self.usage and self.usage.believe()
        answered = Answered(self._id, "".join(text), reason, native, usage)
        return _write_answer(answered, self._metadata)


def _write_answer(answered: Answered, metadata: dict[str, Any]) -> Answer:
    told = {"id": answered.id, **metadata, "native_finish_reason": answered.native_reason}
    completion = Completion(answered.text, answered.finish_reason, told)
    payload = CompletionAnswer(completion, _write_usage(answered.usage))
    return Answer(_ENCODER.encode(payload), answered.usage, answered.finish_reason)


def _write_last(finish: Finish, counted: Usage | None, metadata: dict[str, Any]) -> bytes:
    """The chunk that ends a stream."""
    usage = _write_usage(counted)
    last = CompletionChunk(
        Completion("", finish.reason, {**metadata, "native_finish_reason": finish.native}),
        usage,
        [("", ())],
        finish.reason,
        usage.prompt if usage else None,
        usage.completion if usage else None,
    )
    return write_frame(_ENCODER.encode(last))


def _write_chunk(text: str) -> bytes:
    encoded = _ENCODER.encode(text)
    if not encoded.isascii():
        encoded = escape_non_ascii(encoded)
    return b"%b%b%b%b%b" % (_BEFORE, encoded, _BETWEEN, encoded, _BEHIND)


# What surrounds the two texts of a chunk, cut out of one that was written as usual.
_BEFORE, _BETWEEN, _BEHIND = write_frame(
    _ENCODER.encode(CompletionChunk(Completion("\0", None), None, [("\0", ())], None, None, None))
).split(b'"\\u0000"')
_PLAIN_CHUNK = b'%b"%%b"%b"%%b"%b' % (_BEFORE, _BETWEEN, _BEHIND)
"""The same as a pattern for a text whose characters stand for themselves in JSON."""


def _write_usage(usage: Usage | None) -> TokenUsage | None:
    if usage is None:
        return None
    return TokenUsage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
