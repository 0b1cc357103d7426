"""Fits requests to targets of other formats than OpenAI's: read in full, written anew."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final, cast

import msgspec

from trunkline.chat import ChatRequest, Conversation, TextRequest
from trunkline.errors import GatewayError
from trunkline.routing.ask import Ask, Fitted, check_copies, choose_path, require_operation
from trunkline.routing.table import Columns, Target, Wire
from trunkline.wire import llm_engine, openai_chat
from trunkline.wire.change import Changes
from trunkline.wire.openai_conversation import convert_prompt, read_conversation
from trunkline.wire.openai_write import ChatWriter
from trunkline.wire.parameter import MEANINGLESS, Cell
from trunkline.wire.sgp import CompletionWriter
from trunkline.wire.translate import ClientWriter, TranslatedPair, UpstreamFormat

_MODULES: Final[dict[Wire, str]] = {
    "anthropic": "trunkline.wire.anthropic_request",
    "bedrock": "trunkline.wire.bedrock_request",
    "cohere": "trunkline.wire.cohere_request",
    "gemini": "trunkline.wire.gemini_request",
}
_SAMPLING: Final = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty")


@cache
def find_format(wire: Wire) -> UpstreamFormat:
    """The module of a wire that is translated, imported when the first call needs it."""
    return cast(UpstreamFormat, import_module(_MODULES[wire]))


def list_columns() -> dict[Wire, Mapping[str, Cell]]:
    """The table of parameters: a column for each wire (docs/parameters.md)."""
    columns: dict[Wire, Mapping[str, Cell]] = {"openai": openai_chat.PARAMETERS}
    columns |= {wire: find_format(wire).PARAMETERS for wire in _MODULES}
    return columns | {"llm-engine": llm_engine.PARAMETERS}


def translate_chat(
    request: ChatRequest, columns: Columns, target: Target, ask: Ask, *, done: bool
) -> Fitted:
    """A chat request for a target of another format.

    Raises:
        GatewayError: ``invalid_request`` for what cannot be understood or expressed.
    """
    require_operation(target.row, "chat", request.model)
    chat = read_conversation(request, ask.changes)
    if columns.tools is False and chat.tools:
        chat = _drop_tools(chat, ask.changes)

    def open_writer() -> ClientWriter:
        return ChatWriter(
            ask.stamp, legacy=chat.legacy, done=done, include_usage=request.include_usage
        )

    return _translate(chat, columns, target, ask.changes, open_writer)


def translate_completion(
    request: TextRequest, columns: Columns, target: Target, ask: Ask, metadata: dict[str, Any]
) -> Fitted:
    """A native completion as one user message; raises as ``translate_chat``."""
    require_operation(target.row, "chat", request.model)

    def open_writer() -> ClientWriter:
        return CompletionWriter(ask.stamp, metadata)

    return _translate(convert_prompt(request), columns, target, ask.changes, open_writer)


def translate_prompt(
    request: TextRequest, target: Target, ask: Ask, metadata: dict[str, Any]
) -> Fitted:
    """A native completion as a raw prompt for LLM Engine's own format."""
    require_operation(target.row, "text", request.model)
    call = llm_engine.open_call(request, target.model, ask.changes)
    return Fitted((TranslatedPair(call, CompletionWriter(ask.stamp, metadata)),))


def _translate(
    chat: Conversation,
    columns: Columns,
    target: Target,
    changes: Changes,
    open_writer: Callable[[], ClientWriter],
) -> Fitted:
    upstream = find_format(target.row.wire)
    chat = _drop_parameters(chat, target.row.drops, changes)
    chat = _fit_parameters(chat, columns, upstream, changes)
    copies = 1
    if upstream.FANS_OUT and chat.n > 1:
        copies = check_copies(chat.n)
        chat = msgspec.structs.replace(chat, n=1)
    call = upstream.open_call(chat, target.model, changes)
    path = choose_path(target.row, "chat", call.path, target.model)
    return Fitted(tuple(TranslatedPair(call, open_writer(), path) for _ in range(copies)))


def _drop_parameters(chat: Conversation, drops: tuple[str, ...], changes: Changes) -> Conversation:
    """What the row, not the format, has no use for: an operator's word."""
    parameters = dict(chat.parameters)
    for name in drops:
        value = parameters.pop(name, None)
        if value is not None and value not in MEANINGLESS.get(name, ()):
            changes.drop(name)
    return msgspec.structs.replace(chat, parameters=parameters) if drops else chat


def _fit_parameters(
    chat: Conversation, columns: Columns, upstream: UpstreamFormat, changes: Changes
) -> Conversation:
    """The parameters within what the catalog or the operator says of the model."""
    parameters = dict(chat.parameters)
    if columns.fixed_sampling:
        for name in _SAMPLING:
            if parameters.pop(name, None) is not None:
                changes.drop(name)
    asked, most = parameters.get("max_tokens"), columns.max_output
    if asked is None and upstream.PARAMETERS["max_tokens"].how == "defaulted":
        default = columns.default_max_tokens or most
        if default is not None:
            parameters["max_tokens"] = default
            changes.default("max_tokens", default)
    elif asked is not None and most is not None and asked > most:
        parameters["max_tokens"] = most
        changes.clamp("max_tokens", most)
    return msgspec.structs.replace(chat, parameters=parameters)


def _drop_tools(chat: Conversation, changes: Changes) -> Conversation:
    choice = chat.tool_choice
    if choice is not None and choice.mode in ("required", "named"):
        raise GatewayError(
            "invalid_request",
            f"Model '{chat.model}' cannot call tools; leave tool_choice at auto or none.",
            param="tool_choice",
        )
    changes.drop("tools")
    return msgspec.structs.replace(chat, tools=(), tool_choice=None)
