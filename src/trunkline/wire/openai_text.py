"""OpenAI's legacy text format: prompts in, text out, tapped for clients of the same format.

OpenAI's API reference, "Create completion" (read 2026-11-21).
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from trunkline.chat import ChatRequest, TextRequest
from trunkline.errors import GatewayError
from trunkline.events import Event, Finish, TextDelta
from trunkline.wire.body import read_body
from trunkline.wire.mend import Stamp, mend_text_answer, mend_text_chunk
from trunkline.wire.openai_chat import (
    CHOICE_LIMIT,
    STOP_LIMIT,
    Count,
    LogitBias,
    ModelName,
    Stop,
    StreamOptions,
    check_limit,
    text_parameters,
)
from trunkline.wire.openai_reply import TEXT_ANSWER, TEXT_CHUNK, TextAnswer, TextChunk
from trunkline.wire.reply import (
    MISFIT,
    Answer,
    Answered,
    StreamReply,
    decode_reply,
    native_reason,
)
from trunkline.wire.tap import Tap

PATH: Final = "/completions"

_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_ENCODER = msgspec.json.Encoder()


class TextBody(msgspec.Struct):
    """The fields of a legacy text request that are checked here."""

    model: ModelName
    prompt: str | list[str | int | list[int]]
    best_of: Count | None = None
    echo: bool | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: LogitBias | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    max_tokens: Count | None = None
    n: Count | None = None
    presence_penalty: _Penalty | None = None
    seed: int | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    user: str | None = None


_BODY = msgspec.json.Decoder(TextBody)


def read_request(body: bytes) -> ChatRequest:
    """A legacy text request, checked; its fields are kept verbatim.

    Raises:
        GatewayError: ``validation_error`` or ``invalid_request``, as for chat.
    """
    checked = read_body(_BODY, body)
    if isinstance(checked.stop, list):
        check_limit("stop", len(checked.stop), STOP_LIMIT)
    for name in ("n", "best_of"):
        check_limit(name, getattr(checked, name) or 0, CHOICE_LIMIT)
    options = checked.stream_options
    return ChatRequest(
        checked.model,
        body,
        bool(checked.stream),
        bool(options and options.include_usage),
        checked.max_tokens,
        max(checked.n or 1, checked.best_of or 1),
    )


def write_text_request(request: TextRequest, model: str) -> bytes:
    """A completion's prompt as it is, with the parameters that this format has."""
    fields: dict[str, Any] = {"model": model, "prompt": request.prompt}
    fields.update(text_parameters(request))
    return _ENCODER.encode(fields)


def read_answer(body: bytes, stamp: Stamp) -> tuple[TextAnswer, bytes]:
    """A whole answer and its bytes for a client: mended only if it must be."""
    answer, payload = decode_reply(TEXT_ANSWER, body, stamp, mend_text_answer)
    if not answer.choices:
        raise GatewayError("upstream_error", "The upstream's answer has no choices.")
    return answer, payload


def read_chunk(body: bytes, stamp: Stamp) -> tuple[TextChunk, bytes]:
    """A chunk of a stream, as ``read_answer`` reads a whole answer."""
    return decode_reply(TEXT_CHUNK, body, stamp, mend_text_chunk)


def read_whole(body: bytes, stamp: Stamp) -> Answered:
    """A whole answer as what a completion client needs of it."""
    answer, payload = read_answer(body, stamp)
    choice = answer.choices[0]
    native = choice.finish_reason if payload is body else native_reason(body)
    return Answered(answer.id, choice.text, choice.finish_reason, native, answer.usage)


def read_token(body: bytes) -> str | None:
    """The text of a chunk that says nothing else; None where it must be read in full."""
    try:
        chunk = TEXT_CHUNK.decode(body)
    except MISFIT:
        return None
    if chunk.usage is not None or len(chunk.choices) != 1:
        return None
    choice = chunk.choices[0]
    return choice.text if choice.finish_reason is None else None


def read_events(body: bytes, stamp: Stamp) -> list[Event]:
    """What a chunk of a stream says, as events."""
    chunk, payload = read_chunk(body, stamp)
    events: list[Event] = []
    if chunk.choices:
        choice = chunk.choices[0]
        if choice.text:
            events.append(TextDelta(choice.text))
        if choice.finish_reason:
            native = choice.finish_reason if payload is body else native_reason(body)
            events.append(Finish(choice.finish_reason, native))
    if chunk.usage is not None:
        events.append(chunk.usage)
    return events


class TextPair:
    """A legacy text request towards a target that speaks it: tapped, as ``ChatPair`` is."""

    def __init__(self, request: ChatRequest, body: bytes, stamp: Stamp, path: str = PATH) -> None:
        self.path = path
        self._request = request
        self._body = body
        self._stamp = stamp

    def write_request(self) -> bytes:
        """See ``Pair``."""
        return self._body

    def read_answer(self, body: bytes) -> Answer:
        """See ``Pair``."""
        answer, payload = read_answer(body, self._stamp)
        return Answer(payload, answer.usage, answer.choices[0].finish_reason)

    def open_fold(self) -> None:
        """See ``Pair``."""

    def open_stream(self) -> StreamReply:
        """See ``Pair``."""
        return Tap(
            TEXT_CHUNK,
            read_chunk,
            self._stamp,
            done=True,
            include_usage=self._request.include_usage,
        )
