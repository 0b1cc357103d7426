"""Joins the rest of an answer to what the client has of it, so that it sees one stream."""

import json
from typing import Any

from trunkline.errors import GatewayError
from trunkline.wire.continuation import Way, split_text, write_continuation
from trunkline.wire.mend import Json
from trunkline.wire.reply import Answer, Pair, StreamReply, WrappedReply, encode_object
from trunkline.wire.sse import DONE, write_frame
from trunkline.wire.transcript import Said, is_plain_choice, list_payloads


class Splice:
    """Rewrites the client's frames of a continuation.

    Args:
        said: what the client has.
        overlap: the end of that, which the model may say again.

    Attributes:
        texts: how many frames had text in them, cut or not.
        is_native: the frames are those of native completions.
    """

    def __init__(self, said: Said, overlap: str) -> None:
        self._said = said
        self._overlap = overlap
        self.texts = 0
        self.is_native = False

    def rewrite(self, data: bytes) -> bytes:
        """The frames as the client shall see them.

        Raises:
            GatewayError: ``upstream_error`` where something else than text comes.
        """
        out = []
        for payload in list_payloads(data):
            chunk = json.loads(payload)
            self.is_native = "completion" in chunk
            kept = self._rewrite_native(chunk) if self.is_native else self._rewrite_chat(chunk)
            if kept:
                out.append(write_frame(encode_object(chunk)))
        if data.endswith(DONE):
            out.append(DONE)
        return b"".join(out)

    def _rewrite_chat(self, chunk: Json) -> bool:
        """Change a chunk; False where nothing is left of it."""
        chunk |= self._said.head
        usage = chunk.get("usage")
        has_ended = False
        for choice in chunk["choices"]:
            if not is_plain_choice(choice):
                raise other_than_text()
            delta = choice["delta"]
            delta.pop("role", None)
            delta["content"] = self._cut(delta.get("content") or "")
            has_ended = has_ended or bool(choice.get("finish_reason"))
            if not delta["content"]:
                del delta["content"]
        if usage:
            self._add_usage(usage, ("prompt_tokens", "completion_tokens", "total_tokens"))
        if has_ended:
            chunk["trunkline"] = {"resumed": self._said.breaks}
        return bool(usage or has_ended or any(each["delta"] for each in chunk["choices"]))

    def _rewrite_native(self, chunk: Json) -> bool:
        completion: Json = chunk["completion"]
        text = completion["text"] = self._cut(completion["text"])
        chunk["completions"] = [[text, []]]
        if not completion["finish_reason"]:
            return bool(text)
        metadata = completion.get("response_metadata") or {}
        completion["response_metadata"] = {**metadata, "resumed": self._said.breaks}
        usage: Any = chunk["token_usage"]
        if usage:
            self._add_usage(usage, ("prompt", "completion", "total"))
            chunk["prompt_tokens"], chunk["response_tokens"] = usage["prompt"], usage["completion"]
        return True

    def _cut(self, text: str) -> str:
        """The text without what the client has already."""
        if not text:
            return text
        self.texts += 1
        at = 0
        while at < len(text) and self._overlap:
            if text[at] != self._overlap[0]:
                self._overlap = ""
                break
            self._overlap = self._overlap[1:]
            at += 1
        return text[at:]

    def _add_usage(self, usage: Json, names: tuple[str, str, str]) -> None:
        """What the attempts that broke have used counts too."""
        heard, made, total = names
        usage[heard] += self._said.input_tokens
        usage[made] += self._said.output_tokens
        usage[total] = usage[heard] + usage[made]


class ContinuedReply(WrappedReply):
    """The rest of an answer; its usage is that of this attempt alone."""

    def __init__(self, inner: StreamReply, splice: Splice) -> None:
        super().__init__(inner)
        self._splice = splice

    def feed(self, data: bytes) -> bytes:
        """See ``StreamReply``."""
        out = self._inner.feed(data)
        return self._rewrite(out) if out else b""

    def feed_token(self, _data: bytes, _start: int, _stop: int) -> None:
        """See ``StreamReply``: every frame is rewritten."""

    def finish(self) -> bytes:
        """See ``StreamReply``."""
        return self._rewrite(self._inner.finish())

    def _rewrite(self, data: bytes) -> bytes:
        """The frames as the client shall see them.

        A server that takes what follows for thoughts would lose the rest of a native completion,
        whose format has none.
        """
        out = self._splice.rewrite(data)
        if self._splice.is_native and self._inner.pieces > self._splice.texts:
            raise other_than_text()
        return out


class ContinuedPair:
    """A pair of formats that goes on with an answer; see ``Pair``.

    Args:
        pair: towards the target, for the client's own request.
        way: how the target is given the beginning of the answer.
        said: that beginning.
    """

    def __init__(self, pair: Pair, way: Way, said: Said) -> None:
        self.path = pair.path
        self._pair = pair
        self._way = way
        self._said = said

    def write_request(self) -> bytes:
        """See ``Pair``."""
        return write_continuation(self._pair.write_request(), self._way, self._said)

    def read_answer(self, body: bytes) -> Answer:
        """See ``Pair``."""
        return self._pair.read_answer(body)

    def open_fold(self) -> StreamReply | None:
        """See ``Pair``."""
        return self._pair.open_fold()

    def open_stream(self) -> StreamReply:
        """See ``Pair``."""
        _, overlap = split_text(self._said.text, self._way)
        return ContinuedReply(self._pair.open_stream(), Splice(self._said, overlap))


def other_than_text() -> GatewayError:
    """The failure of a continuation that brings thoughts, calls, or a second alternative."""
    return GatewayError("upstream_error", "The upstream goes on with something else than text.")
