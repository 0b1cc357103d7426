"""OpenAI's embeddings format, both sides: the request is checked, the answer passed on.

OpenAI's API reference, "Create embeddings" (read 2026-11-22). SGP has no route of this shape;
clients of OpenAI's SDK do.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from trunkline.chat import ChatRequest
from trunkline.events import Usage
from trunkline.wire.body import read_body
from trunkline.wire.mend import Stamp
from trunkline.wire.openai_chat import ModelName
from trunkline.wire.reply import Answer, StreamReply, decode_reply

PATH: Final = "/embeddings"
_INPUT_LIMIT: Final = 2048


class EmbeddingBody(msgspec.Struct, gc=False):
    """Texts, or tokens, to embed."""

    model: ModelName
    input: str | Annotated[list[Any], Meta(min_length=1, max_length=_INPUT_LIMIT)]
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class Embedding(msgspec.Struct, gc=False):
    """One vector: numbers, or their bytes in base64."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"]


class EmbeddingUsage(msgspec.Struct, gc=False):
    """Tokens of all texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(msgspec.Struct, gc=False):
    """A vector for each text."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage | None = None
    error: None = None


_BODY = msgspec.json.Decoder(EmbeddingBody)
_ANSWER = msgspec.json.Decoder(EmbeddingAnswer)


def read_request(body: bytes) -> ChatRequest:
    """An embedding request, checked; its fields are kept verbatim.

    Raises:
        GatewayError: ``validation_error``, as for chat.
    """
    checked = read_body(_BODY, body)
    return ChatRequest(checked.model, body, stream=False, include_usage=False, max_tokens=0)


class EmbeddingPair:
    """An embedding request towards a target that speaks the same format."""

    def __init__(self, body: bytes, stamp: Stamp, path: str) -> None:
        self.path = path
        self._body = body
        self._stamp = stamp

    def write_request(self) -> bytes:
        """See ``Pair``."""
        return self._body

    def read_answer(self, body: bytes) -> Answer:
        """See ``Pair``."""
        answer, payload = decode_reply(_ANSWER, body, self._stamp, _mend)
        counted = answer.usage
        usage = Usage(counted.prompt_tokens, 0, counted.prompt_tokens) if counted else None
        return Answer(payload, usage, None)

    def open_fold(self) -> None:
        """See ``Pair``."""

    def open_stream(self) -> StreamReply:
        """Embeddings are never streamed."""
        raise NotImplementedError


def _mend(answer: dict[str, Any], stamp: Stamp) -> dict[str, Any]:
    """What some servers leave out of the envelope."""
    answer["object"] = "list"
    if not isinstance(answer.get("model"), str):
        answer["model"] = stamp.model
    for position, each in enumerate(answer["data"]):
        each["object"] = "embedding"
        if not isinstance(each.get("index"), int):
            each["index"] = position
    usage = answer.pop("usage", None)
    if isinstance(usage, dict):
        # Without a completion the one count stands for the other.
        counts = {name: count for name, count in usage.items() if isinstance(count, int)}
        prompt = counts.get("prompt_tokens", counts.get("total_tokens"))
        if prompt is not None:
            total = counts.get("total_tokens", prompt)
            answer["usage"] = {**usage, "prompt_tokens": prompt, "total_tokens": total}
    return answer
