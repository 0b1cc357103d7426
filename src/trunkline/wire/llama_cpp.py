"""llama.cpp's server where it differs from OpenAI's format, for engines that we run.

Measured on xllamacpp 2026.10 (docs/engine.md): it notices a client that leaves only while it
streams, and in the prompt phase only while it reports progress. So every call is streamed with
progress reports, and folded into a whole answer where the client wants one. With ``n`` above 1
each choice has a usage of its own, which are summed here.
"""

from typing import Final

import msgspec

from trunkline.events import Usage
from trunkline.wire.body import read_fields
from trunkline.wire.mend import Json
from trunkline.wire.reply import (
    Answer,
    FrameReply,
    Pair,
    StreamReply,
    WrappedReply,
    decode_object,
    incomplete,
)
from trunkline.wire.sse import DONE, Frame, SseReader

_TRUE: Final = msgspec.Raw(b"true")
_ONE: Final = msgspec.Raw(b"1")
_WITH_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')
# In a string of JSON the quotes would be escaped: only a field looks like this.
_PROGRESS: Final = b'"prompt_progress":'
_USAGE: Final = b'"usage":{'
_RUNS: Final = b'"finish_reason":null'
_OPENS: Final = b'"role":"assistant"'
_ENCODER = msgspec.json.Encoder()


def write_request(body: bytes) -> bytes:
    """The request with what makes it cancellable; log probabilities as many as asked for."""
    fields = read_fields(body)
    fields["stream"] = fields["return_progress"] = _TRUE
    fields["stream_options"] = _WITH_USAGE
    if bytes(fields.get("logprobs", msgspec.Raw(b""))) == b"true":
        fields.setdefault("top_logprobs", _ONE)  # it would send twenty
    return _ENCODER.encode(fields)


class EnginePair:
    """A pair of formats whose upstream is an engine of ours."""

    def __init__(self, pair: Pair) -> None:
        self.path = pair.path
        self._pair = pair

    def write_request(self) -> bytes:
        """See ``Pair``."""
        return write_request(self._pair.write_request())

    def read_answer(self, body: bytes) -> Answer:
        """See ``Pair``."""
        return self._pair.read_answer(body)

    def open_stream(self) -> StreamReply:
        """See ``Pair``."""
        return EngineReply(self._pair.open_stream())

    def open_fold(self) -> StreamReply:
        """See ``Pair``."""
        return Fold()


def _add_usage(total: Json | None, more: Json) -> Json:
    """The prompt is counted once, whatever number of choices came of it."""
    if total is None:
        return more
    completion = total["completion_tokens"] + more["completion_tokens"]
    return {
        **total,
        "completion_tokens": completion,
        "total_tokens": total["prompt_tokens"] + completion,
    }


class _Progress(msgspec.Struct, gc=False):
    """How much of the prompt has been read, of how many tokens."""

    processed: int = 0


class _Reported(msgspec.Struct, gc=False):
    prompt_progress: _Progress | None = None


_REPORT: Final = msgspec.json.Decoder(_Reported)


class Count:
    """Counts along: the engine tells how much of the prompt it has read, and sends a chunk a token.

    It holds a token back only where a character is not complete yet, or a stop text may be.
    """

    def __init__(self) -> None:
        self._read = 0
        self.pieces = 0

    def note(self, data: bytes) -> bool:
        """Take in one chunk; True for a report that is not the client's to see."""
        if data.find(_PROGRESS) >= 0:
            try:
                reported = _REPORT.decode(data).prompt_progress
            except msgspec.MsgspecError:
                return True
            self._read = reported.processed if reported else self._read
            return True
        if data.find(_RUNS) >= 0 > data.find(_OPENS):
            self.pieces += 1
        return False

    def write_usage(self) -> Usage:
        """What has passed so far."""
        return Usage(self._read, self.pieces, self._read + self.pieces)


class EngineReply(WrappedReply):
    """An engine's stream as OpenAI would have sent it: no progress, one usage, at the end."""

    def __init__(self, inner: StreamReply) -> None:
        super().__init__(inner)
        self._count = Count()
        self._sse = SseReader()
        self._usage: Json | None = None
        self._last: Json | None = None

    @property
    def counted(self) -> Usage:
        """See ``StreamReply``."""
        return self._count.write_usage()

    @property
    def pieces(self) -> int:
        """See ``StreamReply``."""
        return self._count.pieces

    def feed(self, data: bytes) -> bytes:
        """See ``StreamReply``."""
        out = [self._filter(frame) for frame in self._sse.feed(data)]
        return self._inner.feed(b"".join(out))

    def feed_token(self, data: bytes, start: int, stop: int) -> bytes | None:
        """See ``StreamReply``."""
        out = None if self._sse.rest else self._inner.feed_token(data, start, stop)
        if out is not None:
            self._count.note(data)
        return out

    def finish(self) -> bytes:
        """See ``StreamReply``."""
        out = [self._filter(frame) for frame in self._sse.close()]
        if self._last is not None:
            self._last["usage"] = self._usage
            out.append(b"data: " + _ENCODER.encode(self._last) + b"\n\n" + DONE)
        return self._inner.feed(b"".join(out)) + self._inner.finish()

    def _filter(self, frame: Frame) -> bytes:
        data = frame.data
        if data == b"[DONE]" or self._count.note(data):
            return b""
        if data.find(_USAGE) >= 0 and not frame.event:
            chunk = decode_object(data)
            usage = chunk.pop("usage", None)
            if isinstance(usage, dict):
                self._usage = _add_usage(self._usage, usage)
                self._last = {**chunk, "choices": []}
                if not chunk.get("choices"):
                    return b""
                data = _ENCODER.encode(chunk)
        name = b"event: " + frame.event + b"\n" if frame.event else b""
        return name + b"data: " + data + b"\n\n"


class Fold(FrameReply):
    """A whole answer made of an engine's stream; its bytes come from ``finish``."""

    __slots__ = ("_choices", "_count", "_head", "_sum")

    def __init__(self) -> None:
        super().__init__()
        self._head: Json = {}
        self._choices: dict[int, Json] = {}
        self._sum: Json | None = None
        self._count = Count()

    @property
    def counted(self) -> Usage:
        """See ``StreamReply``."""
        return self._count.write_usage()

    def _take(self, data: bytes) -> bytes:
        if self._count.note(data):
            return b""
        chunk = decode_object(data)
        usage = chunk.pop("usage", None)
        if isinstance(usage, dict):
            self._sum = _add_usage(self._sum, usage)
        self._head.update({name: chunk[name] for name in chunk if name != "choices"})
        for part in chunk.get("choices") or ():
            choice = self._choices.setdefault(part["index"], {"index": part["index"]})
            _add_part(choice, part)
        return b""

    def _end(self) -> bytes:
        choices = [self._choices[index] for index in sorted(self._choices)]
        if not choices or not all(choice.get("finish_reason") for choice in choices):
            raise incomplete()
        whole = {**self._head, "choices": choices, "usage": self._sum}
        if whole.get("object") == "chat.completion.chunk":
            whole["object"] = "chat.completion"
        return _ENCODER.encode(whole)


def _add_part(choice: Json, part: Json) -> None:
    """Add a streamed part of a choice to what there is of it."""
    if part.get("finish_reason"):
        choice["finish_reason"] = part["finish_reason"]
    if "text" in part:
        choice["text"] = choice.get("text", "") + (part["text"] or "")
    if isinstance(part.get("delta"), dict):
        _add_delta(
            choice.setdefault("message", {"role": "assistant", "content": None}), part["delta"]
        )
    if isinstance(part.get("logprobs"), dict):
        logprobs = choice.setdefault("logprobs", {"content": []})
        logprobs["content"] += part["logprobs"].get("content") or []


def _add_delta(message: Json, delta: Json) -> None:
    for name in ("content", "reasoning_content", "refusal"):
        if delta.get(name):
            message[name] = (message.get(name) or "") + delta[name]
    for piece in delta.get("tool_calls") or ():
        calls: list[Json] = message.setdefault("tool_calls", [])
        at = piece.get("index", len(calls) - 1)
        while len(calls) <= at:
            calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[at], piece.get("function") or {}
        if piece.get("id"):
            call["id"] = piece["id"]
        for name in ("name", "arguments"):
            call["function"][name] += function.get(name) or ""
