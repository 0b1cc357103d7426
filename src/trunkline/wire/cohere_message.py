"""Writes a conversation's turns, and its tools, for Cohere's Chat API v2.

Cohere's API reference, "Chat (V2)" and "Errors", its pages "Basic usage of tool use", "Image
inputs" and "Reasoning", and the types of its Python SDK 7.3.1 (read 2026-11-22).
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Final

from trunkline.chat import (
    Conversation,
    Json,
    Media,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from trunkline.errors import GatewayError
from trunkline.wire.change import Changes

_ANY_INPUT: Final[Json] = {"type": "object", "properties": {}}


def write_messages(chat: Conversation, system: tuple[Text, ...], changes: Changes) -> list[Json]:
    """The messages, system prompt first, as the API wants it.

    Raises:
        GatewayError: ``invalid_request`` for what the API cannot be told.
    """
    messages: list[Json] = []
    texts = [text for text in system if text.text.strip()]
    if texts:
        messages.append(
            {"role": "system", "content": _shorten([_write_text(each) for each in texts])}
        )
    for turn in chat.turns:
        if turn.role == "assistant":
            messages += _write_said(turn.parts, changes)
        else:
            messages += _write_heard(turn.parts)
    return messages


def _write_heard(parts: Iterable[Part]) -> Iterable[Json]:
    """A message for each tool's result, one for what stands between them."""
    for is_result, group in groupby(parts, lambda part: isinstance(part, ToolResult)):
        if is_result:
            yield from (_write_result(part) for part in group if isinstance(part, ToolResult))
        else:
            content = [_write_part(part) for part in group]
            yield {"role": "user", "content": _shorten(content)}


def _write_said(parts: tuple[Part, ...], changes: Changes) -> tuple[Json, ...]:
    """Thoughts go back as the plan of the calls that they led to; others have no use there.

    What then says nothing is left out, for Cohere refuses empty messages.
    """
    message: Json = {"role": "assistant"}
    texts = [_write_text(part) for part in parts if isinstance(part, Text) and part.text]
    calls = [_write_call(part) for part in parts if isinstance(part, ToolUse)]
    thoughts = [part.text for part in parts if isinstance(part, Reasoning)]
    if texts:
        message["content"] = _shorten(texts)
    if calls:
        message["tool_calls"] = calls
        plan = "".join(thoughts)
        if plan:
            message["tool_plan"] = plan
    elif thoughts:
        changes.drop("reasoning_content")
    return (message,) if texts or calls else ()


def _write_part(part: Part) -> Json:
    if isinstance(part, Text):
        return _write_text(part)
    if not isinstance(part, Media) or part.kind != "image":
        kind = part.kind if isinstance(part, Media) else "part"
        raise _refuse(f"messages: {kind} input is not known to this target.")
    image: Json = {"url": part.url or f"data:{part.media_type};base64,{part.data}"}
    if part.detail:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _write_text(part: Text) -> Json:
    return {"type": "text", "text": part.text}


def _shorten(content: list[Json]) -> str | list[Json]:
    """A single text as a plain one, as the API allows."""
    return content[0]["text"] if len(content) == 1 and "text" in content[0] else content


def _write_call(part: ToolUse) -> Json:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function}


def _write_result(part: ToolResult) -> Json:
    texts = [each for each in part.parts if isinstance(each, Text)]
    if len(texts) < len(part.parts):
        raise _refuse("messages: this target takes only text as a tool's result.")
    content = [_write_text(text) for text in texts] or [_write_text(Text(""))]
    return {"role": "tool", "tool_call_id": part.id, "content": content}


def write_tools(offered: Iterable[Tool]) -> list[Json]:
    """The tools; every one needs a schema there."""
    return [{"type": "function", "function": _write_function(tool)} for tool in offered]


def _write_function(tool: Tool) -> Json:
    function: Json = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    schema = tool.schema or _ANY_INPUT
    function["parameters"] = schema if "type" in schema else {"type": "object", **schema}
    return function


def _refuse(message: str) -> GatewayError:
    return GatewayError("invalid_request", message, param="messages")
