"""Amazon Bedrock's Converse API, upstream side: writes a conversation as its request.

Amazon Bedrock API Reference, "Converse" and "ConverseStream", and botocore 1.44.5's service model
of bedrock-runtime (data/bedrock-runtime/2023-09-30/service-2.json), both read 2026-11-22. What a
model takes besides is in ``bedrock_model``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from trunkline.chat import Conversation, Json
from trunkline.errors import GatewayError
from trunkline.events import Event
from trunkline.wire.answer_tool import AnswerFilter, AnswerReader
from trunkline.wire.bedrock_content import write_messages, write_system
from trunkline.wire.bedrock_model import ADDED, find_model, write_model_fields
from trunkline.wire.bedrock_reply import ConverseReader, read_converse, read_said
from trunkline.wire.bedrock_tool import plan_tools
from trunkline.wire.change import Changes
from trunkline.wire.parameter import Cell, write_parameters
from trunkline.wire.translate import EventReader

__all__ = ["FANS_OUT", "FETCHES_IMAGES", "PARAMETERS", "open_call", "read_said"]

FANS_OUT: Final = True
FETCHES_IMAGES: Final = False

_NO_WAY: Final = Cell("dropped")

PARAMETERS: Final[Mapping[str, Cell]] = {
    "messages": Cell("carried", by_code=True),
    "prompt": Cell("renamed", "messages", by_code=True, note="one user message"),
    "images": Cell("renamed", "messages", by_code=True, note="blocks of the user message"),
    "temperature": Cell(
        "clamped",
        "inferenceConfig.temperature",
        low=0,
        high=1,
        note="dropped from Claude 4.7 on; 1 while a Claude thinks",
    ),
    "max_tokens": Cell("clamped", "inferenceConfig.maxTokens", low=1),
    "stop": Cell(
        "renamed",
        "inferenceConfig.stopSequences",
        by_code=True,
        note="blank ones are dropped: Claude refuses them",
    ),
    "top_p": Cell(
        "clamped",
        "inferenceConfig.topP",
        low=0,
        high=1,
        note="dropped from Claude 4.7 on, and from 4.1 on beside temperature; at least 0.95 while "
        "a Claude thinks",
    ),
    "top_k": Cell(
        "renamed",
        f"{ADDED}.top_k",
        by_code=True,
        note="Claude; inferenceConfig.topK there for Nova; dropped for all other models",
    ),
    "frequency_penalty": _NO_WAY,
    "presence_penalty": _NO_WAY,
    "reasoning_effort": Cell(
        "renamed",
        f"{ADDED}.output_config.effort",
        by_code=True,
        note="Claude from 4.6 on, thinking.budget_tokens before; other places for Nova 2, OpenAI's "
        "models, Kimi K2 and GLM 5.3; dropped for all other models",
    ),
    "seed": _NO_WAY,
    "n": Cell("carried", by_code=True, note="as many requests"),
    "logit_bias": _NO_WAY,
    "logprobs": _NO_WAY,
    "top_logprobs": _NO_WAY,
    "response_format": Cell(
        "renamed",
        "outputConfig.textFormat",
        by_code=True,
        note="for models and schemas without it a tool, or words in the system prompt",
    ),
    "tools": Cell(
        "renamed", "toolConfig.tools", by_code=True, note="strict where model and schema allow it"
    ),
    "tool_choice": Cell(
        "renamed",
        "toolConfig.toolChoice",
        by_code=True,
        note="none sends no tools; required and named are dropped where a Claude refuses them",
    ),
    "parallel_tool_calls": Cell("dropped", by_code=True, note="told where it is false"),
    "functions": Cell("renamed", "toolConfig.tools", by_code=True),
    "function_call": Cell("renamed", "toolConfig.toolChoice", by_code=True),
    "modalities": Cell("refused", note="text alone is what is answered anyway"),
    "audio": Cell("refused"),
    "prediction": _NO_WAY,
    "metadata": Cell(
        "renamed",
        "requestMetadata",
        by_code=True,
        note="at most 16 entries; those with other characters than Bedrock allows are dropped",
    ),
    "service_tier": Cell(
        "renamed",
        "serviceTier.type",
        by_code=True,
        note="flex and priority; scale becomes reserved; others are dropped",
    ),
    "user": _NO_WAY,
    "store": _NO_WAY,
    "verbosity": _NO_WAY,
    "web_search_options": _NO_WAY,
    "prompt_cache_key": _NO_WAY,
    "prompt_cache_options": _NO_WAY,
    "prompt_cache_retention": _NO_WAY,
    "safety_identifier": _NO_WAY,
    "moderation": _NO_WAY,
    "stream": Cell("carried", by_code=True, note="the operation ConverseStream"),
    "stream_options": Cell("carried", by_code=True, note="usage always comes"),
}

_TIERS: Final = {"flex": "flex", "priority": "priority", "scale": "reserved"}
_TIER_UNSAID: Final = ("auto", "default")
_METADATA: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{0,256}", re.ASCII)
_METADATA_ENTRIES: Final = 16
_ENCODER = msgspec.json.Encoder()


def open_call(chat: Conversation, model: str, changes: Changes) -> "ConverseCall":
    """A call to ``model``, a model's or an inference profile's id or ARN.

    Raises:
        GatewayError: ``invalid_request`` for what cannot be expressed, or for any loss where
            ``changes`` is strict.
    """
    operation = "converse-stream" if chat.stream else "converse"
    try:
        body, answer = _write_body(chat, model, changes)
        encoded = _ENCODER.encode(body)
    except RecursionError:
        raise GatewayError(
            "invalid_request", "The request is nested too deeply for this target."
        ) from None
    return ConverseCall(f"/model/{quote(model, safe='')}/{operation}", encoded, model, answer)


class ConverseCall:
    """One conversation as a Converse request, and the way back.

    Args:
        path: the operation.
        body: the upstream's request.
        model: the model's id, for messages about failures.
        answer: name of the tool whose input is the answer, "" for none.
    """

    def __init__(self, path: str, body: bytes, model: str, answer: str) -> None:
        self.path = path
        self._body = body
        self._model = model
        self._answer = answer

    def write_request(self) -> bytes:
        """See ``UpstreamCall``."""
        return self._body

    def read_answer(self, body: bytes) -> Iterator[Event]:
        """See ``UpstreamCall``."""
        events = read_converse(body)
        return AnswerFilter(self._answer).take(events) if self._answer else events

    def open_reader(self) -> EventReader:
        """See ``UpstreamCall``."""
        reader = ConverseReader(self._model)
        return AnswerReader(reader, self._answer) if self._answer else reader


def _write_body(chat: Conversation, name: str, changes: Changes) -> tuple[Json, str]:
    model = find_model(name)
    plan = plan_tools(chat, model, changes)
    body: Json = {"messages": write_messages(chat, model, changes)}
    system = write_system((*chat.system, *plan.system))
    if system:
        body["system"] = system
    body |= plan.fields
    added, parameters = write_model_fields(chat, model, changes, forced=plan.forced)
    body |= write_parameters(PARAMETERS, parameters, changes)
    if added:
        body[ADDED] = added
    _write_stop(parameters.get("stop"), body, changes)
    _write_metadata(parameters.get("metadata"), body, changes)
    _write_tier(parameters.get("service_tier"), body, changes)
    return body, plan.answer


def _write_stop(value: Any, body: Json, changes: Changes) -> None:
    if not value:
        return
    kept = [each for each in value if each.strip()]
    if len(kept) < len(value):
        changes.drop("stop")
    if kept:
        body.setdefault("inferenceConfig", {})["stopSequences"] = kept
        changes.rename("stop", "inferenceConfig.stopSequences")


def _write_metadata(value: Any, body: Json, changes: Changes) -> None:
    if not value:
        return
    entries = list(value.items()) if isinstance(value, dict) else []
    kept = {
        key: text
        for key, text in entries[:_METADATA_ENTRIES]
        if key and isinstance(text, str) and _METADATA.fullmatch(key) and _METADATA.fullmatch(text)
    }
    if len(kept) < len(entries) or not entries:
        changes.drop("metadata")
    if kept:
        body["requestMetadata"] = kept
        changes.rename("metadata", "requestMetadata")


def _write_tier(value: Any, body: Json, changes: Changes) -> None:
    if value is None or value in _TIER_UNSAID:
        return
    known = _TIERS.get(value) if isinstance(value, str) else None
    if known is None:
        changes.drop("service_tier")
        return
    body["serviceTier"] = {"type": known}
    changes.rename("service_tier", f"serviceTier:{known}")
