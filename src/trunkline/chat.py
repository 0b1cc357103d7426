"""What a client asks for: chat and text requests as plain frozen values.

A request that goes to an upstream of its own format stays the client's JSON (``ChatRequest``).
One that is translated is read into a ``Conversation``: turns of two roles, each made of parts.
"""

from typing import Any, Literal

import msgspec

Json = dict[str, Any]


class ImageRef(msgspec.Struct, frozen=True, gc=False):
    """An image of a completion request, by address or data URL, handed on unfetched."""

    image_url: str
    detail: str = "auto"


class ChatRequest(msgspec.Struct, frozen=True, gc=False):
    """A chat or legacy text request in OpenAI's shape.

    ``body`` is the client's JSON, checked, so that a target of the same wire gets what the
    client wrote, known to us or not. ``max_tokens`` bounds the output of each of ``copies``
    alternatives, None where the client set no bound.
    """

    model: str
    body: bytes
    stream: bool
    include_usage: bool
    max_tokens: int | None = None
    copies: int = 1


class TextRequest(msgspec.Struct, frozen=True, gc=False):
    """An SGP completion request with SGP's defaults filled in.

    ``temperature`` is None only for targets that refuse one; ``tempered`` says that the client
    itself asked for it.
    """

    model: str
    prompt: str
    stream: bool
    temperature: float | None
    account_id: str | None = None
    images: tuple[ImageRef, ...] = ()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning_effort: str | None = None
    tempered: bool = False


class Text(msgspec.Struct, frozen=True):
    """Words; ``cache`` is the client's ``cache_control``, for vendors that cache prompts by it."""

    text: str
    cache: Json | None = None


class Media(msgspec.Struct, frozen=True):
    """An image, a PDF or a sound: by address (``url``), or as base64 (``data``), never both.

    ``detail`` is OpenAI's word for an image's resolution, ``name`` a file's name.
    """

    kind: Literal["image", "document", "audio"]
    media_type: str = ""
    url: str = ""
    data: str = ""
    detail: str = ""
    name: str = ""
    cache: Json | None = None


class Reasoning(msgspec.Struct, frozen=True):
    """What a model thought in an earlier turn, with the signature its vendor wants back.

    ``redacted`` replaces both where the vendor hides the thought.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""


class ToolUse(msgspec.Struct, frozen=True):
    """A call that the model asked for; ``arguments`` is JSON text of an object."""

    id: str
    name: str
    arguments: str
    signature: str = ""


class ToolResult(msgspec.Struct, frozen=True):
    """What a tool answered to the call ``id``; ``name`` is the tool's."""

    id: str
    name: str
    parts: "tuple[Text | Media, ...]"
    cache: Json | None = None


Part = Text | Media | Reasoning | ToolUse | ToolResult


class Turn(msgspec.Struct, frozen=True):
    """What one side said: never two turns of one role in a row, tool results are the user's."""

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; ``schema`` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    schema: Json | None = None
    strict: bool | None = None
    cache: Json | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether a tool is called: as the model likes, never, some tool, or the one of ``name``."""

    mode: Literal["auto", "none", "required", "named"]
    name: str = ""


class OutputFormat(msgspec.Struct, frozen=True):
    """The answer shall be JSON: any object (``schema`` None), or what the schema says."""

    schema: Json | None = None
    name: str = "answer"
    description: str = ""
    strict: bool | None = None


class Conversation(msgspec.Struct, frozen=True):
    """A request that is translated.

    Args:
        model: the public name that the client asked for.
        system: texts of all system and developer messages, in order.
        turns: at least one.
        tools: functions offered; empty where none are.
        tool_choice: None where the client left it to the upstream.
        parallel_tool_calls: None likewise.
        output: None for free text.
        parameters: every other parameter by OpenAI's name (docs/parameters.md), nulls left
            out, ``max_completion_tokens`` as ``max_tokens``, ``stop`` as a list.
        n: how many alternatives.
        legacy: the client spoke of functions, and is answered in the same words.
        stream: whether the answer is streamed.
        include_usage: whether a stream ends with the usage chunk.
    """

    model: str
    system: tuple[Text, ...]
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    parameters: Json = {}
    n: int = 1
    legacy: bool = False
    stream: bool = False
    include_usage: bool = False
