"""Reads emulated tool calls out of a target's JSON answers, whole and streamed."""

import secrets
from collections.abc import Callable
from typing import Any, Final, cast

from trunkline.events import FinishReason
from trunkline.wire.emulate_form import CallPiece, Form, FormReader, misfit
from trunkline.wire.emulate_request import Emulation
from trunkline.wire.mend import Json
from trunkline.wire.reason import read_reason
from trunkline.wire.reply import (
    Answer,
    FrameReply,
    Pair,
    StreamReply,
    decode_object,
    encode_object,
    incomplete,
)

ID_BYTES: Final = 12

MakeId = Callable[[], str]


def make_call_id() -> str:
    """The id of a call: ``call_`` and 24 random hexadecimal digits."""
    return f"call_{secrets.token_hex(ID_BYTES)}"


class EmulatedPair:
    """A pair of chat formats whose target answers in the form of emulated tools.

    Stands around the pair that sends ``emulation.fields`` and mends the target's chat format,
    and inside ``EnginePair`` where the target is an engine.
    """

    def __init__(self, pair: Pair, emulation: Emulation, make_id: MakeId = make_call_id) -> None:
        self.path = pair.path
        self._pair = pair
        self._emulation = emulation
        self._make_id = make_id

    def write_request(self) -> bytes:
        """See ``Pair``."""
        return self._pair.write_request()

    def read_answer(self, body: bytes) -> Answer:
        """See ``Pair``; raises ``upstream_error`` for a finished answer out of form."""
        answer = self._pair.read_answer(body)
        if self._emulation.form is None:
            return answer
        value = decode_object(answer.body)
        for choice in value["choices"]:
            reader = ChoiceReader(self._emulation, self._emulation.form, self._make_id)
            _rewrite_choice(choice, reader)
        reason = value["choices"][0]["finish_reason"] if value["choices"] else None
        return Answer(encode_object(value), answer.usage, reason)

    def open_fold(self) -> StreamReply | None:
        """See ``Pair``."""
        return self._pair.open_fold()

    def open_stream(self) -> StreamReply:
        """See ``Pair``."""
        reply = self._pair.open_stream()
        if self._emulation.form is None:
            return reply
        return EmulatedReply(reply, self._emulation, self._emulation.form, self._make_id)


class StopText:
    """Cuts a text where the first of some stop texts is complete, whatever pieces it comes in."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.hit = False
        self._stops = stops
        self._longest = max((len(stop) for stop in stops), default=0)
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that cannot be part of a stop text any more."""
        if self.hit or not self._stops:
            return "" if self.hit else text
        text, self._held = self._held + text, ""
        found = [(text.find(stop) + len(stop), -len(stop)) for stop in self._stops if stop in text]
        if found:
            self.hit = True
            end, length = min(found)
            return text[: end + length]
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops):
                text, self._held = text[:-size], text[-size:]
                break
        return text

    def flush(self) -> str:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held


class ChoiceReader:
    """Reads one choice: the target's text in, OpenAI's deltas out."""

    def __init__(self, emulation: Emulation, form: Form, make_id: MakeId) -> None:
        self.ended = False
        self._form = FormReader(form)
        self._stop = StopText(emulation.stop)
        self._legacy = emulation.legacy
        self._make_id = make_id

    @property
    def whole_calls(self) -> int | None:
        """How many calls have come whole; None for an answer that does not call."""
        return self._form.calls if self._form.calling else None

    def feed(self, text: str) -> Json:
        """What a piece of the target's text adds to the message."""
        said = self._form.feed(text)
        delta: Json = {}
        if shown := self._stop.feed(said.text):
            delta["content"] = shown
        calls = [self._write_call(piece) for piece in said.calls]
        if calls and self._legacy:
            delta["function_call"] = calls[0]["function"]
        elif calls:
            delta["tool_calls"] = calls
        return delta

    def end(self, word: str) -> tuple[str, FinishReason]:
        """The last text of the message and the finish reason, for the target's own.

        Raises:
            GatewayError: ``upstream_error`` where the answer had to be whole and is not.
        """
        self.ended = True
        reason = read_reason(word)
        if self._stop.hit:
            return "", "stop"
        if reason not in ("length", "content_filter") and not self._form.complete:
            raise misfit()
        if self._form.complete and reason != "content_filter":
            reason = "stop"
            if self._form.calling:
                reason = "function_call" if self._legacy else "tool_calls"
        return self._stop.flush(), reason

    def _write_call(self, piece: CallPiece) -> Json:
        if piece.name is None:
            return {"index": piece.index, "function": {"arguments": piece.arguments}}
        return {
            "index": piece.index,
            "id": self._make_id(),
            "type": "function",
            "function": {"name": piece.name, "arguments": piece.arguments},
        }


def _rewrite_choice(choice: Json, reader: ChoiceReader) -> None:
    """Put what a whole choice says in place of its JSON; calls that were cut are left out."""
    message = choice["message"]
    if message.get("refusal") and not message.get("content"):
        return
    delta = reader.feed(message.get("content") or "")
    last, choice["finish_reason"] = reader.end(choice["finish_reason"])
    whole = reader.whole_calls
    message["content"] = None if whole is not None else delta.get("content", "") + last
    if whole and "function_call" in delta:
        message["function_call"] = delta["function_call"]
    elif whole:
        message["tool_calls"] = [
            {name: call[name] for name in ("id", "type", "function")}
            for call in delta["tool_calls"][:whole]
        ]


class EmulatedReply(FrameReply):
    """A stream whose deltas are rewritten before the inner reply sees them.

    Log probabilities, usage and reasoning stay as they come: they are those of the JSON.
    """

    __slots__ = ("_emulation", "_form", "_inner", "_make_id", "_read", "_readers")

    def __init__(
        self, inner: StreamReply, emulation: Emulation, form: Form, make_id: MakeId
    ) -> None:
        super().__init__()
        self._inner = inner
        self._emulation = emulation
        self._form = form
        self._make_id = make_id
        self._read = 0
        self._readers: dict[int, ChoiceReader] = {}

    def _take(self, data: bytes) -> bytes:
        chunk = decode_object(data)
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices:
            rewritten = [self._rewrite(choice, at) for at, choice in enumerate(choices)]
            chunk["choices"] = [choice for choice in rewritten if choice is not None]
            if not chunk["choices"] and not chunk.get("usage"):
                self._look_inside()
                return b""
        out = self._inner.feed(b"data: " + encode_object(chunk) + b"\n\n")
        self._look_inside()
        return out

    def _end(self) -> bytes:
        if not all(reader.ended for reader in self._readers.values()):
            raise incomplete()
        out = self._inner.finish()
        self._look_inside()
        return out

    def _look_inside(self) -> None:
        self.content_seen = self._inner.content_seen
        self.usage = self._inner.usage
        self.pieces = max(self._inner.pieces, self._read)
        self.finish_reason = self._inner.finish_reason

    def _rewrite(self, choice: Any, at: int) -> Any:
        """A choice as the client shall see it; None where it says nothing to the client."""
        if not isinstance(choice, dict):
            return choice
        index = choice.get("index")
        index = index if isinstance(index, int) else at
        reader = self._readers.get(index)
        if reader is None:
            reader = ChoiceReader(self._emulation, self._form, self._make_id)
            self._readers[index] = reader
        delta = choice.get("delta")
        delta = dict(delta) if isinstance(delta, dict) else {}
        text = delta.get("content")
        word = choice.get("finish_reason")
        if not text and not word:
            return choice
        if not isinstance(text, (str, type(None))):
            raise misfit()
        self._read += 1  # pieces of the JSON, which the client may never see
        return _merge(choice, delta, reader, str(word or ""))


def _merge(choice: Json, delta: Json, reader: ChoiceReader, word: str) -> Json | None:
    """A choice with its text read, and ended where it has a finish reason."""
    text = delta.pop("content", None)
    if reader.ended:  # some upstreams repeat a finished choice in the chunk that has the usage
        return {**choice, "delta": delta}
    delta |= reader.feed(text or "")
    reason: FinishReason | None = None
    if word:
        last, reason = reader.end(word)
        if last:
            delta["content"] = cast("str", delta.get("content", "")) + last
    elif not delta and not choice.get("logprobs"):
        return None
    return {**choice, "delta": delta, "finish_reason": reason}
