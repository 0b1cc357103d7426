"""Forwards an answer in the format that the client speaks too, and listens while it passes."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from trunkline.events import FinishReason, Usage
from trunkline.wire.argument import Arguments, fill_arguments
from trunkline.wire.mend import Stamp
from trunkline.wire.reply import (
    MISFIT,
    FrameReply,
    contradict,
    contradictory,
    encode_object,
    incomplete,
)
from trunkline.wire.sse import DONE, cut_frame, write_frame


class Choice(Protocol):
    """What a tap needs of a choice in a chunk of either format."""

    index: int
    finish_reason: FinishReason | None

    def says_something(self) -> bool:
        """Whether it carries content that commits to this answer."""

    def read_text(self) -> str:
        """What it says in words, "" where it says nothing or something else."""

    def calls_something(self) -> bool:
        """Whether a piece of a tool call is in it."""

    def read_calls(self) -> list[tuple[int, str]]:
        """The slots of these calls, and what is added to their arguments."""


class Chunk(Protocol):
    """What a tap needs of a chunk of either format."""

    choices: list[Any]
    usage: Usage | None


class Tap(FrameReply):
    """A streamed reply forwarded frame by frame; a frame that fits goes out as it came.

    Args:
        decoder: of a chunk in its strict shape.
        read_chunk: the format's reader: JSON in, struct and JSON to forward out; it mends.
        stamp: for what a chunk lacks.
        done: the client's dialect ends streams with ``[DONE]``.
        include_usage: the client asked for the usage chunk; otherwise it is dropped.
    """

    __slots__ = (
        "_calls",
        "_decoder",
        "_finished",
        "_include_usage",
        "_open",
        "_read_chunk",
        "_stamp",
        "_tail",
    )

    def __init__(
        self,
        decoder: msgspec.json.Decoder[Any],
        read_chunk: Callable[[bytes, Stamp], tuple[Chunk, bytes]],
        stamp: Stamp,
        *,
        done: bool,
        include_usage: bool,
    ) -> None:
        super().__init__()
        self._decoder = decoder
        self._read_chunk = read_chunk
        self._stamp = stamp
        self._tail = DONE if done else b""
        self._include_usage = include_usage
        self._open: set[int] = set()
        self._finished: dict[int, FinishReason] = {}
        self._calls: Arguments | None = None

    def feed(self, data: bytes) -> bytes:
        """See ``StreamReply``; a token in the middle of a stream takes the short way."""
        if self.content_seen and self._is_plain and not self._sse.rest:
            body = cut_frame(data)
            if body is not None and data.isascii():
                text = self._read_token(body)
                if text:
                    self._note_token(data, text, self._read_token)
                    return data
        return super().feed(data)

    def _read_token(self, body: bytes) -> str | None:
        """The text of a chunk that adds to a choice that has begun, and says nothing else."""
        try:
            chunk = self._decoder.decode(body)
        except MISFIT:
            return None
        choices = chunk.choices
        if chunk.usage is not None or len(choices) != 1:
            return None
        choice: Choice = choices[0]
        if choice.finish_reason is not None or choice.index not in self._open:
            return None
        return choice.read_text()

    def _take_plain(self, data: bytes) -> bytes | None:
        """The same bytes, if every frame in them fits and goes out as it came."""
        blocks = data[6:-2].split(b"\n\ndata: ")
        if data.count(b"\n") != 2 * len(blocks) or not data.isascii():
            return None
        try:
            chunks = self._decoder.decode_lines(b"\n".join(blocks))
        except MISFIT:
            return None
        if len(chunks) != len(blocks):
            return None
        if self._calls is not None or self._finished:
            return None
        for chunk in chunks:
            if chunk.usage is not None or not chunk.choices:
                return None
            for choice in chunk.choices:
                if choice.finish_reason is not None or choice.calls_something():
                    return None
        for chunk in chunks:
            self._note(chunk.choices)
        return data

    def _take(self, data: bytes) -> bytes:
        chunk, payload = self._read_chunk(data, self._stamp)
        if chunk.usage is not None:
            self.usage = chunk.usage
        if not chunk.choices or self._only_counts(chunk):
            # Readers index choices[0]: the bare usage chunk goes only to who asked for it.
            wanted = self._include_usage and chunk.usage is not None
            return write_frame(_empty_choices(payload)) if wanted else b""
        filled = self._note_calls(chunk.choices, payload)
        self._note(chunk.choices)
        return write_frame(filled)

    def _note_calls(self, choices: list[Choice], payload: bytes) -> bytes:
        """Keep the arguments of calls until they end; one that has none is given ``{}``.

        Raises:
            GatewayError: ``upstream_error`` for arguments that are no JSON when they end.
        """
        for choice in choices:
            for slot, text in choice.read_calls() if choice.calls_something() else ():
                self._calls = self._calls or Arguments()
                self._calls.add(choice.index, slot, text)
            if self._calls is not None and choice.finish_reason is not None:
                empty = self._calls.end(choice.index, choice.finish_reason)
                if empty:
                    value = msgspec.json.decode(payload)
                    fill_arguments(value, choice.index, empty)
                    payload = encode_object(value)
        return payload

    def _only_counts(self, chunk: Chunk) -> bool:
        """A usage chunk that repeats finished choices without adding to them, as LiteLLM's does."""
        return chunk.usage is not None and all(
            choice.index in self._finished and not choice.says_something()
            for choice in chunk.choices
        )

    def _note(self, choices: list[Choice]) -> None:
        """Keep in mind which choices have begun, which have ended, and whether one speaks.

        Some upstreams repeat a finished choice in the chunk that carries the usage, some say in
        every chunk that it is the last; but none speaks after its end as if there had been none.
        """
        for choice in choices:
            speaks = choice.says_something()
            self.pieces += speaks
            if choice.finish_reason is not None:
                self.finish_reason = self.finish_reason or choice.finish_reason
                self._stencil.forget()
                self._open.discard(choice.index)
                before = self._finished.setdefault(choice.index, choice.finish_reason)
                if contradict(before, choice.finish_reason):
                    raise contradictory()
                self.content_seen = True
            elif choice.index in self._finished:
                if speaks:
                    raise contradictory()
            else:
                self._open.add(choice.index)
                self.content_seen = self.content_seen or speaks

    def _end(self) -> bytes:
        if not self._finished or self._open:
            raise incomplete()
        return self._tail


def _empty_choices(payload: bytes) -> bytes:
    fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**fields, "choices": msgspec.Raw(b"[]")})
