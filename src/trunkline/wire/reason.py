"""Finish reasons: every vendor's word for why a reply ended, as one of the closed words."""

import re
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
    "pause_turn": "length",  # Anthropic's own tools paused: more would come if asked for
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "function_call",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "sensitive": "content_filter",
    "guardrail_intervened": "content_filter",
    "continuation": "length",  # Gemini API reference: this and the next 10 (read 2026-11-22)
    "recitation": "content_filter",
    "language": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "image_safety": "content_filter",
    "image_prohibited_content": "content_filter",
    "image_recitation": "content_filter",
    "model_armor": "content_filter",
    "escalation": "content_filter",
    "content_filtered": "content_filter",  # Bedrock Converse reference (read 2026-11-22)
    "tool_call": "tool_calls",  # Cohere API reference: this and the next (read 2026-11-22)
    "error_toxic": "content_filter",
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
        "other",  # Gemini API reference: this and the next 8 (read 2026-11-22)
        "malformed_function_call",
        "malformed_response",
        "unexpected_tool_call",
        "too_many_tool_calls",
        "missing_thought_signature",
        "no_image",
        "image_other",
        "pup_limited_disabled",
        "malformed_model_output",  # Bedrock Converse reference: both (read 2026-11-22)
        "malformed_tool_use",
    }
)
_PARTS: Final = re.compile("[A-Z]?[a-z]+|[A-Z]+")
_BROKEN_PARTS: Final = frozenset(
    {"error", "errored", "fail", "failed", "failure", "abort", "aborted", "incomplete"}
    | {"interrupted", "cancelled", "canceled", "timeout", "crashed"}
)
_LENGTH_PARTS: Final = frozenset({"length", "max", "maximum", "limit", "truncated", "exceeded"})
_FILTER_PARTS: Final = frozenset(
    {"filter", "filtered", "safety", "blocked", "moderation", "guardrail", "guardrails"}
)


def read_reason(word: str) -> FinishReason:
    """The closed word for a vendor's word.

    A word that nobody knows is judged by its parts, so that no new word for a limit, a filter or
    a failure passes for a complete answer; only one without such a part counts as ``stop``.

    Raises:
        GatewayError: ``upstream_error`` when the word says that the reply is incomplete.
    """
    known = _WORDS.get(word) or _WORDS.get(word.lower())
    if known:
        return known
    parts = {part.lower() for part in _PARTS.findall(word)}
    if not word.strip() or word.lower() in _BROKEN or parts & _BROKEN_PARTS:
        raise GatewayError(
            "upstream_error", "The upstream gave up on this reply before it was complete."
        )
    if parts & _FILTER_PARTS:
        return "content_filter"
    return "length" if parts & _LENGTH_PARTS else "stop"
