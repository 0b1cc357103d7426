"""What an upstream says in a reply, as a closed union of events in the order of arrival."""

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class PromptDetails(msgspec.Struct, gc=False):
    """Parts of the input tokens; those written to a cache stand here only where a vendor tells."""

    cached_tokens: int | None = None
    audio_tokens: int | None = None
    cache_write_tokens: int | msgspec.UnsetType | None = msgspec.UNSET


class CompletionDetails(msgspec.Struct, gc=False):
    """Parts of the output tokens."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class Usage(msgspec.Struct, gc=False):
    """Tokens that the provider counted for one attempt; the total is always the sum.

    Raises:
        ValueError: for any other total, so that an answer with one fails to decode and is mended.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    def __post_init__(self) -> None:
        if self.prompt_tokens + self.completion_tokens != self.total_tokens:
            raise ValueError("the total of a usage is not the sum of its parts")


class Began(msgspec.Struct, frozen=True, gc=False):
    """The reply has an id and a model's name; sent before anything else, where they are told."""

    id: str = ""
    model: str = ""


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of visible text; ``index`` says of which alternative, here and below."""

    text: str
    index: int = 0


class RefusalDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the model's words for why it will not answer."""

    text: str
    index: int = 0


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of what the model thinks aloud."""

    text: str
    index: int = 0


class ReasoningSeal(msgspec.Struct, frozen=True, gc=False):
    """The end of a thought: the signature that its vendor wants back, or the thought, hidden."""

    signature: str = ""
    redacted: str = ""
    index: int = 0


class ToolStart(msgspec.Struct, frozen=True, gc=False):
    """The model begins to call a tool; ``slot`` counts the calls of an alternative from 0."""

    slot: int
    id: str
    name: str
    signature: str = ""
    index: int = 0


class ToolDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of a call's arguments, as JSON text."""

    slot: int
    arguments: str
    index: int = 0


class Citation(msgspec.Struct, frozen=True, gc=False):
    """Where characters ``start`` to ``end`` of the text come from."""

    url: str
    title: str = ""
    start: int = 0
    end: int = 0
    index: int = 0


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The provider's word that the reply is complete, and why it ended."""

    reason: FinishReason
    native: str
    index: int = 0


Event = (
    Began
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | ReasoningSeal
    | ToolStart
    | ToolDelta
    | Citation
    | Finish
    | Usage
)
