"""Shapes of the Messages API's answers and stream events, as far as they are read.

Types of Anthropic's Python SDK 2.12.0 (read 2026-11-22).
"""

from typing import Any, Final

import msgspec

KNOWN: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
"""Types of blocks that are read; all others are the vendor's own tools at work."""


class Typed(msgspec.Struct, gc=False):
    """Anything, by its type alone."""

    type: str = ""


class TextPiece(msgspec.Struct, gc=False, tag_field="type", tag="text_delta"):
    """A piece of text."""

    text: str


class JsonPiece(msgspec.Struct, gc=False, tag_field="type", tag="input_json_delta"):
    """A piece of a call's input, as JSON text."""

    partial_json: str


class ThoughtPiece(msgspec.Struct, gc=False, tag_field="type", tag="thinking_delta"):
    """A piece of a thought."""

    thinking: str


class SealPiece(msgspec.Struct, gc=False, tag_field="type", tag="signature_delta"):
    """A thought's seal."""

    signature: str


class CitationPiece(msgspec.Struct, tag_field="type", tag="citations_delta"):
    """Where the text of a block comes from."""

    citation: dict[str, Any]


Piece = TextPiece | JsonPiece | ThoughtPiece | SealPiece | CitationPiece


class BlockDelta(msgspec.Struct):
    """More of a block."""

    index: int
    delta: Piece


class AnyDelta(msgspec.Struct, gc=False):
    """More of a block, in a way that need not be known."""

    delta: Typed


class BlockStart(msgspec.Struct):
    """A block begins."""

    index: int
    content_block: msgspec.Raw


class BlockStop(msgspec.Struct, gc=False):
    """A block ends."""

    index: int


class Block(msgspec.Struct):
    """A block of one of the ``KNOWN`` types, its input verbatim."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    citations: list[dict[str, Any]] | None = None


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of the output tokens."""

    thinking_tokens: int | None = None


class Counts(msgspec.Struct):
    """Cumulative counts; what was read from or written to a cache is not in ``input_tokens``."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class StopDetails(msgspec.Struct, gc=False):
    """Why a reply was refused."""

    explanation: str | None = None


class End(msgspec.Struct):
    """Why a reply ended."""

    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Message(End):
    """A reply; when it begins, still without content."""

    id: str = ""
    model: str = ""
    content: list[msgspec.Raw] = []
    usage: Counts | None = None


class MessageStart(msgspec.Struct):
    """A reply begins."""

    message: Message


class MessageDelta(msgspec.Struct):
    """A reply ends, and has cost this much."""

    delta: End
    usage: Counts | None = None


TYPED = msgspec.json.Decoder(Typed)
BLOCK_DELTA = msgspec.json.Decoder(BlockDelta)
ANY_DELTA = msgspec.json.Decoder(AnyDelta)
BLOCK_START = msgspec.json.Decoder(BlockStart)
BLOCK_STOP = msgspec.json.Decoder(BlockStop)
BLOCK = msgspec.json.Decoder(Block)
MESSAGE = msgspec.json.Decoder(Message)
MESSAGE_START = msgspec.json.Decoder(MessageStart)
MESSAGE_DELTA = msgspec.json.Decoder(MessageDelta)
DELTA_TYPES: Final = frozenset(
    each.__struct_config__.tag
    for each in (TextPiece, JsonPiece, ThoughtPiece, SealPiece, CitationPiece)
)
