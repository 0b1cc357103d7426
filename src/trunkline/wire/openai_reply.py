"""The strict shapes of OpenAI's answers and chunks, as the official clients check them.

Decoding into these structs is the check: an answer that fits is forwarded byte for byte, one
that does not goes through ``mend``. Sources: docs/contract.md (Chat answers, Chat chunks), and
OpenAI's API reference for chat completions and completions (read 2026-11-21).
"""

from typing import Literal

import msgspec

from trunkline.events import FinishReason, Usage
from trunkline.wire.argument import LEGACY
from trunkline.wire.body import JsonObject

ServiceTier = Literal["auto", "default", "flex", "scale", "priority"]
TextFinishReason = Literal["stop", "length", "content_filter"]


class TopLogprob(msgspec.Struct, gc=False):
    """One alternative at a position."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob, kw_only=True, gc=False):
    """The chosen token at a position, with its alternatives."""

    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct, gc=False):
    """Log probabilities of a choice."""

    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None
    tokens: None = None
    """The legacy shape has a list here: then the decode fails, as it should."""


class Function(msgspec.Struct, gc=False):
    """A complete function call: the arguments are JSON in a string."""

    name: str
    arguments: str


class CustomInput(msgspec.Struct, gc=False):
    """A complete call of a custom tool."""

    name: str
    input: str


class FunctionCall(msgspec.Struct, gc=False, tag_field="type", tag="function"):
    """A function tool call."""

    id: str
    function: Function


class CustomCall(msgspec.Struct, gc=False, tag_field="type", tag="custom"):
    """A custom tool call."""

    id: str
    custom: CustomInput


class UrlCitation(msgspec.Struct, gc=False):
    """Where a part of the text comes from."""

    start_index: int
    end_index: int
    title: str
    url: str


class Annotation(msgspec.Struct, gc=False):
    """The one sort of annotation that clients accept."""

    type: Literal["url_citation"]
    url_citation: UrlCitation


class Audio(msgspec.Struct, gc=False):
    """A spoken answer."""

    id: str
    data: str
    expires_at: int
    transcript: str


class Message(msgspec.Struct, gc=False):
    """The assistant's message."""

    role: Literal["assistant"]
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[FunctionCall | CustomCall] | None = None
    function_call: Function | None = None
    annotations: list[Annotation] | None = None
    audio: Audio | None = None
    reasoning_content: str | None = None
    reasoning: None = None
    """Another name of the same at some vendors: then the decode fails, as it should."""


class Choice(msgspec.Struct, gc=False):
    """One complete alternative."""

    index: int
    finish_reason: FinishReason
    message: Message
    logprobs: Logprobs | None = None


class ChatAnswer(msgspec.Struct, gc=False):
    """A whole chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None
    service_tier: ServiceTier | None = None
    system_fingerprint: str | None = None
    error: None = None


class PartialFunction(msgspec.Struct, gc=False):
    """A piece of a function call."""

    name: str | None = None
    arguments: str | None = None


class ToolDelta(msgspec.Struct, gc=False):
    """A piece of a tool call; ``index`` says of which."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: PartialFunction | None = None


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds to the message."""

    role: Literal["developer", "system", "user", "assistant", "tool"] | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: None = None
    """As in ``Message``."""
    tool_calls: list[ToolDelta] | None = None
    function_call: PartialFunction | None = None
    audio: JsonObject | None = None

    def says_something(self) -> bool:
        """More than the role: from here on the status can no longer change."""
        return bool(
            self.content
            or self.tool_calls
            or self.reasoning_content
            or self.refusal
            or self.function_call
            or self.audio
        )

    def calls_something(self) -> bool:
        """A piece of a tool call is in it."""
        return bool(self.tool_calls or self.function_call)

    def read_calls(self) -> list[tuple[int, str]]:
        """The slots of the calls that it goes on with, and what it adds to their arguments."""
        function = self.function_call
        calls = [] if function is None else [(LEGACY, function.arguments or "")]
        for call in self.tool_calls or ():
            function = call.function
            calls.append((call.index, (function and function.arguments) or ""))
        return calls


class ChunkChoice(msgspec.Struct, gc=False):
    """A piece of one alternative."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: Logprobs | None = None

    def says_something(self) -> bool:
        """See ``Delta``."""
        return self.delta.says_something()

    def read_text(self) -> str:
        """What it adds to the text or to the thoughts, "" where it does not, or calls a tool."""
        delta = self.delta
        return "" if delta.calls_something() else delta.content or delta.reasoning_content or ""

    def calls_something(self) -> bool:
        """See ``Delta``."""
        return self.delta.calls_something()

    def read_calls(self) -> list[tuple[int, str]]:
        """See ``Delta``."""
        return self.delta.read_calls()


class GroqNote(msgspec.Struct, gc=False):
    """What Groq adds to a chunk; with an error in it the decode fails, as it should."""

    error: None = None


class ChatChunk(msgspec.Struct, gc=False):
    """A piece of a streamed chat completion."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    service_tier: ServiceTier | None = None
    system_fingerprint: str | None = None
    x_groq: GroqNote | None = None
    error: None = None


class TextLogprobs(msgspec.Struct, gc=False):
    """Log probabilities in the legacy shape: parallel lists, a position each."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] | None = None
    content: None = None
    """Chat's shape of log probabilities has a list here: then the decode fails, as it should."""


class TextChoice(msgspec.Struct, gc=False):
    """One complete alternative of a text completion."""

    index: int
    text: str
    finish_reason: TextFinishReason
    logprobs: TextLogprobs | None = None


class TextAnswer(msgspec.Struct, gc=False):
    """A whole text completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None
    system_fingerprint: str | None = None
    error: None = None


class TextChunkChoice(msgspec.Struct, gc=False):
    """A piece of one alternative of a text completion."""

    index: int
    text: str
    finish_reason: TextFinishReason | None = None
    logprobs: TextLogprobs | None = None

    def says_something(self) -> bool:
        """Any text: there is nothing else."""
        return bool(self.text)

    def read_text(self) -> str:
        """What it adds to the text."""
        return self.text

    def calls_something(self) -> bool:
        """A text calls no tools."""
        return False

    def read_calls(self) -> list[tuple[int, str]]:
        """See ``calls_something``."""
        return []


class TextChunk(msgspec.Struct, gc=False):
    """A piece of a streamed text completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChunkChoice]
    usage: Usage | None = None
    system_fingerprint: str | None = None
    error: None = None


CHAT_ANSWER = msgspec.json.Decoder(ChatAnswer)
CHAT_CHUNK = msgspec.json.Decoder(ChatChunk)
TEXT_ANSWER = msgspec.json.Decoder(TextAnswer)
TEXT_CHUNK = msgspec.json.Decoder(TextChunk)
