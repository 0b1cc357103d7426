"""Finish reasons: every vendor's word for why a reply ended, as one of the closed words."""

from typing import Final

from trunkline.errors import GatewayError
from trunkline.events import FinishReason

_WORDS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "completed": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "function_call",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "sensitive": "content_filter",
    "guardrail_intervened": "content_filter",
}
_BROKEN: Final = frozenset(
    {
        "error",
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "timeout",
        "insufficient_system_resource",  # DeepSeek's API reference (read 2026-11-21)
        "network_error",  # Zhipu's API reference (read 2026-11-21)
    }
)


def read_reason(word: str) -> FinishReason:
    """The closed word for a vendor's word; a word nobody knows counts as ``stop``.

    Raises:
        GatewayError: ``upstream_error`` when the word says that the reply is incomplete.
    """
    known = _WORDS.get(word) or _WORDS.get(word.lower())
    if known:
        return known
    if word.lower() in _BROKEN:
        raise GatewayError(
            "upstream_error", "The upstream gave up on this reply before it was complete."
        )
    return "stop"
