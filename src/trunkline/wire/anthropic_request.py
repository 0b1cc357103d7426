"""Anthropic's Messages API, upstream side: writes a conversation as its request.

Anthropic's API reference, "Create a Message" and "Service tiers", and the types of its Python
SDK 2.12.0 (read 2026-11-22). API version 2023-06-01: the newer one, 2026-10-21, refuses
temperature, top_p and top_k for every model. What a model takes besides is in
``anthropic_model``; llama.cpp's server and others speak the same API.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from trunkline.chat import Conversation, Json
from trunkline.errors import GatewayError
from trunkline.events import Event
from trunkline.wire.anthropic_content import write_messages, write_system
from trunkline.wire.anthropic_failure import read_said
from trunkline.wire.anthropic_model import ClaudeModel, read_model
from trunkline.wire.anthropic_reply import MessageReader, read_message
from trunkline.wire.anthropic_thinking import DEFAULT_MAX_TOKENS, settle_sampling, write_thinking
from trunkline.wire.anthropic_tool import plan_tools
from trunkline.wire.change import Changes
from trunkline.wire.parameter import Cell, write_parameters

__all__ = ["FANS_OUT", "FETCHES_IMAGES", "PARAMETERS", "open_call", "read_said"]

PATH: Final = "/messages"
FANS_OUT: Final = True
FETCHES_IMAGES: Final = True

_NO_WAY: Final = Cell("dropped")
_BY_CODE: Final = Cell("carried", by_code=True)

PARAMETERS: Final[Mapping[str, Cell]] = {
    "messages": Cell("carried", by_code=True, note="audio is refused"),
    "prompt": Cell("renamed", "messages", by_code=True, note="one user message"),
    "images": Cell("renamed", "messages", by_code=True, note="blocks of the user message"),
    "temperature": Cell(
        "clamped", low=0, high=1, note="dropped from Claude 4.7 on; 1 while the model thinks"
    ),
    "max_tokens": Cell(
        "defaulted", note=f"the model's own limit, else {DEFAULT_MAX_TOKENS} and a thinking budget"
    ),
    "stop": Cell(
        "renamed",
        "stop_sequences",
        by_code=True,
        note="blank ones are dropped: Claude refuses them",
    ),
    "top_p": Cell(
        "clamped",
        low=0,
        high=1,
        note="dropped from Claude 4.7 on, and from 4.1 on beside temperature; at least 0.95 while "
        "the model thinks",
    ),
    "top_k": Cell("carried", note="dropped from Claude 4.7 on, and while the model thinks"),
    "frequency_penalty": _NO_WAY,
    "presence_penalty": _NO_WAY,
    "reasoning_effort": Cell(
        "renamed",
        "output_config.effort",
        by_code=True,
        note="thinking.budget_tokens before Claude 4.6, where a forced tool or a max_tokens under "
        "2048 drops it; clamped to what the model knows; none becomes thinking.type=disabled",
    ),
    "seed": _NO_WAY,
    "n": Cell("carried", by_code=True, note="as many requests"),
    "logit_bias": _NO_WAY,
    "logprobs": _NO_WAY,
    "top_logprobs": _NO_WAY,
    "response_format": Cell(
        "renamed",
        "output_config.format",
        by_code=True,
        note="before Claude 4.5, and for schemas that it cannot hold, a tool or the system prompt",
    ),
    "tools": Cell("carried", by_code=True, note="strict from Claude 4.5 on, for simple schemas"),
    "tool_choice": Cell(
        "carried", by_code=True, note="required and named are dropped where the model refuses them"
    ),
    "parallel_tool_calls": Cell(
        "renamed", "tool_choice.disable_parallel_tool_use", by_code=True, note="turned round"
    ),
    "functions": Cell("renamed", "tools", by_code=True),
    "function_call": Cell("renamed", "tool_choice", by_code=True),
    "modalities": Cell("refused", note="text alone is what is answered anyway"),
    "audio": Cell("refused"),
    "prediction": _NO_WAY,
    "metadata": _NO_WAY,
    "service_tier": Cell(
        "carried",
        by_code=True,
        note="default becomes standard_only, priority and scale become auto; others are dropped",
    ),
    "user": Cell(
        "renamed",
        "metadata.user_id",
        by_code=True,
        note="dropped where it looks like a person's address or number: Anthropic refuses them",
    ),
    "store": _NO_WAY,
    "verbosity": _NO_WAY,
    "web_search_options": Cell(
        "renamed", "tools.web_search", by_code=True, note="Anthropic's own search tool"
    ),
    "prompt_cache_key": _NO_WAY,
    "prompt_cache_options": _NO_WAY,
    "prompt_cache_retention": _NO_WAY,
    "safety_identifier": Cell(
        "renamed", "metadata.user_id", by_code=True, note="instead of user; dropped as user is"
    ),
    "moderation": _NO_WAY,
    "stream": _BY_CODE,
    "stream_options": Cell("carried", by_code=True, note="usage always comes"),
}

_TIERS: Final = {"default": "standard_only", "priority": "auto", "scale": "auto"}
_PERSONAL: Final = re.compile(r".*@.*|\+?[\d\s().-]{7,}", re.DOTALL)
_LONGEST_USER: Final = 256
_ENCODER = msgspec.json.Encoder()


def open_call(chat: Conversation, model: str, changes: Changes) -> "MessagesCall":
    """A call to ``model``.

    Raises:
        GatewayError: ``invalid_request`` for what cannot be expressed, or for any loss where
            ``changes`` is strict.
    """
    try:
        body, answer = _write_body(chat, model, changes)
        return MessagesCall(_ENCODER.encode(body), answer)
    except RecursionError:
        raise GatewayError(
            "invalid_request", "The request is nested too deeply for this target."
        ) from None


class MessagesCall:
    """One conversation as a Messages request, and the way back.

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
        return read_message(body, self._answer)

    def open_reader(self) -> MessageReader:
        """See ``UpstreamCall``."""
        return MessageReader(self._answer)


def _write_body(chat: Conversation, name: str, changes: Changes) -> tuple[Json, str]:
    model = read_model(name)
    body: Json = {"model": name}
    plan = plan_tools(chat, model, changes)
    system = write_system((*chat.system, *plan.system), model)
    if system is not None:
        body["system"] = system
    body["messages"] = write_messages(chat, model, changes)
    body |= plan.fields
    body |= write_parameters(PARAMETERS, chat.parameters, changes)
    write_thinking(chat, model, body, changes, forced=plan.forced)
    settle_sampling(model, body, changes)
    for parameter, write in _WRITERS:
        value = chat.parameters.get(parameter)
        if value is not None:
            write(value, model, body, changes)
    if chat.stream:
        body["stream"] = True
    return body, plan.answer


def _write_stop(value: Any, model: ClaudeModel, body: Json, changes: Changes) -> None:
    kept = [each for each in value if each.strip() or not model.is_claude]
    if len(kept) < len(value):
        changes.drop("stop")
    if kept:
        body["stop_sequences"] = kept
        changes.rename("stop", "stop_sequences")


def _write_tier(value: Any, model: ClaudeModel, body: Json, changes: Changes) -> None:
    if value == "auto":
        return
    known = _TIERS.get(value) if isinstance(value, str) else None
    if known is None or not model.is_claude:
        changes.drop("service_tier")
        return
    body["service_tier"] = known
    changes.rename("service_tier", known)


def _write_user(value: Any, _: ClaudeModel, body: Json, changes: Changes) -> None:
    _name_user("user", value, body, changes)


def _write_identifier(value: Any, _: ClaudeModel, body: Json, changes: Changes) -> None:
    _name_user("safety_identifier", value, body, changes)


def _name_user(name: str, value: Any, body: Json, changes: Changes) -> None:
    if (
        "metadata" in body
        or not isinstance(value, str)
        or len(value) > _LONGEST_USER
        or _PERSONAL.fullmatch(value)
    ):
        changes.drop(name)
        return
    body["metadata"] = {"user_id": value}
    changes.rename(name, "metadata.user_id")


_Write = Callable[[Any, ClaudeModel, Json, Changes], None]
_WRITERS: Final[tuple[tuple[str, _Write], ...]] = (
    ("stop", _write_stop),
    ("service_tier", _write_tier),
    ("safety_identifier", _write_identifier),
    ("user", _write_user),
)
