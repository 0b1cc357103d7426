"""Google's generateContent format, upstream side: what a conversation becomes.

Gemini API reference, "Generating content", "Content" and "Tools"; its pages "Thinking",
"Structured output", "Function calling", "Grounding with Google Search" and "Gemini 3"; Vertex
AI's reference of the same operation, which lies below a longer base URL; the types of Google's
own Python SDK, release 3.4.0 (read 2026-11-22).
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from trunkline.chat import Conversation, Json, OutputFormat, Tool, ToolChoice
from trunkline.errors import GatewayError
from trunkline.events import Event
from trunkline.wire.change import Changes
from trunkline.wire.gemini_content import ContentWriter
from trunkline.wire.gemini_failure import read_said
from trunkline.wire.gemini_model import choose_thinking, is_recent
from trunkline.wire.gemini_reply import GeminiReader, read_whole
from trunkline.wire.parameter import Cell, write_parameters

__all__ = ["FANS_OUT", "FETCHES_IMAGES", "PARAMETERS", "open_call", "read_said"]

FANS_OUT: Final[bool] = True
"""``candidateCount`` above 1 is refused by Gemini 3 and later."""

FETCHES_IMAGES: Final[bool] = False
"""``fileUri`` takes some public addresses only, and not without their media type."""

_CONFIG: Final = "generationConfig"
_SEED_LIMIT: Final = 2**31
_STOP_LIMIT: Final = 5

PARAMETERS: Final[Mapping[str, Cell]] = {
    "messages": Cell(
        "renamed", "contents", by_code=True, note="the system prompt as systemInstruction"
    ),
    "prompt": Cell("renamed", "contents", by_code=True),
    "images": Cell("renamed", "contents.parts.inline_data", by_code=True),
    "temperature": Cell(
        "clamped", f"{_CONFIG}.temperature", 0, 2, note="Gemini 3.6 and later take no notice"
    ),
    "max_tokens": Cell("renamed", f"{_CONFIG}.maxOutputTokens", note="thoughts count"),
    "stop": Cell("renamed", f"{_CONFIG}.stopSequences", note="more than 5 are refused"),
    "top_p": Cell("clamped", f"{_CONFIG}.topP", 0, 1, note="as temperature"),
    "top_k": Cell("renamed", f"{_CONFIG}.topK", note="dropped below 1; else as temperature"),
    "frequency_penalty": Cell(
        "renamed", f"{_CONFIG}.frequencyPenalty", note="dropped for Gemini 3 and later"
    ),
    "presence_penalty": Cell(
        "renamed", f"{_CONFIG}.presencePenalty", note="dropped for Gemini 3 and later"
    ),
    "reasoning_effort": Cell(
        "renamed",
        f"{_CONFIG}.thinkingConfig",
        by_code=True,
        note="thinkingLevel, before Gemini 3 thinkingBudget; clamped to what the model can",
    ),
    "seed": Cell("clamped", f"{_CONFIG}.seed", -_SEED_LIMIT, _SEED_LIMIT - 1),
    "n": Cell("carried", by_code=True, note="one request for each alternative"),
    "logit_bias": Cell("dropped"),
    "logprobs": Cell("dropped"),
    "top_logprobs": Cell("dropped"),
    "response_format": Cell(
        "renamed",
        f"{_CONFIG}.responseJsonSchema",
        by_code=True,
        note="with tools Gemini 3 and later only",
    ),
    "tools": Cell("renamed", "tools.functionDeclarations", by_code=True, note="strict is dropped"),
    "tool_choice": Cell("renamed", "toolConfig.functionCallingConfig", by_code=True),
    "parallel_tool_calls": Cell("dropped", by_code=True, note="true is what happens anyway"),
    "functions": Cell("renamed", "tools.functionDeclarations", by_code=True),
    "function_call": Cell("renamed", "toolConfig.functionCallingConfig", by_code=True),
    "modalities": Cell("refused", note="text is taken"),
    "audio": Cell("refused"),
    "prediction": Cell("dropped"),
    "metadata": Cell("dropped"),
    "service_tier": Cell("renamed", "serviceTier", by_code=True, note="flex and priority only"),
    "user": Cell("dropped"),
    "store": Cell("dropped"),
    "verbosity": Cell("dropped"),
    "web_search_options": Cell(
        "renamed",
        "tools.googleSearch",
        by_code=True,
        note="the options themselves are dropped; all of it beside functions",
    ),
    "prompt_cache_key": Cell("dropped"),
    "prompt_cache_options": Cell("dropped"),
    "prompt_cache_retention": Cell("dropped"),
    "safety_identifier": Cell("dropped"),
    "moderation": Cell("dropped"),
    "stream": Cell("carried", by_code=True, note="chooses the operation"),
    "stream_options": Cell("carried", by_code=True, note="usage always comes"),
}

_ENCODER: Final = msgspec.json.Encoder()
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_TIERS: Final = ("flex", "priority")


class GeminiCall:
    """One conversation towards a Gemini model: the request out, the reply in."""

    def __init__(self, path: str, body: bytes) -> None:
        self.path = path
        self._body = body

    def write_request(self) -> bytes:
        """See ``UpstreamCall``."""
        return self._body

    def read_answer(self, body: bytes) -> list[Event]:
        """See ``UpstreamCall``."""
        return read_whole(body)

    def open_reader(self) -> GeminiReader:
        """See ``UpstreamCall``."""
        return GeminiReader()


def open_call(chat: Conversation, model: str, changes: Changes) -> GeminiCall:
    """A call to ``model``, with or without ``models/`` before its name.

    Raises:
        GatewayError: ``invalid_request`` for what cannot be expressed.
    """
    recent = is_recent(model)
    body = _write_values(chat, model, changes)
    body["contents"] = ContentWriter(changes, recent=recent).write_turns(chat.turns)
    if chat.system:
        # One part: of several, LiteLLM's route of this format hands on the first.
        words = "\n\n".join(text.text for text in chat.system)
        body["systemInstruction"] = {"parts": [{"text": words}]}
    tools = _write_tools(chat, changes)
    if tools:
        body["tools"] = tools
    choice = _write_choice(chat.tool_choice, chat.tools)
    if choice is not None:
        body["toolConfig"] = {"functionCallingConfig": choice}
    if chat.output is not None:
        if tools and not recent:
            raise GatewayError(
                "invalid_request",
                "This model cannot give a structured answer beside tools; Gemini 3 can.",
                param="response_format",
            )
        body.setdefault(_CONFIG, {}).update(_write_output(chat.output))
    operation = "streamGenerateContent?alt=sse" if chat.stream else "generateContent"
    name = quote(model.removeprefix("models/"), safe="")
    return GeminiCall(f"/models/{name}:{operation}", _ENCODER.encode(body))


def _write_values(chat: Conversation, model: str, changes: Changes) -> Json:
    """The parameters that are plain values, and those that almost are."""
    given = dict(chat.parameters)
    stop, top_k = given.get("stop"), given.get("top_k")
    if isinstance(stop, list) and len(stop) > _STOP_LIMIT:
        raise GatewayError(
            "invalid_request",
            f"'stop' has {len(stop)} texts, and this target takes {_STOP_LIMIT}.",
            param="stop",
        )
    if isinstance(top_k, (int, float)) and top_k < 1:
        # Elsewhere 0 and -1 switch it off, here they are refused.
        del given["top_k"]
        changes.drop("top_k")
    if is_recent(model):
        for name in ("frequency_penalty", "presence_penalty"):
            if given.pop(name, 0):
                changes.drop(name)
    body = write_parameters(PARAMETERS, given, changes)
    effort = given.get("reasoning_effort")
    if effort is not None:
        thinking = choose_thinking(model, effort, changes)
        if thinking is not None:
            body.setdefault(_CONFIG, {})["thinkingConfig"] = thinking
    tier = given.get("service_tier", "auto")
    if tier in _TIERS:
        body["serviceTier"] = tier
        changes.rename("service_tier", "serviceTier")
    elif tier not in ("auto", "default"):
        changes.drop("service_tier")
    return body


def _write_tools(chat: Conversation, changes: Changes) -> list[Json]:
    search: Any = chat.parameters.get("web_search_options")
    if not chat.tools:
        if search is None:
            return []
        for name in search if isinstance(search, dict) else ():
            changes.drop(f"web_search_options.{name}")
        changes.rename("web_search_options", "tools.googleSearch")
        return [{"googleSearch": {}}]
    if search is not None:
        changes.drop("web_search_options")
    if chat.parallel_tool_calls is False:
        changes.drop("parallel_tool_calls")
    if any(tool.strict for tool in chat.tools):
        changes.drop("tools.function.strict")
    return [{"functionDeclarations": [_write_tool(tool) for tool in chat.tools]}]


def _write_tool(tool: Tool) -> Json:
    declared: Json = {"name": tool.name}
    if tool.description:
        declared["description"] = tool.description
    if tool.schema is not None:
        declared["parametersJsonSchema"] = tool.schema
    return declared


def _write_choice(choice: ToolChoice | None, tools: tuple[Tool, ...]) -> Json | None:
    if choice is None:
        return None
    if not tools:
        if choice.mode in ("auto", "none"):
            return None
        raise GatewayError(
            "invalid_request", "'tool_choice' asks for a tool, and there are none.", param="tools"
        )
    written: Json = {"mode": _MODES[choice.mode]}
    if choice.mode == "named":
        written["allowedFunctionNames"] = [choice.name]
    return written


def _write_output(output: OutputFormat) -> Json:
    written: Json = {"responseMimeType": "application/json"}
    if output.schema is not None:
        described = {"description": output.description} if output.description else {}
        written["responseJsonSchema"] = described | output.schema
    return written
