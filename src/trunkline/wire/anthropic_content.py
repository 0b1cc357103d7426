"""Writes a conversation's turns as Messages API content blocks.

Anthropic's API reference, "Create a Message", and the pages "Vision", "PDF support", "Handle
tool calls" and "Thinking" (read 2026-11-22), with the types of its Python SDK 2.12.0.
"""

import re
from base64 import b64decode
from typing import Final

import msgspec

from trunkline.chat import Conversation, Json, Media, Part, Reasoning, Text, ToolResult, ToolUse
from trunkline.errors import GatewayError
from trunkline.wire.anthropic_model import ClaudeModel
from trunkline.wire.change import Changes

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]")


def write_system(texts: tuple[Text, ...], model: ClaudeModel) -> str | list[Json] | None:
    """The system prompt; None where there is none."""
    given = [each for each in texts if each.text.strip()]
    if not given:
        return None
    if model.is_claude and (len(given) > 1 or given[0].cache):
        return [_write_text(each) for each in given]
    # llama.cpp's server would join blocks without a break between them.
    return "\n\n".join(each.text for each in given)


def write_messages(chat: Conversation, model: ClaudeModel, changes: Changes) -> list[Json]:
    """The turns; one that says nothing is left out, for the API refuses empty content.

    Raises:
        GatewayError: ``invalid_request`` for what the API cannot be told.
    """
    writer = _TurnWriter(model, changes)
    messages: list[Json] = []
    for turn in chat.turns:
        blocks = [block for part in turn.parts for block in writer.write(part)]
        if turn.role == "user":
            # Results have to come before words; sorting keeps all else in its order.
            blocks.sort(key=_comes_after_results)
        if blocks:
            messages.append({"role": turn.role, "content": _shorten(blocks)})
    if not messages:
        raise _refuse("'messages' holds no text, and this target takes no empty message.")
    return messages


def _comes_after_results(block: Json) -> bool:
    return bool(block["type"] != "tool_result")


def _shorten(blocks: list[Json]) -> str | list[Json]:
    """Plain words as a plain text, as the API allows."""
    first = blocks[0]
    return first["text"] if len(blocks) == 1 and first.keys() == {"type", "text"} else blocks


class _TurnWriter:
    """Writes parts, and remembers under which id each call was written."""

    def __init__(self, model: ClaudeModel, changes: Changes) -> None:
        self._model = model
        self._changes = changes
        self._ids: dict[str, str] = {}
        self._used: set[str] = set()

    def write(self, part: Part) -> tuple[Json, ...]:
        """The part's block, if it makes one."""
        if isinstance(part, Text):
            return (_write_text(part),) if part.text.strip() else ()
        if isinstance(part, Media):
            return (self._write_media(part),)
        if isinstance(part, ToolUse):
            return (self._write_call(part),)
        if isinstance(part, ToolResult):
            return (self._write_result(part),)
        return self._write_thought(part)

    def _write_thought(self, part: Reasoning) -> tuple[Json, ...]:
        """A thought goes back with its seal only: unsealed ones are other vendors'."""
        if part.redacted:
            return ({"type": "redacted_thinking", "data": part.redacted},)
        if part.signature or not self._model.is_claude:
            return ({"type": "thinking", "thinking": part.text, "signature": part.signature},)
        self._changes.drop("reasoning_content")
        return ()

    def _write_call(self, part: ToolUse) -> Json:
        plain = _ODD.sub(lambda odd: f"_{ord(odd[0]):x}", part.id) or "call"
        name, again = plain, 1
        while name in self._used:
            again += 1
            name = f"{plain}_{again}"
        self._used.add(name)
        self._ids[part.id] = name
        arguments = msgspec.Raw(part.arguments.encode())
        return {"type": "tool_use", "id": name, "name": part.name, "input": arguments}

    def _write_result(self, part: ToolResult) -> Json:
        blocks = [block for each in part.parts for block in self.write(each)]
        result: Json = {"type": "tool_result", "tool_use_id": self._ids.get(part.id, part.id)}
        if blocks:
            result["content"] = _shorten(blocks)
        return _add_cache(result, part.cache)

    def _write_media(self, part: Media) -> Json:
        if part.kind == "audio":
            raise _refuse("messages: 'input_audio' is not known to this target.")
        if part.kind == "document":
            block: Json = {"type": "document", "source": _write_document(part)}
            if part.name:
                block["title"] = part.name
            return _add_cache(block, part.cache)
        if part.detail:
            self._changes.drop("image_url.detail")
        return _add_cache({"type": "image", "source": _write_image(part)}, part.cache)


def _write_text(part: Text) -> Json:
    block: Json = {"type": "text", "text": part.text}
    return _add_cache(block, part.cache)


def _add_cache(block: Json, cache: Json | None) -> Json:
    if cache:
        block["cache_control"] = cache
    return block


def _write_image(part: Media) -> Json:
    if part.url:
        return {"type": "url", "url": part.url}
    kind = part.media_type.lower()
    kind = "image/jpeg" if kind == "image/jpg" else kind
    if kind not in _IMAGES:
        raise _refuse(
            f"messages: an image of type '{part.media_type[:80]}' is not known to this target; "
            "send JPEG, PNG, GIF or WebP."
        )
    return {"type": "base64", "media_type": kind, "data": part.data}


def _write_document(part: Media) -> Json:
    if part.url:
        return {"type": "url", "url": part.url}
    kind = part.media_type.lower()
    if kind == "application/pdf":
        return {"type": "base64", "media_type": kind, "data": part.data}
    if kind != "text/plain":
        raise _refuse(
            f"messages: a file of type '{part.media_type[:80]}' is not known to this target; "
            "send a PDF or plain text."
        )
    try:
        return {"type": "text", "media_type": kind, "data": b64decode(part.data).decode()}
    except ValueError:
        raise _refuse("messages: file_data is no UTF-8 text in base64.") from None


def _refuse(message: str) -> GatewayError:
    return GatewayError("invalid_request", message, param="messages")
