"""What an upstream says in a reply, as a closed union of events in the order of arrival."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]

MOST_TOKENS: Final = 2**53
"""No count is above this: what is lies, and no sum of counts may overflow."""
_Count = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]


class PromptDetails(msgspec.Struct, gc=False):
    """Parts of the input tokens; those written to a cache stand here only where a vendor tells."""

    cached_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    cache_write_tokens: _Count | msgspec.UnsetType | None = msgspec.UNSET


class CompletionDetails(msgspec.Struct, gc=False):
    """Parts of the output tokens."""

    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    accepted_prediction_tokens: _Count | None = None
    rejected_prediction_tokens: _Count | None = None


class Usage(msgspec.Struct, gc=False):
    """Tokens that the provider counted for one attempt; the total is always the sum.

    Raises:
        ValueError: for any other total, so that an answer with one fails to decode and is mended.
    """

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    def __post_init__(self) -> None:
        if self.prompt_tokens + self.completion_tokens != self.total_tokens:
            raise ValueError("the total of a usage is not the sum of its parts")

    def believe(self) -> "Usage | None":
        """Itself, or None where a count of it cannot be true; decoded ones are checked before."""
        details = (self.prompt_tokens_details, self.completion_tokens_details)
        parts = [getattr(each, name) for each in details if each for name in each.__struct_fields__]
        counts = (self.prompt_tokens, self.completion_tokens, *parts)
        known = [count for count in counts if isinstance(count, int)]
        return self if all(0 <= count <= MOST_TOKENS for count in known) else None


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
