"""What an upstream says in a reply, as a closed union of events in the order of arrival."""

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class PromptDetails(msgspec.Struct, gc=False):
    """Parts of the input tokens."""

    cached_tokens: int | None = None
    audio_tokens: int | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    """Parts of the output tokens."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class Usage(msgspec.Struct, gc=False):
    """Tokens that the provider counted for one attempt."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of visible text."""

    text: str


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The provider's word that the reply is complete, and why it ended."""

    reason: FinishReason
    native: str


Event = TextDelta | Finish | Usage
