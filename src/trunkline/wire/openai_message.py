"""The insides of OpenAI's chat requests, which only a translated call has to understand.

Shapes from OpenAI's API reference, "Create chat completion" (read 2026-11-22). Beside them stand
what other vendors need kept over turns: ``cache_control`` and ``thinking_blocks`` (Anthropic,
named as LiteLLM names them), ``reasoning_content`` (DeepSeek, vLLM) and
``extra_content.google.thought_signature`` (Google's OpenAI-compatible endpoint).
"""

from typing import Any, Literal

import msgspec

from trunkline.chat import Json
from trunkline.wire.openai_chat import ModelName


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    """A piece of text."""

    text: str
    cache_control: Json | None = None


class ImageUrl(msgspec.Struct):
    """An image's address, or the image itself as a data URL."""

    url: str
    detail: str | None = None


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageUrl
    cache_control: Json | None = None


class InputAudio(msgspec.Struct):
    """A sound in base64; ``format`` is ``wav`` or ``mp3``."""

    data: str
    format: str


class AudioPart(msgspec.Struct, tag_field="type", tag="input_audio"):
    """A sound."""

    input_audio: InputAudio


class FileBody(msgspec.Struct):
    """A file as a data URL; ``file_id`` names one that lies at OpenAI."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(msgspec.Struct, tag_field="type", tag="file"):
    """A file, a PDF for instance."""

    file: FileBody
    cache_control: Json | None = None


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal"):
    """What the model said instead of an answer."""

    refusal: str


UserPart = TextPart | ImagePart | AudioPart | FilePart


class FunctionText(msgspec.Struct):
    """A function's name and its arguments as JSON text."""

    name: str
    arguments: str = ""


class PastCall(msgspec.Struct):
    """A tool call of an earlier turn."""

    id: str
    function: FunctionText
    type: Literal["function"] = "function"
    extra_content: Json | None = None


class ThinkingBlock(msgspec.Struct):
    """A thought of an earlier turn, signed or hidden by its vendor."""

    type: Literal["thinking", "redacted_thinking"]
    thinking: str = ""
    signature: str = ""
    data: str = ""


class SystemMessage(msgspec.Struct, tag_field="role", tag="system"):
    """The operator's or developer's instructions."""

    content: str | list[TextPart]
    name: str | None = None


class DeveloperMessage(msgspec.Struct, tag_field="role", tag="developer"):
    """The same in the words of newer models."""

    content: str | list[TextPart]
    name: str | None = None


class UserMessage(msgspec.Struct, tag_field="role", tag="user"):
    """What the user said."""

    content: str | list[UserPart]
    name: str | None = None


class AssistantMessage(msgspec.Struct, tag_field="role", tag="assistant"):
    """What the model said; ``audio`` names a sound that lies at OpenAI."""

    content: str | list[TextPart | RefusalPart] | None = None
    name: str | None = None
    audio: Json | None = None
    refusal: str | None = None
    tool_calls: list[PastCall] | None = None
    function_call: FunctionText | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[ThinkingBlock] | None = None


class ToolMessage(msgspec.Struct, tag_field="role", tag="tool"):
    """What a tool answered."""

    tool_call_id: str
    content: str | list[UserPart]
    cache_control: Json | None = None


class FunctionMessage(msgspec.Struct, tag_field="role", tag="function"):
    """The same in the words of older models."""

    name: str
    content: str | None


Message = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage
)


class FunctionTool(msgspec.Struct):
    """A function that is offered."""

    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class OfferedTool(msgspec.Struct):
    """A tool that is offered."""

    function: FunctionTool
    type: Literal["function"] = "function"
    cache_control: Json | None = None


class NamedFunction(msgspec.Struct):
    """A function by name."""

    name: str


class NamedTool(msgspec.Struct):
    """A tool by name."""

    function: NamedFunction
    type: Literal["function"] = "function"


class JsonSchema(msgspec.Struct):
    """A schema for the answer."""

    schema: Json | None = None
    name: str = "answer"
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    """What the answer shall look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatInside(msgspec.Struct):
    """A chat request read in full; every other field is a plain value."""

    model: ModelName
    messages: list[Message]
    tools: list[OfferedTool] | None = None
    functions: list[FunctionTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    function_call: Literal["auto", "none"] | NamedFunction | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    n: int | None = None
    stop: str | list[str] | None = None


INSIDE: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ChatInside)
