"""OpenAI's chat format: reads a client's request, writes an upstream's, reads its answers.

SGP's beta chat is the same format with closed words and without ``[DONE]``. Field table and
ranges: docs/contract.md, Chat requests; OpenAI's API reference, "Create chat completion"
(read 2026-11-21).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from trunkline.chat import ChatRequest, TextRequest
from trunkline.errors import GatewayError
from trunkline.events import Event, Finish, ReasoningDelta, TextDelta
from trunkline.wire.argument import check_message
from trunkline.wire.body import JsonObject, read_body, read_fields
from trunkline.wire.mend import Stamp, mend_answer, mend_chunk
from trunkline.wire.openai_reply import CHAT_ANSWER, CHAT_CHUNK, ChatAnswer, ChatChunk
from trunkline.wire.parameter import NAMES, Cell
from trunkline.wire.reply import (
    MISFIT,
    Answer,
    Answered,
    StreamReply,
    decode_object,
    decode_reply,
    encode_object,
    native_reason,
)
from trunkline.wire.tap import Tap

PATH: Final = "/chat/completions"
STOP_LIMIT: Final = 4
TOOL_LIMIT: Final = 128
CHOICE_LIMIT: Final = 128

_Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
Stop = str | Annotated[list[str], Meta(max_length=1000)]
LogitBias = Annotated[dict[str, Annotated[int, Meta(ge=-100, le=100)]], Meta(max_length=10_000)]
_Objects = Annotated[list[JsonObject], Meta(max_length=1000)]


PARAMETERS: Final[Mapping[str, Cell]] = MappingProxyType(
    {
        **dict.fromkeys(
            NAMES, Cell("carried", note="as the client wrote it, save the row's drops")
        ),
        "prompt": Cell("renamed", to="messages", by_code=True, note="one user message"),
        "images": Cell("renamed", to="messages", by_code=True, note="parts of that message"),
        "n": Cell("carried", note="sent several times where the row says n_fan_out"),
        "stream_options": Cell("carried", by_code=True, note="a stream always asks for usage"),
    }
)
"""What becomes of parameters at a target of this format; a row's drops and rewrites come on top."""


class StreamOptions(msgspec.Struct, gc=False):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class ChatBody(msgspec.Struct, gc=False):
    """The fields that are checked here; insides of messages and tools are the upstream's."""

    model: ModelName
    messages: Annotated[list[JsonObject], Meta(min_length=1, max_length=10_000)]
    audio: JsonObject | None = None
    frequency_penalty: _Penalty | None = None
    function_call: JsonObject | str | None = None
    functions: _Objects | None = None
    logit_bias: LogitBias | None = None
    logprobs: bool | None = None
    max_completion_tokens: Count | None = None
    max_tokens: Count | None = None
    metadata: dict[str, str] | None = None
    modalities: list[str] | None = None
    n: Count | None = None
    parallel_tool_calls: bool | None = None
    prediction: JsonObject | None = None
    presence_penalty: _Penalty | None = None
    reasoning_effort: str | None = None
    response_format: JsonObject | None = None
    seed: int | None = None
    stop: Stop | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    tool_choice: str | JsonObject | None = None
    tools: _Objects | None = None
    top_k: int | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None


_BODY = msgspec.json.Decoder(ChatBody)
_ENCODER = msgspec.json.Encoder()
_OPTIONS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WITH_USAGE = msgspec.Raw(b'{"include_usage":true}')
_TRUE = msgspec.Raw(b"true")
_MODEL = b'"model"'
_USAGE = {"include_usage": _TRUE}
_THOUGHT = b'"reasoning_content":'
_OTHER_THOUGHT = b'"reasoning":'


def read_request(body: bytes) -> ChatRequest:
    """A chat request, checked as far as the contract states types and ranges.

    Raises:
        GatewayError: ``validation_error`` for types, ranges and missing fields,
            ``invalid_request`` for the limits that the schema does not state.
    """
    checked = read_body(_BODY, body)
    if isinstance(checked.stop, list):
        check_limit("stop", len(checked.stop), STOP_LIMIT)
    if checked.tools:
        check_limit("tools", len(checked.tools), TOOL_LIMIT)
    if checked.n:
        check_limit("n", checked.n, CHOICE_LIMIT)
    options = checked.stream_options
    # An upstream may honour either.
    most, other = checked.max_tokens, checked.max_completion_tokens
    if other is not None and (most is None or other > most):
        most = other
    return ChatRequest(
        checked.model,
        body,
        bool(checked.stream),
        bool(options and options.include_usage),
        most,
        checked.n or 1,
    )


def check_limit(name: str, count: int, limit: int) -> None:
    """Raises ``invalid_request`` when a field asks for more than ``limit``."""
    if count > limit:
        raise GatewayError(
            "invalid_request", f"'{name}' allows at most {limit}, got {count}.", param=name
        )


def write_request(request: ChatRequest, model: str) -> bytes:
    """The client's own request with the target's model name and without nulls.

    A stream always asks for usage: the gateway needs it, and ``Tap`` drops the chunk if the
    client did not ask.
    """
    if not request.stream:
        replaced = _replace_model(request.body, request.model, model)
        if replaced is not None:
            return replaced
    return write_fields(read_fields(request.body), request, model)


def write_fields(
    fields: dict[str, msgspec.Raw], request: ChatRequest, model: str, *, asks_usage: bool = True
) -> bytes:
    """The same for a body that was already taken apart.

    ``asks_usage`` is false for upstreams that refuse ``stream_options``.
    """
    written: dict[str, Any] = {**fields, "model": model}
    if not asks_usage:
        written.pop("stream_options", None)
    elif request.stream and not request.include_usage:
        options = fields.get("stream_options")
        written["stream_options"] = _OPTIONS.decode(options) | _USAGE if options else _WITH_USAGE
    return _ENCODER.encode(written)


def _replace_model(body: bytes, name: str, model: str) -> bytes | None:
    r"""The same bytes with another model name; None where the bytes do not tell its place.

    The text ``"model"`` stands once, a colon and the name behind it: then it is the key, for in
    a string its quotes would be escaped. ``\u00`` could spell the key in another way, and
    ``null`` might be a field to leave out.
    """
    key_end = body.find(_MODEL) + len(_MODEL)
    if body.find(_MODEL, key_end) >= 0 or body.find(b"null") >= 0:
        return None
    if body.find(b"\\") >= 0 and body.find(b"\\u00") >= 0:
        return None
    quoted = _ENCODER.encode(name)
    at = body.find(quoted, key_end)
    if at < 0 or body[key_end:at].strip(b" \t\r\n") != b":":
        return None
    return b"".join((body[:at], _ENCODER.encode(model), body[at + len(quoted) :]))


def write_text_request(request: TextRequest, model: str) -> bytes:
    """A completion's prompt as one user message, with its images as parts of it."""
    content: str | list[dict[str, Any]] = request.prompt
    if request.images:
        content = [{"type": "text", "text": request.prompt}]
        content += [
            {"type": "image_url", "image_url": {"url": image.image_url, "detail": image.detail}}
            for image in request.images
        ]
    fields: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": content}]}
    fields.update(text_parameters(request))
    if request.reasoning_effort is not None:
        fields["reasoning_effort"] = request.reasoning_effort
    return _ENCODER.encode(fields)


def text_parameters(request: TextRequest) -> dict[str, Any]:
    """The parameters of a completion that chat and text requests spell alike."""
    fields: dict[str, Any] = {}
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    if request.max_tokens is not None:
        fields["max_tokens"] = request.max_tokens
    if request.stop:
        fields["stop"] = request.stop
    if request.top_p is not None:
        fields["top_p"] = request.top_p
    if request.top_k is not None:
        fields["top_k"] = request.top_k
    if request.frequency_penalty is not None:
        fields["frequency_penalty"] = request.frequency_penalty
    if request.presence_penalty is not None:
        fields["presence_penalty"] = request.presence_penalty
    if request.stream:
        fields["stream"] = _TRUE
        fields["stream_options"] = _WITH_USAGE
    return fields


def read_answer(body: bytes, stamp: Stamp) -> tuple[ChatAnswer, bytes]:
    """A whole answer and the bytes for a client of the same format: mended only if it must be.

    Raises:
        GatewayError: ``upstream_error`` when the body is no chat answer even after mending.
    """
    answer, payload = decode_reply(CHAT_ANSWER, body, stamp, mend_answer)
    if not answer.choices:
        raise GatewayError("upstream_error", "The upstream's answer has no choices.")
    for choice in answer.choices:
        if choice.message.tool_calls or choice.message.function_call:
            return answer, _check_calls(payload)
    return answer, payload


def _check_calls(payload: bytes) -> bytes:
    """A whole answer whose calls have arguments that can be read; see ``argument``."""
    value = decode_object(payload)
    changed = [check_message(each["message"], each["finish_reason"]) for each in value["choices"]]
    return encode_object(value) if any(changed) else payload


def read_chunk(body: bytes, stamp: Stamp) -> tuple[ChatChunk, bytes]:
    """A chunk of a stream, as ``read_answer`` reads a whole answer."""
    if body.find(_OTHER_THOUGHT) >= 0:
        renamed = _rename_thought(body)
        if renamed is not None:
            return renamed
    return decode_reply(CHAT_CHUNK, body, stamp, mend_chunk)


def _rename_thought(body: bytes) -> tuple[ChatChunk, bytes] | None:
    """The short way of what ``mend_chunk`` does to most chunks of a thinking vLLM.

    In a string of JSON the quotes would be escaped, so the text is a key; that it is the
    delta's shows where the other name has a value afterwards.
    """
    if body.count(_OTHER_THOUGHT) != 1 or _THOUGHT in body:
        return None
    renamed = body.replace(_OTHER_THOUGHT, _THOUGHT)
    try:
        chunk = CHAT_CHUNK.decode(renamed)
    except MISFIT:
        return None
    if not any(choice.delta.reasoning_content for choice in chunk.choices):
        return None
    return chunk, renamed


def read_whole(body: bytes, stamp: Stamp) -> Answered:
    """A whole answer as what a completion client needs of it; a refusal is a text there."""
    answer, payload = read_answer(body, stamp)
    choice = answer.choices[0]
    return Answered(
        answer.id,
        choice.message.content or choice.message.refusal or "",
        choice.finish_reason,
        choice.finish_reason if payload is body else native_reason(body),
        answer.usage,
    )


def read_token(body: bytes) -> str | None:
    """The text of a chunk that says nothing else; None where it must be read in full."""
    try:
        chunk = CHAT_CHUNK.decode(body)
    except MISFIT:
        return None
    if chunk.usage is not None or len(chunk.choices) != 1:
        return None
    choice = chunk.choices[0]
    return None if choice.finish_reason or choice.index else choice.delta.content


def read_events(body: bytes, stamp: Stamp) -> list[Event]:
    """What a chunk of a stream says, as events; an alternative that nobody asked for is none."""
    chunk, payload = read_chunk(body, stamp)
    events: list[Event] = []
    if chunk.choices and not chunk.choices[0].index:
        choice = chunk.choices[0]
        text = choice.delta.content or choice.delta.refusal
        if text:
            events.append(TextDelta(text))
        elif choice.delta.reasoning_content:
            events.append(ReasoningDelta(choice.delta.reasoning_content))
        if choice.finish_reason:
            native = choice.finish_reason if payload is body else native_reason(body)
            events.append(Finish(choice.finish_reason, native))
    if chunk.usage is not None:
        events.append(chunk.usage)
    return events


class ChatPair(msgspec.Struct, eq=False, gc=False):
    """A chat request towards a target that speaks chat: tapped, not translated.

    Args:
        request: what the client asked for.
        body: the same as the target wants it.
        stamp: for what the answer lacks.
        done: the client's dialect ends streams with ``[DONE]``.
        path: where the target takes chat requests.
    """

    request: ChatRequest
    body: bytes
    stamp: Stamp
    done: bool
    path: str = PATH

    def write_request(self) -> bytes:
        """See ``Pair``."""
        return self.body

    def read_answer(self, body: bytes) -> Answer:
        """See ``Pair``."""
        answer, payload = read_answer(body, self.stamp)
        return Answer(payload, answer.usage, answer.choices[0].finish_reason)

    def open_fold(self) -> None:
        """See ``Pair``."""

    def open_stream(self) -> StreamReply:
        """See ``Pair``."""
        return Tap(
            CHAT_CHUNK,
            read_chunk,
            self.stamp,
            done=self.done,
            include_usage=self.request.include_usage,
        )
