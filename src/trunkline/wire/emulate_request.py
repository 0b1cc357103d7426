"""Tools for models that know none: a JSON form to answer in, and instructions how to use it.

The target must be able to hold an answer to a JSON schema. Fields: OpenAI's API reference,
"Create chat completion", ``tools`` to ``parallel_tool_calls``, and the older ``functions`` and
``function_call`` (read 2026-11-22).
"""

from functools import partial
from typing import Any, Final, Literal

import msgspec

from trunkline.errors import GatewayError
from trunkline.wire.body import SHOWN_CHARACTERS
from trunkline.wire.emulate_form import CALLS, MESSAGE, Form
from trunkline.wire.emulate_schema import Refuse, SchemaSet
from trunkline.wire.emulate_turn import RESULTS, rewrite_turns
from trunkline.wire.mend import Json
from trunkline.wire.openai_message import (
    FunctionTool,
    NamedFunction,
    NamedTool,
    OfferedTool,
    ResponseFormat,
)

CHANGE: Final = "emulated:tools"
"""The word that tells a client of it."""
_FIELDS: Final = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"}
)
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}, "additionalProperties": False}
_SHAPED: Final = frozenset({"type", "$ref", "allOf", "anyOf", "oneOf"})
_ENCODER = msgspec.json.Encoder()

_Raws = dict[str, msgspec.Raw]


class Emulation(msgspec.Struct, frozen=True):
    """One request's tools, emulated: what the target is sent, and how its answer is read.

    ``fields`` are those of the request for the target. Without a ``form`` the answer is read as
    it comes. ``stop`` is applied to the message's text here: the target would look for it in
    JSON. ``legacy`` answers with ``function_call``.
    """

    fields: _Raws
    form: Form | None = None
    stop: tuple[str, ...] = ()
    legacy: bool = False


class _Allowed(msgspec.Struct):
    """Some of the tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class _Choice(msgspec.Struct):
    """``tool_choice`` or ``function_call`` where it is an object."""

    function: NamedFunction | None = None
    allowed_tools: _Allowed | None = None
    name: str | None = None


_Words = Literal["auto", "none", "required"]


class _Wanted(msgspec.Struct, frozen=True):
    """What may be called: none, some, or at least one of these tools."""

    mode: _Words
    tools: tuple[FunctionTool, ...]
    single: bool
    legacy: bool


def emulate_tools(fields: _Raws) -> Emulation | None:
    """What has to change in a chat request for a target without tools; None if nothing has to.

    Args:
        fields: the fields of the request that are not null, ``messages`` among them.

    Raises:
        GatewayError: ``invalid_request`` for tools, choices, schemas and messages that the form
            cannot express; ``param`` names the field.
    """
    legacy = "functions" in fields
    if legacy and "tools" in fields:
        raise _refuse("functions", "send either 'tools' or 'functions', not both")
    wanted = _read_wanted(fields, legacy=legacy)
    kept = {name: raw for name, raw in fields.items() if name not in _FIELDS}
    if wanted.mode == "none":
        messages = rewrite_turns(fields["messages"], "")
        if messages is None:
            return Emulation(kept) if len(kept) < len(fields) else None
        return Emulation(kept | {"messages": messages})
    form, schema = _constrain(wanted, fields.get("response_format"))
    stop = _read_stop(kept.pop("stop", None))
    response_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    kept["response_format"] = msgspec.Raw(_ENCODER.encode(response_format))
    messages = rewrite_turns(fields["messages"], _instruct(wanted, form))
    return Emulation(kept | {"messages": messages or fields["messages"]}, form, stop, legacy)


def _read_wanted(fields: _Raws, *, legacy: bool) -> _Wanted:
    tools = _read_tools(fields, legacy=legacy)
    field = "function_call" if legacy else "tool_choice"
    choice = _decode(fields[field], field, _Words | _Choice) if field in fields else None
    single = legacy or bytes(fields.get("parallel_tool_calls", b"")) == b"false"
    every = tuple(tools.values())
    if not isinstance(choice, _Choice):
        mode: _Words = choice or ("auto" if tools else "none")
        if mode == "required" and not tools:
            raise _refuse(field, "a call is required, but there are no tools")
        return _Wanted(mode if tools else "none", every, single, legacy)
    allowed = choice.allowed_tools
    if allowed is not None:
        names = [tool.function.name for tool in allowed.tools]
        some = tuple(_pick(tools, name, field) for name in names)
        return _Wanted(allowed.mode if some else "none", some, single, legacy)
    name = choice.function.name if choice.function is not None else choice.name
    if name is None:
        raise _refuse(field, "it names no function")
    return _Wanted("required", (_pick(tools, name, field),), single=True, legacy=legacy)


def _pick(tools: dict[str, FunctionTool], name: str, field: str) -> FunctionTool:
    if name not in tools:
        raise _refuse(field, f"there is no tool '{name[:SHOWN_CHARACTERS]}'")
    return tools[name]


def _read_tools(fields: _Raws, *, legacy: bool) -> dict[str, FunctionTool]:
    field = _name_field(legacy=legacy)
    if field not in fields:
        return {}
    if legacy:
        found: list[FunctionTool] = _decode(fields[field], field, list[FunctionTool])
    else:
        offered: list[OfferedTool] = _decode(fields[field], field, list[OfferedTool])
        found = [tool.function for tool in offered]
    tools = {tool.name: tool for tool in found if tool.name}
    if len(tools) < len(found):
        raise _refuse(field, "two tools have the same name, or one has none")
    return tools


def _name_field(*, legacy: bool) -> str:
    return "functions" if legacy else "tools"


def _constrain(wanted: _Wanted, response_format: msgspec.Raw | None) -> tuple[Form, Any]:
    """The form of an answer, and the JSON schema that holds the model to it."""
    schemas = SchemaSet()
    refuse = partial(_refuse, _name_field(legacy=wanted.legacy))
    calls = []
    for tool in wanted.tools:
        whose = partial(refuse, whose=f"tool '{tool.name[:SHOWN_CHARACTERS]}'")
        arguments = _read_parameters(tool.parameters, schemas, whose)
        calls.append(_describe_object(name={"const": tool.name}, arguments=arguments))
    items = {"type": "array", "items": _choose(calls), "minItems": 1}
    if wanted.single:
        items["maxItems"] = 1
    answers = [_describe_object(**{CALLS: items})]
    sort: Literal["text", "json"] | None = None
    if wanted.mode == "auto":
        sort, message = _read_message(response_format, schemas)
        answers.append(_describe_object(**{MESSAGE: message}))
    form = Form(frozenset(tool.name for tool in wanted.tools), sort, wanted.single)
    schema = dict(_choose(answers))
    if schemas.definitions:
        schema["$defs"] = schemas.definitions
    return form, schema


def _describe_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _choose(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _read_parameters(parameters: Json | None, schemas: SchemaSet, refuse: Refuse) -> Any:
    if not parameters:
        return _NO_ARGUMENTS
    given = parameters.get("type", "object")
    if given != "object" and not (isinstance(given, list) and "object" in given):
        raise refuse("its arguments would not be an object")
    schema = schemas.add(parameters, refuse)
    if "type" in schema or not _SHAPED & schema.keys():
        schema["type"] = "object"
    return schema


def _read_message(
    raw: msgspec.Raw | None, schemas: SchemaSet
) -> tuple[Literal["text", "json"], Any]:
    wanted = _decode(raw, "response_format", ResponseFormat) if raw is not None else None
    if wanted is None or wanted.type == "text":
        return "text", {"type": "string"}
    schema = wanted.json_schema.schema if wanted.json_schema is not None else None
    if wanted.type == "json_object" or schema is None:
        return "json", {"type": "object"}
    return "json", schemas.add(schema, partial(_refuse, "response_format"))


def _read_stop(raw: msgspec.Raw | None) -> tuple[str, ...]:
    stop = _decode(raw, "stop", str | list[str]) if raw is not None else ()
    return tuple(text for text in ([stop] if isinstance(stop, str) else stop) if text)


def _instruct(wanted: _Wanted, form: Form) -> str:
    """What the model is told, short and by example, for small models to follow."""
    name = _ENCODER.encode(wanted.tools[0].name).decode()
    call = f'{{"{CALLS}":[{{"name":{name},"arguments":{{...}}}}]}}'
    lines = ["You have tools. Answer with one JSON object and nothing else."]
    lines.append(f"To call {'a tool' if form.single else 'tools'}: {call}")
    if form.message is not None:
        text = '"your answer"' if form.message == "text" else "your answer as JSON"
        lines.append(f'To answer the user: {{"{MESSAGE}":{text}}}')
        lines.append("Call a tool only if the user's request needs one.")
    lines.append(f'The results of your calls come as {{"{RESULTS}":[...]}}.')
    lines.append("The tools:")
    lines += [_tell_tool(tool) for tool in wanted.tools]
    return "\n".join(lines)


def _tell_tool(tool: FunctionTool) -> str:
    told = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return _ENCODER.encode({name: value for name, value in told.items() if value}).decode()


def _decode(raw: msgspec.Raw, field: str, wanted: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refuse(field, str(error)[:SHOWN_CHARACTERS]) from None


def _refuse(field: str, why: str, *, whose: str = "") -> GatewayError:
    where = f"{whose} of " if whose else ""
    return GatewayError(
        "invalid_request", f"{where}'{field}' cannot be emulated: {why}.", param=field
    )
