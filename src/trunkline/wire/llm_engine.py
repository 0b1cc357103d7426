"""LLM Engine's own completion format, v1, upstream side: raw prompts for Scale's open models.

Its second version has OpenAI's shapes and is tapped (``/v2/chat/completions``). Sources: the
server's ``api/llms_v1.py`` and ``common/dtos/llms/completion.py`` in scaleapi/llm-engine
(read 2026-11-22), and docs/contract.md, LLM Engine.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import msgspec

from trunkline.chat import TextRequest
from trunkline.errors import GatewayError
from trunkline.events import Began, Event, Finish, FinishReason, TextDelta, Usage
from trunkline.wire import openai_failure
from trunkline.wire.change import Changes
from trunkline.wire.parameter import NAMES, Cell, write_parameters
from trunkline.wire.reply import MISFIT, decode_object
from trunkline.wire.sse import Frame
from trunkline.wire.translate import SseEvents
from trunkline.wire.upstream_failure import Said

MAX_NEW_TOKENS: Final = 100
TEMPERATURE: Final = 0.2
"""Both fields are required there; SGP's own defaults (docs/contract.md, Completions)."""

PARAMETERS: Final[Mapping[str, Cell]] = MappingProxyType(
    {
        **dict.fromkeys(NAMES, Cell("dropped", note="not of this format; chat goes to /v2")),
        "prompt": Cell("carried", by_code=True),
        "messages": Cell("refused", by_code=True, note="chat goes to /v2, in OpenAI's shape"),
        "images": Cell("refused", by_code=True),
        "stream": Cell("carried", by_code=True, note="chooses the operation"),
        "stream_options": Cell("carried", by_code=True, note="usage always comes"),
        "temperature": Cell("defaulted", low=0, high=1, note=f"{TEMPERATURE} where absent"),
        "max_tokens": Cell("defaulted", to="max_new_tokens", note=f"{MAX_NEW_TOKENS} where absent"),
        "stop": Cell("renamed", to="stop_sequences"),
        "top_p": Cell("clamped", high=1),
        "top_k": Cell("clamped", low=-1),
        "frequency_penalty": Cell("clamped", low=0, high=2),
        "presence_penalty": Cell("clamped", low=0, high=2),
    }
)
_ENCODER = msgspec.json.Encoder()


class _Output(msgspec.Struct, gc=False):
    text: str
    num_completion_tokens: int | None = None
    num_prompt_tokens: int | None = None
    finished: bool = False


class _Reply(msgspec.Struct, gc=False):
    output: _Output | None = None
    request_id: str | None = None
    error: Any = None


_REPLY = msgspec.json.Decoder(_Reply)


class PromptCall:
    """One raw prompt; see ``UpstreamCall``."""

    def __init__(self, request: TextRequest, model: str, changes: Changes) -> None:
        if request.images:
            raise GatewayError("invalid_request", "This target takes no images.", param="images")
        name = "stream" if request.stream else "sync"
        self.path = f"/v1/llm/completions-{name}?model_endpoint_name={quote(model, safe='')}"
        given: dict[str, Any] = {
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "stop": list(request.stop) or None,
            "top_p": request.top_p,
            "top_k": request.top_k,
            "frequency_penalty": request.frequency_penalty,
            "presence_penalty": request.presence_penalty,
            "reasoning_effort": request.reasoning_effort,
        }
        given = {key: value for key, value in given.items() if value is not None}
        for key, default in (("max_tokens", MAX_NEW_TOKENS), ("temperature", TEMPERATURE)):
            if key not in given:
                given[key] = default
                changes.default(key, default)
        fields = write_parameters(PARAMETERS, given, changes)
        self._limit = fields["max_new_tokens"]
        self._body = _ENCODER.encode({"prompt": request.prompt, **fields})

    def write_request(self) -> bytes:
        """See ``UpstreamCall``."""
        return self._body

    def read_answer(self, body: bytes) -> Iterable[Event]:
        """See ``UpstreamCall``."""
        reply = _read_reply(body)
        output = reply.output
        if reply.error or output is None:
            raise _told_failure(reply.error)
        yield Began(reply.request_id or "")
        yield TextDelta(output.text)
        yield from _read_end(output.num_prompt_tokens, output.num_completion_tokens, self._limit)

    def open_reader(self) -> "PromptReader":
        """See ``UpstreamCall``."""
        return PromptReader(self._limit)


class PromptReader(SseEvents):
    """A streamed reply; see ``EventReader``."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._prompt_tokens: int | None = None
        self._completion_tokens: int | None = None
        self._is_complete = False

    def read_frame(self, frame: Frame) -> Iterable[Event]:
        """See ``SseEvents``."""
        if frame.data == b"[DONE]":
            return
        reply = _read_reply(frame.data)
        output = reply.output
        if reply.error or output is None:
            raise _told_failure(reply.error)
        if output.num_prompt_tokens is not None:
            self._prompt_tokens = output.num_prompt_tokens
        if output.num_completion_tokens is not None:
            self._completion_tokens = output.num_completion_tokens
        if output.text:
            yield TextDelta(output.text)
        if output.finished and not self._is_complete:
            self._is_complete = True
            yield from _read_end(self._prompt_tokens, self._completion_tokens, self._limit)

    def is_complete(self) -> bool:
        """See ``SseEvents``."""
        return self._is_complete


def open_call(request: TextRequest, model: str, changes: Changes) -> PromptCall:
    """A call of the model endpoint ``model``; defaults and clamps are noted in ``changes``.

    Raises:
        GatewayError: ``invalid_request`` for images, or where ``changes`` is strict.
    """
    return PromptCall(request, model, changes)


def read_said(body: bytes, _headers: Mapping[bytes, bytes] | None = None) -> Said:
    """What an error body says: a sentence in ``detail``, or what vLLM said, wrapped or not."""
    try:
        value = decode_object(body)
    except GatewayError:
        return openai_failure.read_said(body)
    detail = value.get("detail")
    if isinstance(detail, dict):
        return openai_failure.read_said(_ENCODER.encode(detail))
    if isinstance(detail, str):
        return Said(message=detail)
    return openai_failure.read_said(body)


def _read_reply(body: bytes) -> _Reply:
    try:
        return _REPLY.decode(body)
    except MISFIT:
        raise GatewayError(
            "upstream_error", "The upstream's answer is not what its wire format says."
        ) from None


def _read_end(prompt: int | None, completion: int | None, limit: int) -> Iterable[Event]:
    """This format tells no finish reason: an answer as long as its limit was cut by it."""
    is_cut = completion is not None and completion >= limit
    reason: FinishReason = "length" if is_cut else "stop"
    if prompt is not None and completion is not None:
        yield Usage(prompt, completion, prompt + completion)
    yield Finish(reason, "")


def _told_failure(error: Any) -> GatewayError:
    """The failure that a frame tells of: ``{"status_code": …, "content": {…}}``."""
    status = error.get("status_code") if isinstance(error, dict) else None
    if status in (429, 503):
        return GatewayError("overloaded", "The upstream is overloaded.", retry_after_s=1)
    return GatewayError("upstream_error", "The upstream failed in the middle of its answer.")
