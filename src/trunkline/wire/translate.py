"""A call between two formats: the client's on one side, the upstream's on the other."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from trunkline.chat import Conversation
from trunkline.errors import GatewayError
from trunkline.events import Event, Finish, FinishReason, ReasoningDelta, Usage
from trunkline.wire.change import Changes
from trunkline.wire.parameter import Cell
from trunkline.wire.reply import MISFIT, Answer, StreamReply, contradictory, incomplete
from trunkline.wire.sse import Frame, SseReader
from trunkline.wire.upstream_failure import Said

_MISFIT_TEXT = "The upstream's answer is not what its wire format says."


class EventReader(Protocol):
    """Reads one streamed reply of an upstream."""

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that ``data`` completes; raises ``upstream_error`` at a broken one."""

    def finish(self) -> Iterator[Event]:
        """The last events; raises ``upstream_error`` when the reply is not complete."""


class UpstreamCall(Protocol):
    """One conversation in an upstream's format: the request out, the reply in."""

    path: str
    """Operation of the upstream's API, appended to its base URL."""

    def write_request(self) -> bytes:
        """The upstream's request body."""

    def read_answer(self, body: bytes) -> Iterable[Event]:
        """A whole answer as events; raises ``upstream_error`` when it is none."""

    def open_reader(self) -> EventReader:
        """A reader for a streamed reply, used once."""


class UpstreamFormat(Protocol):
    """The face of a format's module towards an upstream.

    ``FANS_OUT``: it knows no ``n``; the gateway sends the request that many times.
    """

    PARAMETERS: Mapping[str, Cell]
    FANS_OUT: bool

    def read_said(self, body: bytes, headers: Mapping[bytes, bytes] | None = None, /) -> Said:
        """What an error answer says: its body, and what its headers (lower-case) add to it."""

    def open_call(self, chat: Conversation, model: str, changes: Changes) -> UpstreamCall:
        """A call to ``model``; what had to change is noted in ``changes``.

        Raises:
            GatewayError: ``invalid_request`` for what cannot be expressed.
        """


class ClientWriter(Protocol):
    """The face of a client's format: events in, bytes out."""

    usage: Usage | None

    def write(self, event: Event) -> bytes:
        """The client's bytes for one event of a stream."""

    def end(self) -> bytes:
        """The last bytes of a stream."""

    def write_answer(self, events: Iterable[Event]) -> Answer:
        """A whole answer."""


class TranslatedPair:
    """A client's request towards a target of another format."""

    def __init__(self, call: UpstreamCall, writer: ClientWriter, path: str = "") -> None:
        self.path = path or call.path
        self._call = call
        self._writer = writer

    def write_request(self) -> bytes:
        """See ``Pair``."""
        return self._call.write_request()

    def read_answer(self, body: bytes) -> Answer:
        """See ``Pair``."""
        return self._writer.write_answer(read_whole(self._call, body))

    def open_fold(self) -> None:
        """See ``Pair``."""

    def open_stream(self) -> StreamReply:
        """See ``Pair``."""
        return TranslatedReply(self._call.open_reader(), self._writer)


def read_whole(call: UpstreamCall, body: bytes) -> list[Event]:
    """The events of a whole answer; raises ``upstream_error`` when it has no finish reason."""
    try:
        events = list(call.read_answer(body))
    except MISFIT:
        raise GatewayError("upstream_error", _MISFIT_TEXT) from None
    if not any(isinstance(event, Finish) for event in events):
        raise incomplete()
    return events


class TranslatedReply:
    """A streamed reply on its way between two formats; see ``StreamReply``.

    A broken piece fails the reply only after what stood before it was given out, so that the
    client's bytes do not depend on how the upstream's were cut.
    """

    def __init__(self, reader: EventReader, writer: ClientWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._failure: GatewayError | None = None
        self.content_seen = False
        self.pieces = 0
        self.finish_reason: FinishReason | None = None
        self.counted: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        """See ``StreamReply``."""
        usage = self._writer.usage
        return usage and usage.believe()

    def feed(self, data: bytes) -> bytes:
        """See ``StreamReply``."""
        return self._pass_on(self._reader.feed(data))

    def feed_token(self, _data: bytes, _start: int, _stop: int) -> None:
        """See ``StreamReply``: every event is translated."""

    def finish(self) -> bytes:
        """See ``StreamReply``."""
        last = self._pass_on(self._reader.finish())
        if self._failure is not None:
            raise self._failure
        return last + self._writer.end()

    def _note_content(self) -> None:
        if self.finish_reason is not None:
            raise contradictory()
        self.content_seen = True
        self.pieces += 1

    def _pass_on(self, events: Iterator[Event]) -> bytes:
        if self._failure is not None:
            raise self._failure
        out: list[bytes] = []
        write = self._writer.write
        try:
            for event in events:
                written = write(event)
                if written:
                    self._note_content()
                    out.append(written)
                elif type(event) is Finish:
                    self.finish_reason = event.reason
                elif type(event) is ReasoningDelta:  # which the client's format leaves out
                    self.pieces += 1
        except GatewayError as failure:
            if not out:
                raise
            self._failure = failure
        except MISFIT:
            misfit = GatewayError("upstream_error", _MISFIT_TEXT)
            if not out:
                raise misfit from None
            self._failure = misfit
        return out[0] if len(out) == 1 else b"".join(out)


class SseEvents(ABC):
    """An ``EventReader`` of a reply that comes as server-sent events."""

    def __init__(self) -> None:
        self._sse = SseReader()

    def feed(self, data: bytes) -> Iterator[Event]:
        """See ``EventReader``."""
        for frame in self._sse.feed(data):
            yield from self.read_frame(frame)

    def finish(self) -> Iterator[Event]:
        """See ``EventReader``."""
        for frame in self._sse.close():
            yield from self.read_frame(frame)
        if not self.is_complete():
            raise incomplete()

    @abstractmethod
    def read_frame(self, frame: Frame) -> Iterable[Event]:
        """What one frame says; raises ``upstream_error`` for a failure told inside the stream."""

    @abstractmethod
    def is_complete(self) -> bool:
        """Whether the reply has ended as its format says."""
