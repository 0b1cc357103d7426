"""Writes tools, their choice, and the JSON form of an answer for the Messages API.

Anthropic's pages "Define tools", "Strict tool use", "Structured outputs" and "Web search tool"
(read 2026-11-22). An answer in JSON is asked for in the first of three ways that the model and
the schema allow: ``output_config.format``; a tool that must be called, whose input is the answer;
words in the system prompt.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from trunkline.chat import Conversation, Json, OutputFormat, Text, Tool
from trunkline.wire.anthropic_model import ClaudeModel
from trunkline.wire.anthropic_schema import OPTIONAL_LIMIT, UNION_LIMIT, Narrowed, narrow
from trunkline.wire.change import Changes

STRICT_LIMIT: Final = 20
_EMULATED: Final = "emulated:response_format"
_ANSWER_TOOL: Final = "json_answer"
_ANSWER_DOING: Final = "Gives the answer to the user. Call it once, with the whole answer."
_ANSWER_WORDS: Final = (
    "Answer with one JSON object and nothing else: no code fence, no words before or after it."
)
_SEARCH: Final = {"type": "web_search_20250305", "name": "web_search"}
_PLACE: Final = ("city", "region", "country", "timezone")


class ToolPlan(msgspec.Struct):
    """What a request says of tools and of the answer's form.

    Args:
        fields: the body's ``tools``, ``tool_choice`` and ``output_config``.
        system: words for the end of the system prompt.
        answer: name of the tool whose input is the answer, "" for none.
        forced: the model is made to call a tool.
    """

    fields: Json
    system: tuple[Text, ...] = ()
    answer: str = ""
    forced: bool = False


def plan_tools(chat: Conversation, model: ClaudeModel, changes: Changes) -> ToolPlan:
    """Decide what is offered and asked; raises ``invalid_request`` where ``changes`` is strict."""
    plan = ToolPlan({})
    offered = _offer(chat, model)
    mode = _read_mode(chat, model, offered, changes)
    held = _hold_answer(chat.output, model, changes)
    if held is not None:
        plan.fields["output_config"] = {"format": {"type": "json_schema", "schema": held.schema}}
    elif chat.output is not None and mode not in ("any", "tool"):
        if model.forces_tools:
            offered, mode = _add_answer(chat.output, offered, mode, plan)
        else:
            plan.system = (Text(_describe_answer(chat.output)),)
        changes.note(_EMULATED)
    tools = _write_tools(offered, model, held, changes)
    search = chat.parameters.get("web_search_options")
    if search is not None:
        _add_search(search, tools, model, changes)
    if tools:
        plan.fields["tools"] = tools
    if offered and mode:
        plan.forced = mode in ("any", "tool")
        plan.fields["tool_choice"] = _write_choice(chat, mode, plan.answer)
    return plan


def _offer(chat: Conversation, model: ClaudeModel) -> list[Tool]:
    """The tools to offer.

    llama.cpp's server reads neither ``none`` nor a tool's name in ``tool_choice``: there, what
    must not be called is not offered.
    """
    choice = chat.tool_choice
    if model.is_claude or choice is None or choice.mode in ("auto", "required"):
        return list(chat.tools)
    return [tool for tool in chat.tools if choice.mode == "named" and tool.name == choice.name]


def _read_mode(
    chat: Conversation, model: ClaudeModel, offered: list[Tool], changes: Changes
) -> str:
    """The API's word for the choice, "" where nothing needs to be said."""
    choice = chat.tool_choice
    if not offered:
        return ""
    if choice is None or choice.mode == "auto":
        return "auto" if chat.parallel_tool_calls is False or choice is not None else ""
    if choice.mode == "none":
        return "none"
    if not model.forces_tools:
        changes.drop("tool_choice")
        return "auto"
    return "any" if choice.mode == "required" else "tool"


def _write_choice(chat: Conversation, mode: str, answer: str) -> Json:
    choice: Json = {"type": mode}
    if mode == "tool":
        choice["name"] = answer or (chat.tool_choice.name if chat.tool_choice else "")
    if mode != "none" and (chat.parallel_tool_calls is False or (answer and mode == "tool")):
        choice["disable_parallel_tool_use"] = True
    return choice


def _hold_answer(
    output: OutputFormat | None, model: ClaudeModel, changes: Changes
) -> Narrowed | None:
    """The schema for ``output_config.format``, where model and schema allow it."""
    if output is None or output.schema is None or not model.holds_schemas:
        return None
    narrowed = narrow(output.schema)
    if not narrowed.fits:
        return None
    for keyword in narrowed.lost:
        changes.drop(f"response_format.{keyword}")
    return narrowed


def _add_answer(
    output: OutputFormat, offered: list[Tool], mode: str, plan: ToolPlan
) -> tuple[list[Tool], str]:
    """Offer the tool that takes the answer, alone where no other may be called."""
    name = _ANSWER_TOOL
    while any(tool.name == name for tool in offered):
        name += "_"
    plan.answer = name
    answer = Tool(name, output.description or _ANSWER_DOING, output.schema)
    if offered and mode != "none":
        return [*offered, answer], "any"
    return [answer], "tool"


def _describe_answer(output: OutputFormat) -> str:
    if output.schema is None:
        return _ANSWER_WORDS
    schema = msgspec.json.encode(output.schema).decode()
    return f"{_ANSWER_WORDS} It has to match this JSON schema: {schema}"


def _write_tools(
    offered: Iterable[Tool], model: ClaudeModel, held: Narrowed | None, changes: Changes
) -> list[Json]:
    wanted = {tool.name: narrow(tool.schema or {}) for tool in offered if tool.strict}
    strict = bool(wanted) and model.holds_schemas and _are_bearable(wanted, held)
    if wanted and not strict:
        changes.drop("tools.strict")
    return [_write_tool(tool, wanted if strict else {}) for tool in offered]


def _are_bearable(wanted: dict[str, Narrowed], held: Narrowed | None) -> bool:
    """Whether one request may hold all these tools, and its answer, to their schemas."""
    every = [*wanted.values(), *([held] if held else [])]
    return (
        len(wanted) <= STRICT_LIMIT
        and not any(each.lost or each.is_open for each in wanted.values())
        and sum(each.optional for each in every) <= OPTIONAL_LIMIT
        and sum(each.unions for each in every) <= UNION_LIMIT
    )


def _write_tool(tool: Tool, strict: dict[str, Narrowed]) -> Json:
    written: Json = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    schema = tool.schema or {"properties": {}}
    written["input_schema"] = schema if "type" in schema else {"type": "object", **schema}
    if tool.name in strict:
        written["input_schema"] = strict[tool.name].schema
        written["strict"] = True
    if tool.cache:
        written["cache_control"] = tool.cache
    return written


def _add_search(options: Any, tools: list[Json], model: ClaudeModel, changes: Changes) -> None:
    """Let the model search the web; only Anthropic runs that tool itself."""
    if not model.is_claude or not isinstance(options, dict):
        changes.drop("web_search_options")
        return
    search: Json = dict(_SEARCH)
    place = options.get("user_location")
    near = place.get("approximate") if isinstance(place, dict) else None
    if isinstance(near, dict):
        named = {name: near[name] for name in _PLACE if near.get(name)}
        search["user_location"] = {"type": "approximate", **named}
    if options.get("search_context_size") not in (None, "medium"):
        changes.drop("web_search_options.search_context_size")
    tools.append(search)
    changes.rename("web_search_options", "tools.web_search")
