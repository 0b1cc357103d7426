"""Cohere's Chat API v2, upstream side: writes a conversation as its request.

Cohere's API reference, "Chat (V2)" and "Chat with streaming (V2)", its pages "Structured outputs",
"Reasoning" and "Usage patterns for tool use", and the types of its Python SDK 7.3.1 (read
2026-11-22). JSON answers and tools exclude each other there: beside tools, an answer in JSON is
the input of one more tool.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from trunkline.chat import Conversation, Json, OutputFormat, Tool
from trunkline.errors import GatewayError
from trunkline.events import Event
from trunkline.wire.answer_tool import EMULATED, AnswerFilter, AnswerReader, make_answer_tool
from trunkline.wire.change import Changes
from trunkline.wire.cohere_message import write_messages, write_tools
from trunkline.wire.cohere_reply import CohereReader, read_chat, read_said
from trunkline.wire.parameter import Cell, write_parameters
from trunkline.wire.translate import EventReader

__all__ = ["FANS_OUT", "FETCHES_IMAGES", "PARAMETERS", "open_call", "read_said"]

PATH: Final = "/chat"
FANS_OUT: Final = True
FETCHES_IMAGES: Final = True

_NO_WAY: Final = Cell("dropped")

PARAMETERS: Final[Mapping[str, Cell]] = {
    "messages": Cell("carried", by_code=True, note="files and audio are refused"),
    "prompt": Cell("renamed", "messages", by_code=True, note="one user message"),
    "images": Cell("renamed", "messages", by_code=True, note="parts of the user message"),
    "temperature": Cell("carried"),
    "max_tokens": Cell("carried"),
    "stop": Cell("renamed", "stop_sequences", note="Cohere takes at most 5"),
    "top_p": Cell("clamped", "p", low=0.01, high=0.99),
    "top_k": Cell("clamped", "k", low=0, high=500),
    "frequency_penalty": Cell("clamped", low=0, high=1),
    "presence_penalty": Cell("clamped", low=0, high=1),
    "reasoning_effort": Cell(
        "renamed",
        "thinking.token_budget",
        by_code=True,
        note="none becomes thinking.type=disabled; from high on there is no budget",
    ),
    "seed": Cell("clamped", low=0),
    "n": Cell("carried", by_code=True, note="as many requests"),
    "logit_bias": _NO_WAY,
    "logprobs": _NO_WAY,
    "top_logprobs": _NO_WAY,
    "response_format": Cell("carried", by_code=True, note="beside tools one more tool"),
    "tools": Cell("carried", by_code=True, note="strict_tools where all of them are strict"),
    "tool_choice": Cell(
        "carried", by_code=True, note="REQUIRED or NONE; a named tool is the only one offered"
    ),
    "parallel_tool_calls": Cell("dropped", by_code=True, note="told where it is false"),
    "functions": Cell("renamed", "tools", by_code=True),
    "function_call": Cell("renamed", "tool_choice", by_code=True),
    "modalities": Cell("refused", note="text alone is what is answered anyway"),
    "audio": Cell("refused"),
    "prediction": _NO_WAY,
    "metadata": _NO_WAY,
    "service_tier": _NO_WAY,
    "user": _NO_WAY,
    "store": _NO_WAY,
    "verbosity": _NO_WAY,
    "web_search_options": _NO_WAY,
    "prompt_cache_key": _NO_WAY,
    "prompt_cache_options": _NO_WAY,
    "prompt_cache_retention": _NO_WAY,
    "safety_identifier": _NO_WAY,
    "moderation": _NO_WAY,
    "stream": Cell("carried", by_code=True),
    "stream_options": Cell("carried", by_code=True, note="usage always comes"),
    "citation_options": Cell("carried", note="Cohere's own"),
    "documents": Cell("carried", note="Cohere's own"),
    "safety_mode": Cell("carried", note="Cohere's own"),
}

_BUDGETS: Final = {
    "minimal": 512,
    "low": 2048,
    "medium": 8192,
    "high": None,
    "xhigh": None,
    "max": None,
}
"""Tokens for each effort; ours, for Cohere only knows tokens."""
_EFFORTS: Final = ("none", *_BUDGETS)
_ENCODER = msgspec.json.Encoder()


def open_call(chat: Conversation, model: str, changes: Changes) -> "CohereCall":
    """A call to ``model``.

    Raises:
        GatewayError: ``invalid_request`` for what cannot be expressed, or for any loss where
            ``changes`` is strict.
    """
    try:
        body, answer = _write_body(chat, model, changes)
        return CohereCall(_ENCODER.encode(body), answer)
    except RecursionError:
        raise GatewayError(
            "invalid_request", "The request is nested too deeply for this target."
        ) from None


class CohereCall:
    """One conversation as a chat request of Cohere's, and the way back.

    Args:
        body: the upstream's request.
        answer: name of the tool whose input is the answer, "" for none.
    """

    def __init__(self, body: bytes, answer: str) -> None:
        self.path = PATH
        self._body = body
        self._answer = answer

    def write_request(self) -> bytes:
        """See ``UpstreamCall``."""
        return self._body

    def read_answer(self, body: bytes) -> Iterator[Event]:
        """See ``UpstreamCall``."""
        events = read_chat(body)
        return AnswerFilter(self._answer).take(events) if self._answer else events

    def open_reader(self) -> EventReader:
        """See ``UpstreamCall``."""
        reader = CohereReader()
        return AnswerReader(reader, self._answer) if self._answer else reader


def _write_body(chat: Conversation, model: str, changes: Changes) -> tuple[Json, str]:
    body: Json = {"model": model, "messages": write_messages(chat, chat.system, changes)}
    body |= write_parameters(PARAMETERS, chat.parameters, changes)
    answer = _write_tools(chat, body, changes)
    effort = chat.parameters.get("reasoning_effort")
    if effort is not None:
        body["thinking"] = _write_thinking(effort, changes)
    body["stream"] = chat.stream
    return body, answer


def _write_tools(chat: Conversation, body: Json, changes: Changes) -> str:
    """Put tools, their choice and the answer's form into the body.

    Returns the name of the tool whose input is the answer, "" for none.
    """
    offered, mode = _choose(chat, changes)
    answer = ""
    if chat.output is not None and not offered:
        body["response_format"] = _write_format(chat.output)
    elif chat.output is not None and mode == "":
        tool = make_answer_tool(chat.output, offered)
        offered, mode, answer = [*offered, tool], "REQUIRED", tool.name
        changes.note(EMULATED)
    elif chat.output is not None and mode == "NONE":
        # Tools that must not be called would only keep the form of the answer away.
        body["response_format"] = _write_format(chat.output)
        return ""
    if not offered:
        return ""
    body["tools"] = write_tools(offered)
    if mode:
        body["tool_choice"] = mode
    strict = [tool.strict for tool in offered]
    if all(strict):
        body["strict_tools"] = True
    elif any(strict):
        changes.drop("tools.strict")
    if chat.parallel_tool_calls is False:
        changes.drop("parallel_tool_calls")
    return answer


def _choose(chat: Conversation, changes: Changes) -> tuple[list[Tool], str]:
    """The tools to offer, and Cohere's word for the choice, "" for the model's own."""
    choice, offered = chat.tool_choice, list(chat.tools)
    if choice is None or choice.mode == "auto" or not offered:
        return offered, ""
    if choice.mode == "none":
        return offered, "NONE"
    if choice.mode == "named":
        offered = [tool for tool in offered if tool.name == choice.name]
        if not offered:
            raise GatewayError(
                "invalid_request", "'tool_choice' names no offered tool.", param="tool_choice"
            )
        changes.rename("tool_choice", "REQUIRED")
    return offered, "REQUIRED"


def _write_format(output: OutputFormat) -> Json:
    wanted: Json = {"type": "json_object"}
    if output.schema is not None:
        wanted["json_schema"] = output.schema
    return wanted


def _write_thinking(effort: Any, changes: Changes) -> Json:
    if effort not in _EFFORTS:
        raise GatewayError(
            "invalid_request",
            f"reasoning_effort: expected one of {', '.join(_EFFORTS)}.",
            param="reasoning_effort",
        )
    if effort == "none":
        changes.rename("reasoning_effort", "thinking.type")
        return {"type": "disabled"}
    budget = _BUDGETS[effort]
    if budget is None:
        changes.rename("reasoning_effort", "thinking.type")
        return {"type": "enabled"}
    changes.rename("reasoning_effort", "thinking.token_budget")
    return {"type": "enabled", "token_budget": budget}
