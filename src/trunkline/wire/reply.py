"""What every pair of formats gives the relay: a request, a whole answer, or a stream."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from trunkline.errors import GatewayError
from trunkline.events import FinishReason, Usage
from trunkline.wire.mend import Stamp
from trunkline.wire.openai_failure import find_inside
from trunkline.wire.sse import Frame, SseReader, are_frames
from trunkline.wire.stencil import Stencil

_T = TypeVar("_T", bound=msgspec.Struct)
_ENCODER = msgspec.json.Encoder()
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
MISFIT = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
)
"""What mending raises where a part of an answer is of another type than expected."""
_FAILED_INSIDE = "The upstream failed in the middle of its answer."
_NOT_JSON = "The upstream's answer is not what its wire format says."


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A whole answer: the client's bytes, and what the ledger wants to know."""

    body: bytes
    usage: Usage | None
    finish_reason: FinishReason | None

    @property
    def counted(self) -> None:
        """A whole answer is counted by its provider, or by nobody."""

    @property
    def pieces(self) -> int:
        """The tokens that so long a text may have, by a rule of thumb: four bytes each."""
        return len(self.body) // 4


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A whole answer read for a client of another format: first choice only."""

    id: str
    text: str
    finish_reason: FinishReason
    native_reason: str
    usage: Usage | None


class StreamReply(Protocol):
    """One streamed reply: upstream's bytes in, client's bytes out."""

    @property
    def content_seen(self) -> bool:
        """Something has arrived that commits to this answer; before that another may try."""

    @property
    def usage(self) -> Usage | None:
        """What the provider has counted so far."""

    @property
    def counted(self) -> Usage | None:
        """What has passed so far, where each token can be told; None elsewhere."""

    @property
    def pieces(self) -> int:
        """How many pieces of content have passed: most servers send one a token."""

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the first choice that ended did so."""

    def feed(self, data: bytes) -> bytes:
        """The client's bytes for the upstream's; raises ``GatewayError`` for a broken reply."""

    def feed_token(self, data: bytes, start: int, stop: int) -> bytes | None:
        """As ``feed`` for ``data[start:stop]``, where those bytes show that they are a token.

        Returns:
            ``data`` itself for bytes that go out as they came. None, and nothing noted, for
            whatever is not known at a glance.
        """

    def finish(self) -> bytes:
        """The last bytes; raises ``upstream_error`` when no finish reason had come."""


class WrappedReply:
    """A reply around another one, of which it tells what it does not know better itself."""

    def __init__(self, inner: StreamReply) -> None:
        self._inner = inner

    @property
    def content_seen(self) -> bool:
        """See ``StreamReply``."""
        return self._inner.content_seen

    @property
    def usage(self) -> Usage | None:
        """See ``StreamReply``."""
        return self._inner.usage

    @property
    def counted(self) -> Usage | None:
        """See ``StreamReply``."""
        return self._inner.counted

    @property
    def pieces(self) -> int:
        """See ``StreamReply``."""
        return self._inner.pieces

    @property
    def finish_reason(self) -> FinishReason | None:
        """See ``StreamReply``."""
        return self._inner.finish_reason


class FrameReply(ABC):
    """A streamed reply read frame by frame, whatever pieces the bytes came in.

    A broken frame fails the reply only after what stood before it was given out, so that the
    client's bytes do not depend on how the upstream's were cut.
    """

    __slots__ = (
        "_done",
        "_failure",
        "_is_plain",
        "_sse",
        "_stencil",
        "content_seen",
        "finish_reason",
        "pieces",
        "usage",
    )

    def __init__(self) -> None:
        self._sse = SseReader()
        self._failure: GatewayError | None = None
        self._done = False
        self._is_plain = True
        self._stencil = Stencil()
        self.content_seen = False
        self.usage: Usage | None = None
        self.pieces = 0
        self.finish_reason: FinishReason | None = None

    @property
    def counted(self) -> Usage | None:
        """See ``StreamReply``."""
        return None

    def feed(self, data: bytes) -> bytes:
        """See ``StreamReply``."""
        if self._is_plain and not self._sse.rest and are_frames(data):
            taken = self._take_plain(data)
            if taken is not None:
                return taken
        self._stencil.forget()
        return self._pass_on(self._sse.feed, data)

    def feed_token(self, data: bytes, start: int, stop: int) -> bytes | None:
        """See ``StreamReply``."""
        if self._stencil.match(data, start, stop) is None:
            return None
        self.pieces += 1
        return data

    def _note_token(self, frame: bytes, text: str, read: Callable[[bytes], str | None]) -> None:
        """A whole frame was a token in the middle of a stream; ``read`` as ``Stencil.learn``."""
        self._stencil.learn(frame, text, read, self.pieces)
        self.pieces += 1

    def finish(self) -> bytes:
        """See ``StreamReply``."""
        last = self._pass_on(lambda _: self._sse.close(), b"")
        if self._failure is not None:
            raise self._failure
        return last + self._end()

    def _pass_on(self, read: Callable[[bytes], list[Frame]], data: bytes) -> bytes:
        if self._failure is not None:
            raise self._failure
        out: list[bytes] = []
        try:
            for frame in read(data):
                if frame.data == b"[DONE]":
                    self._is_plain, self._done = False, True
                elif not self._done:
                    out.append(self._take_frame(frame))
        except GatewayError as failure:
            if not any(out):
                raise
            self._is_plain, self._failure = False, failure
        return b"".join(out)

    def _take_frame(self, frame: Frame) -> bytes:
        if frame.event == b"error":
            raise GatewayError("upstream_error", _FAILED_INSIDE)
        return self._take(frame.data)

    def _take_plain(self, data: bytes) -> bytes | None:
        """The client's bytes for whole ``data:`` frames, if there is a short way to them.

        None, and nothing noted, where there is not.
        """
        return self._take(data[6:-2]) if data.find(b"\n") == len(data) - 2 else None

    @abstractmethod
    def _take(self, data: bytes) -> bytes:
        """The client's bytes for one frame's data."""

    @abstractmethod
    def _end(self) -> bytes:
        """The last bytes; raises ``upstream_error`` when the reply is not complete."""


def incomplete() -> GatewayError:
    """The failure of a stream that ended without its finish reason."""
    return GatewayError("upstream_error", "The upstream's stream ended before it was complete.")


def contradictory() -> GatewayError:
    """The failure of a reply that goes on after its end, or has two of them."""
    return GatewayError("upstream_error", "The upstream's reply contradicts its own finish reason.")


def contradict(one: FinishReason, other: FinishReason) -> bool:
    """Whether two finish reasons of one reply cannot both be true; some vendors repeat theirs."""
    return one != other and bool({one, other} & {"length", "content_filter"})


class Pair(Protocol):
    """A client's request towards one target, in the formats of both."""

    path: str
    """Operation of the upstream's API, appended to its base URL."""

    def write_request(self) -> bytes:
        """The upstream's request body."""

    def read_answer(self, body: bytes) -> Answer:
        """The client's answer body for the upstream's."""

    def open_stream(self) -> StreamReply:
        """A reader for a streamed reply, used once."""

    def open_fold(self) -> StreamReply | None:
        """A reader that makes the upstream's whole answer of a stream.

        None where the upstream itself answers whole when asked to.
        """


def decode_reply(
    decoder: msgspec.json.Decoder[_T],
    body: bytes,
    stamp: Stamp,
    mend: Callable[[dict[str, Any], Stamp], dict[str, Any]],
) -> tuple[_T, bytes]:
    """Decode strictly; on a misfit mend the JSON and decode again.

    Returns the struct and the bytes to forward: ``body`` itself whenever it fitted.

    Raises:
        GatewayError: ``upstream_error`` when even the mended answer does not fit.
    """
    try:
        return decoder.decode(body), body
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    value = decode_object(body)
    try:
        return _fit(decoder, mend(value, stamp))
    except MISFIT:
        raise GatewayError("upstream_error", _NOT_JSON) from None


def _fit(decoder: msgspec.json.Decoder[_T], value: dict[str, Any]) -> tuple[_T, bytes]:
    encoded = encode_object(value)
    try:
        return decoder.decode(encoded), encoded
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # The client gets half of a surrogate pair as it came, our own structs hold U+FFFD.
        text = _LONE_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False))
        return decoder.decode(text), encoded


def encode_object(value: dict[str, Any]) -> bytes:
    """A JSON object from an upstream as bytes again.

    Half of a surrogate pair, its other half perhaps in the next chunk, stays the escape that it
    came as.
    """
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object from an upstream; raises ``upstream_error`` if it is anything else.

    An object whose ``error`` is set is a failure that came inside a 200.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _decode_loosely(body)
    if not isinstance(value, dict):
        raise GatewayError("upstream_error", _NOT_JSON)
    failure = find_inside(value)
    if failure is not None:
        raise failure
    return value


def _decode_loosely(body: bytes) -> Any:
    """JSON with what only Python's writer puts there: lone surrogates, NaN and Infinity (null)."""
    try:
        return json.loads(body.decode(), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise GatewayError("upstream_error", _NOT_JSON) from None


def native_reason(body: bytes) -> str:
    """The finish reason of the first choice in the provider's own word."""
    choices = decode_object(body).get("choices") or [{}]
    return str(choices[0].get("finish_reason") or "")
