"""Writes a conversation's turns as Converse content blocks.

The types Message to CachePointBlock in botocore 1.44.5's service model of bedrock-runtime
(data/bedrock-runtime/2023-09-30/service-2.json), and the Amazon Bedrock API Reference, "Message"
and "ContentBlock" (read 2026-11-22). Bytes travel as base64 in JSON.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from trunkline.chat import (
    Conversation,
    Json,
    Media,
    Part,
    Reasoning,
    Text,
    ToolResult,
    ToolUse,
)
from trunkline.errors import GatewayError
from trunkline.wire.bedrock_model import BedrockModel
from trunkline.wire.change import Changes

_IMAGES: Final = {
    "image/gif": "gif",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/png": "png",
    "image/webp": "webp",
}
_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_DOCUMENTS: Final = {
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/vnd.ms-excel": "xls",
    f"{_OFFICE}spreadsheetml.sheet": "xlsx",
    f"{_OFFICE}wordprocessingml.document": "docx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
_SOUNDS: Final = {
    f"audio/{name}": name
    for name in ("aac", "flac", "m4a", "mp3", "mp4", "mpeg", "ogg", "opus", "pcm", "wav", "webm")
}
_LIFETIMES: Final = ("5m", "1h")
_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_ODD_IN_ID: Final = re.compile(r"[^a-zA-Z0-9_.:-]")
_ODD_IN_NAME: Final = re.compile(r"[^a-zA-Z0-9()\[\]-]+")
_LONGEST_NAME: Final = 190


def write_system(texts: Iterable[Text]) -> list[Json]:
    """The system prompt's blocks; blank texts are left out, for Converse refuses them."""
    return [
        block
        for text in texts
        if text.text.strip()
        for block in ({"text": text.text}, *write_cache_point(text.cache))
    ]


def write_cache_point(cache: Json | None) -> tuple[Json, ...]:
    """The block that ends a prefix to be cached, if the client marked one."""
    if not cache:
        return ()
    point: Json = {"type": "default"}
    if cache.get("ttl") in _LIFETIMES:
        point["ttl"] = cache["ttl"]
    return ({"cachePoint": point},)


def has_calls(chat: Conversation) -> bool:
    """Whether tools were called before, so that the request must name some."""
    return any(isinstance(part, ToolUse | ToolResult) for turn in chat.turns for part in turn.parts)


def write_messages(chat: Conversation, model: BedrockModel, changes: Changes) -> list[Json]:
    """The turns; one that says nothing is left out, for Converse refuses empty content.

    Raises:
        GatewayError: ``invalid_request`` for what Converse cannot be told.
    """
    writer = _BlockWriter(model, changes)
    messages: list[Json] = []
    for turn in chat.turns:
        blocks = [block for part in turn.parts for block in writer.write(part)]
        if turn.role == "user" and any("toolResult" in block for block in blocks):
            blocks = _put_results_first(blocks)
        if blocks and messages and messages[-1]["role"] == turn.role:
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": turn.role, "content": blocks})
    if not messages:
        raise _refuse("'messages' holds no text, and this target takes no empty message.")
    return messages


def _put_results_first(blocks: list[Json]) -> list[Json]:
    """Results stand before words, as Claude wants them; a cache point stays behind its block."""
    results: list[Json] = []
    others: list[Json] = []
    place = others
    for block in blocks:
        if "cachePoint" not in block:
            place = results if "toolResult" in block else others
        place.append(block)
    return results + others


class _BlockWriter:
    """Writes parts, and remembers which names the documents have."""

    def __init__(self, model: BedrockModel, changes: Changes) -> None:
        self._model = model
        self._changes = changes
        self._names: set[str] = set()

    def write(self, part: Part) -> Iterator[Json]:
        """The part's blocks."""
        if isinstance(part, Text):
            if part.text.strip():
                yield {"text": part.text}
                yield from write_cache_point(part.cache)
        elif isinstance(part, Media):
            yield self._write_media(part)
            yield from write_cache_point(part.cache)
        elif isinstance(part, ToolUse):
            yield _write_call(part)
        elif isinstance(part, ToolResult):
            yield from self._write_result(part)
        else:
            yield from self._write_thought(part)

    def _write_thought(self, part: Reasoning) -> Iterator[Json]:
        """A thought without its seal is another vendor's, unless the model knows no seals."""
        if part.redacted:
            yield {"reasoningContent": {"redactedContent": part.redacted}}
        elif part.signature:
            thought = {"text": part.text, "signature": part.signature}
            yield {"reasoningContent": {"reasoningText": thought}}
        elif part.text and self._model.unsigned:
            yield {"reasoningContent": {"reasoningText": {"text": part.text}}}
        elif part.text:
            self._changes.drop("reasoning_content")

    def _write_result(self, part: ToolResult) -> Iterator[Json]:
        """A cache point may stand behind a result, not inside of it."""
        blocks = [block for each in part.parts for block in self.write(each)]
        if any("audio" in block for block in blocks):
            raise _refuse("messages: this target takes no audio in a tool's result.")
        inside = [block for block in blocks if "cachePoint" not in block]
        points = [block for block in blocks if "cachePoint" in block]
        yield {"toolResult": {"toolUseId": _fit_id(part.id), "content": inside}}
        yield from write_cache_point(part.cache) or points[:1]

    def _write_media(self, part: Media) -> Json:
        if part.url:
            raise _refuse("messages: image_url: this target takes data URLs only.")
        if part.kind == "image":
            if part.detail:
                self._changes.drop("image_url.detail")
            return {"image": _write_source(_find(part, _IMAGES), part)}
        if part.kind == "audio":
            return {"audio": _write_source(_find(part, _SOUNDS), part)}
        document = _write_source(_find(part, _DOCUMENTS), part)
        return {"document": {"name": self._name(part.name), **document}}

    def _name(self, given: str) -> str:
        """A name as Converse allows it; the file's ending is told by the format."""
        stem = given.rpartition(".")[0] or given
        plain = _ODD_IN_NAME.sub(" ", stem).strip()[:_LONGEST_NAME].strip() or "document"
        name, again = plain, 1
        while name in self._names:
            again += 1
            name = f"{plain} ({again})"
        self._names.add(name)
        return name


def _write_call(part: ToolUse) -> Json:
    """A call, its arguments byte for byte."""
    call = {
        "toolUseId": _fit_id(part.id),
        "name": part.name,
        "input": msgspec.Raw(part.arguments.encode()),
    }
    return {"toolUse": call}


def _fit_id(given: str) -> str:
    """An id as Converse allows it, the same for the same id."""
    if _ID.fullmatch(given):
        return given
    return f"{_ODD_IN_ID.sub('_', given)[:48]}_{zlib.crc32(given.encode()):08x}"


def _find(part: Media, formats: dict[str, str]) -> str:
    known = formats.get(part.media_type.lower())
    if known is None:
        raise _refuse(
            f"messages: {part.kind} of type '{part.media_type[:80]}' is not known to this target."
        )
    return known


def _write_source(kind: str, part: Media) -> Json:
    """Base64 in its usual alphabet, whatever the client's data URL had."""
    data = "".join(part.data.split()).replace("-", "+").replace("_", "/")
    if not data:
        raise _refuse(f"messages: a part of kind '{part.kind}' holds no data.")
    return {"format": kind, "source": {"bytes": data + "=" * (-len(data) % 4)}}


def _refuse(message: str) -> GatewayError:
    return GatewayError("invalid_request", message, param="messages")
