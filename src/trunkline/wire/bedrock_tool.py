"""Writes tools, their choice, and the JSON form of an answer for Converse.

The types ToolConfiguration, ToolChoice and OutputConfig in botocore 1.44.5's service model of
bedrock-runtime, and the Amazon Bedrock User Guide, "Use a tool to complete an Amazon Bedrock
model response" and "Get validated JSON results from models" (read 2026-11-22). An answer in JSON
is asked for in the first of three ways that the model and the schema allow: ``outputConfig``; a
tool that must be called, whose input is the answer; words in the system prompt.
"""

from typing import Final

import msgspec

from trunkline.chat import Conversation, Json, OutputFormat, Text, Tool
from trunkline.wire.answer_tool import EMULATED, describe_output, make_answer_tool
from trunkline.wire.anthropic_schema import Narrowed, narrow
from trunkline.wire.bedrock_content import has_calls, write_cache_point
from trunkline.wire.bedrock_model import BedrockModel
from trunkline.wire.change import Changes

_ANY_INPUT: Final[Json] = {"type": "object", "properties": {}}
_NO_TOOL: Final = Tool("unavailable", "Stands for tools that cannot be used now. Never call it.")
"""Converse refuses a history with calls where the request offers no tool at all."""


class ToolPlan(msgspec.Struct):
    """What a request says of tools and of the answer's form.

    Args:
        fields: the body's ``toolConfig`` and ``outputConfig``.
        system: words for the end of the system prompt.
        answer: name of the tool whose input is the answer, "" for none.
        forced: the model is made to call a tool.
    """

    fields: Json
    system: tuple[Text, ...] = ()
    answer: str = ""
    forced: bool = False


def plan_tools(chat: Conversation, model: BedrockModel, changes: Changes) -> ToolPlan:
    """Decide what is offered and asked; raises ``invalid_request`` where ``changes`` is strict."""
    plan = ToolPlan({})
    mode = _read_mode(chat, model, changes)
    offered = [] if mode == "none" else list(chat.tools)
    held = _hold_answer(chat.output, model, changes)
    if held is not None and chat.output is not None:
        plan.fields["outputConfig"] = {"textFormat": _write_format(chat.output, held)}
    elif chat.output is not None and mode not in ("any", "tool"):
        if model.forces:
            answer = make_answer_tool(chat.output, chat.tools)
            plan.answer, mode = answer.name, "any"
            offered.append(answer)
        else:
            plan.system = (describe_output(chat.output),)
        changes.note(EMULATED)
    if offered and chat.parallel_tool_calls is False:
        changes.drop("parallel_tool_calls")
    tools = _write_tools(offered, model, changes)
    if tools:
        plan.fields["toolConfig"] = {"tools": tools} | _write_choice(chat, mode)
        plan.forced = mode in ("any", "tool")
    elif has_calls(chat):
        changes.default("tools", _NO_TOOL.name)
        plan.fields["toolConfig"] = {"tools": [_write_tool(_NO_TOOL, None)]}
    return plan


def _read_mode(chat: Conversation, model: BedrockModel, changes: Changes) -> str:
    """Converse's word for the choice, ``none`` for its lack, "" where nothing need be said."""
    choice = chat.tool_choice
    if choice is None or not chat.tools:
        return ""
    if choice.mode in ("auto", "none"):
        return choice.mode
    if model.claude.is_claude and not model.forces:
        changes.drop("tool_choice")
        return "auto"
    return "any" if choice.mode == "required" else "tool"


def _write_choice(chat: Conversation, mode: str) -> Json:
    if mode not in ("auto", "any", "tool"):
        return {}
    named = {"name": chat.tool_choice.name} if mode == "tool" and chat.tool_choice else {}
    return {"toolChoice": {mode: named}}


def _hold_answer(
    output: OutputFormat | None, model: BedrockModel, changes: Changes
) -> Narrowed | None:
    """The schema for ``outputConfig``, where model and schema allow it."""
    if output is None or output.schema is None or not model.schemas:
        return None
    narrowed = narrow(output.schema)
    if not narrowed.fits:
        return None
    for keyword in narrowed.lost:
        changes.drop(f"response_format.{keyword}")
    return narrowed


def _write_format(output: OutputFormat, held: Narrowed) -> Json:
    """The schema travels as text."""
    schema: Json = {"schema": msgspec.json.encode(held.schema).decode(), "name": output.name}
    if output.description:
        schema["description"] = output.description
    return {"type": "json_schema", "structure": {"jsonSchema": schema}}


def _write_tools(offered: list[Tool], model: BedrockModel, changes: Changes) -> list[Json]:
    strict = {tool.name: narrow(tool.schema or _ANY_INPUT) for tool in offered if tool.strict}
    if strict and not (
        model.schemas and all(each.fits and not each.lost for each in strict.values())
    ):
        changes.drop("tools.strict")
        strict = {}
    return [
        block
        for tool in offered
        for block in (_write_tool(tool, strict.get(tool.name)), *write_cache_point(tool.cache))
    ]


def _write_tool(tool: Tool, held: Narrowed | None) -> Json:
    spec: Json = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    schema = tool.schema or _ANY_INPUT
    if held is not None:
        schema, spec["strict"] = held.schema, True
    elif "type" not in schema:
        schema = {"type": "object", **schema}
    return {"toolSpec": spec | {"inputSchema": {"json": schema}}}
