"""Keeps along what the client of a stream has been given, for the case that the stream breaks.

What the client has is what its own frames say, so these are what is kept: whatever stands between
them and the upstream, no byte of the text is lost or doubled by reading it anew.
"""

import json
from collections.abc import Iterator
from typing import Final

import msgspec

from trunkline.wire.mend import Json
from trunkline.wire.reply import Answer, Pair, StreamReply, WrappedReply

LIMIT_BYTES: Final = 1024 * 1024
"""The longest text that is kept: a longer one is not continued."""
_FOLD_BYTES: Final = 64 * 1024
_PREFIX: Final = b"data: "
_PLAIN: Final = frozenset({"role", "content"})
_HEAD: Final = ("id", "created", "model")


def list_payloads(data: bytes) -> Iterator[bytes]:
    """The JSON of each frame in bytes that the gateway wrote itself; the rest stays away."""
    for block in data.split(b"\n\n"):
        if block.startswith(_PREFIX) and not block.endswith(b"[DONE]"):
            yield block[len(_PREFIX) :]


def is_plain_choice(choice: Json) -> bool:
    """Whether a piece of an alternative has nothing in it but the text of the only one."""
    said = {name for name, value in (choice.get("delta") or {}).items() if value}
    return not choice.get("index") and not choice.get("logprobs") and said <= _PLAIN


class Transcript:
    """The text that a client was given, and what stood around it.

    Attributes:
        head: what all chunks of the chat formats have in common; empty for native completions.
        is_plain: there was nothing but text, and not too much of it.
        is_native: the frames are those of native completions, which show no thoughts.
        has_ended: the client has been given a finish reason.
        texts: how many frames had text in them.
    """

    __slots__ = (
        "_frames",
        "_held",
        "_parts",
        "_size",
        "has_ended",
        "head",
        "is_native",
        "is_plain",
        "texts",
    )

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._held = 0
        self._parts: list[str] = []
        self._size = 0
        self.head: Json = {}
        self.is_native = False
        self.is_plain = True
        self.has_ended = False
        self.texts = 0

    def add(self, data: bytes) -> None:
        """Keep what the client is given; read only when there is much of it."""
        if self.is_plain:
            self._frames.append(data)
            self._held += len(data)
            if self._held > _FOLD_BYTES:
                self.fold()

    def read_text(self) -> str:
        """All of the text so far.

        Raises:
            UnicodeError: where it ends within a character.
        """
        self.fold()
        # Halves of a character may have come in two chunks.
        units = "".join(self._parts).encode("utf-16-le", "surrogatepass")
        return units.decode("utf-16-le")

    def fold(self) -> None:
        """Read what has been kept since the last time; the attributes are right after it."""
        data, self._held = b"".join(self._frames), 0
        self._frames.clear()
        for payload in list_payloads(data):
            self._note(json.loads(payload))
        if self._size > LIMIT_BYTES:
            self.is_plain = False
        if not self.is_plain:
            self._parts.clear()

    def _note(self, chunk: Json) -> None:
        if "completion" in chunk:
            self.is_native = True
            said = chunk["completion"]
            text, reason = said["text"], said["finish_reason"]
        else:
            self.head = self.head or {name: chunk[name] for name in _HEAD}
            choices = chunk["choices"]
            self.is_plain = self.is_plain and all(map(is_plain_choice, choices))
            text = "".join(each["delta"].get("content") or "" for each in choices)
            reason = next((each.get("finish_reason") for each in choices), None)
        self.has_ended = self.has_ended or bool(reason)
        if text:
            self.texts += 1
            self._size += len(text)
            self._parts.append(text)


class RecordedReply(WrappedReply):
    """A reply whose transcript is kept."""

    def __init__(self, inner: StreamReply) -> None:
        super().__init__(inner)
        self.transcript = Transcript()

    def feed(self, data: bytes) -> bytes:
        """See ``StreamReply``."""
        out = self._inner.feed(data)
        if out:
            self.transcript.add(out)
        return out

    def feed_token(self, data: bytes, start: int, stop: int) -> bytes | None:
        """See ``StreamReply``."""
        out = self._inner.feed_token(data, start, stop)
        if out is not None:
            self.transcript.add(data[start:stop] if out is data else out)
        return out

    def finish(self) -> bytes:
        """See ``StreamReply``; nothing can break behind it."""
        return self._inner.finish()

    def has_thoughts(self) -> bool:
        """Whether there were thoughts that the client's format does not show."""
        self.transcript.fold()
        return self.transcript.is_native and self._inner.pieces > self.transcript.texts


class RecordedPair:
    """A pair of formats whose streams are kept along; see ``Pair``."""

    def __init__(self, pair: Pair) -> None:
        self.path = pair.path
        self._pair = pair

    def write_request(self) -> bytes:
        """See ``Pair``."""
        return self._pair.write_request()

    def read_answer(self, body: bytes) -> Answer:
        """See ``Pair``."""
        return self._pair.read_answer(body)

    def open_fold(self) -> StreamReply | None:
        """See ``Pair``."""
        return self._pair.open_fold()

    def open_stream(self) -> StreamReply:
        """See ``Pair``."""
        return RecordedReply(self._pair.open_stream())


class Said(msgspec.Struct, frozen=True):
    """What a client has of an answer that broke, from all of its attempts so far.

    Args:
        text: all of it.
        head: see ``Transcript``.
        input_tokens: that those attempts used.
        output_tokens: likewise.
        breaks: how often it broke.
    """

    text: str = ""
    head: Json = {}
    input_tokens: int = 0
    output_tokens: int = 0
    breaks: int = 0
