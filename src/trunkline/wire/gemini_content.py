"""Turns of a conversation as the ``contents`` of Google's generateContent format.

Gemini API reference, "Content", and its pages "Function calling", "Thought signatures", "Media
resolution" and "File input methods"; Vertex AI's reference of the same types (read 2026-11-22).
Addresses are not handed on: the vendor reads only some, and wants their media type told.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from trunkline.chat import (
    Json,
    Media,
    Part,
    Reasoning,
    Text,
    ToolResult,
    ToolUse,
    Turn,
)
from trunkline.errors import GatewayError
from trunkline.wire.change import Changes

_UNSIGNED: Final = "skip_thought_signature_validator"
"""What stands for the signature of a call that the model did not make itself."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, Any])
_RESOLUTIONS: Final = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


class ContentWriter:
    """Writes the turns of one request.

    Args:
        changes: where is noted what had to change.
        recent: the model is Gemini 3 or later. It pairs calls and results by id, where the
            older ones refuse ids and go by order; it wants signed calls, media inside of tool
            results, and a resolution on each image.
    """

    def __init__(self, changes: Changes, *, recent: bool) -> None:
        self._changes = changes
        self._recent = recent

    def write_turns(self, turns: Iterable[Turn]) -> list[Json]:
        """The turns as ``contents``.

        Raises:
            GatewayError: ``invalid_request`` for what the format cannot express.
        """
        contents: list[Json] = []
        places: dict[str, int] = {}
        for turn in turns:
            if turn.role == "assistant":
                calls = [part.id for part in turn.parts if isinstance(part, ToolUse)]
                places = {call: place for place, call in enumerate(calls)}
                contents.append({"role": "model", "parts": self._write_said(turn.parts)})
            else:
                parts = _order_results(turn.parts, places) if places else turn.parts
                contents.append({"role": "user", "parts": self._write_heard(parts)})
        return contents

    def _write_heard(self, parts: Iterable[Part]) -> list[Json]:
        written: list[Json] = []
        for part in parts:
            if isinstance(part, Text):
                if part.text:
                    written.append({"text": part.text})
            elif isinstance(part, Media):
                written.append(self._write_media(part))
            elif isinstance(part, ToolResult):
                written += self._write_result(part)
        return written or [{"text": ""}]

    def _write_said(self, parts: Iterable[Part]) -> list[Json]:
        """A signature without a call of its own belongs to the words that follow it."""
        written: list[Json] = []
        waiting, unsigned = "", self._recent
        for part in parts:
            if isinstance(part, Reasoning):
                waiting = _check_signature(part.signature) or waiting
                if part.text:
                    written.append({"text": part.text, "thought": True})
                continue
            if isinstance(part, Text) and (part.text or waiting):
                written.append({"text": part.text, **_sign(waiting)})
                waiting = ""
            elif isinstance(part, ToolUse):
                if waiting:
                    written.append({"text": "", **_sign(waiting)})
                    waiting = ""
                written.append(self._write_call(part, needs_signature=unsigned))
                unsigned = False
        if waiting:
            written.append({"text": "", **_sign(waiting)})
        return written or [{"text": ""}]

    def _write_call(self, call: ToolUse, *, needs_signature: bool) -> Json:
        """Of parallel calls only the first is signed."""
        try:
            _ARGUMENTS.decode(call.arguments)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise GatewayError(
                "invalid_request",
                f"The arguments of the earlier call of '{call.name}' are not a JSON object.",
                param="messages",
            ) from None
        said: Json = {"id": call.id} if self._recent else {}
        said |= {"name": call.name, "args": msgspec.Raw(call.arguments)}
        signature = _check_signature(call.signature)
        if needs_signature and not signature:
            signature = _UNSIGNED
            self._changes.default("thought_signature", signature)
        return {"functionCall": said, **_sign(signature)}

    def _write_result(self, result: ToolResult) -> list[Json]:
        texts = [part.text for part in result.parts if isinstance(part, Text)]
        media = [self._write_media(part) for part in result.parts if isinstance(part, Media)]
        told: Json = {"id": result.id} if self._recent else {}
        told |= {"name": result.name, "response": {"output": "\n".join(texts)}}
        if media and self._recent:
            told["parts"] = media
            media = []
        return [{"functionResponse": told}, *media]

    def _write_media(self, media: Media) -> Json:
        if media.url:
            raise GatewayError(
                "invalid_request",
                f"This target reads no {media.kind} by its address; send it as a data URL.",
                param="messages",
            )
        data = "".join(media.data.split())
        # Google reads either spelling, LiteLLM's route of this format only this one.
        part: Json = {"inline_data": {"mime_type": media.media_type, "data": data}}
        resolution = _RESOLUTIONS.get(media.detail)
        if resolution is None:
            return part
        if not self._recent:
            self._changes.drop("image_url.detail")
            return part
        return {**part, "mediaResolution": {"level": resolution}}


def _order_results(parts: Sequence[Part], places: dict[str, int]) -> list[Part]:
    """Results first, in the order of their calls: by it they are told apart."""
    last = len(places)
    return sorted(
        parts,
        key=lambda part: places.get(part.id, last) if isinstance(part, ToolResult) else last + 1,
    )


def _check_signature(signature: str) -> str:
    """The signature, if it can be one of this vendor's: bytes in base64."""
    return signature if _BASE64.fullmatch(signature) else ""


def _sign(signature: str) -> Json:
    return {"thoughtSignature": signature} if signature else {}
