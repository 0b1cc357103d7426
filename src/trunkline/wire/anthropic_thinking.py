"""Turns a reasoning effort into a model's thinking settings, and sampling into what it allows.

Anthropic's pages "Thinking", "Extended thinking" and "Effort" (read 2026-11-22): a model thinks
by effort (``output_config.effort``, from Claude 4.6) or by a budget of tokens, of at least 1024
and less than ``max_tokens``. While it thinks, temperature stays 1 and top_p within 0.95 to 1,
and there is no top_k; by budget, no tool can be forced, and a turn that calls one must begin
with its thought.
"""

from typing import Any, Final

from trunkline.chat import Conversation, Json, Reasoning, ToolUse
from trunkline.errors import GatewayError
from trunkline.wire.anthropic_model import ClaudeModel
from trunkline.wire.change import Changes

DEFAULT_MAX_TOKENS: Final = 4096
SMALLEST_BUDGET: Final = 1024
_BUDGETS: Final = {
    "minimal": 1024,
    "low": 1024,
    "medium": 4096,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
"""Tokens for each effort; ours, for no vendor's page tells them."""
_EFFORTS: Final = ("none", *_BUDGETS)
_LEAST_TOP_P: Final = 0.95


def write_thinking(
    chat: Conversation, model: ClaudeModel, body: Json, changes: Changes, *, forced: bool
) -> None:
    """Put what ``reasoning_effort`` asks for into the body, and ``max_tokens`` if it lacks.

    Args:
        chat: the request.
        model: the model.
        body: has the plain parameters.
        changes: told of what differs.
        forced: the model is made to call a tool.

    Raises:
        GatewayError: ``invalid_request`` for an unknown effort, or where ``changes`` is strict.
    """
    effort = chat.parameters.get("reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        raise GatewayError(
            "invalid_request",
            f"reasoning_effort: expected one of {', '.join(_EFFORTS)}.",
            param="reasoning_effort",
        )
    if effort == "none":
        _turn_off(model, body, changes)
    elif effort is not None and model.thinking == "adaptive":
        _write_effort(effort, model, body, changes)
    elif effort is not None:
        hindered = model.is_claude and (forced or _lacks_thought(chat))
        if model.thinking == "never" or hindered or not _write_budget(effort, body, changes):
            changes.drop("reasoning_effort")
    if "max_tokens" not in body:
        body["max_tokens"] = DEFAULT_MAX_TOKENS
        changes.default("max_tokens", DEFAULT_MAX_TOKENS)


def _turn_off(model: ClaudeModel, body: Json, changes: Changes) -> None:
    if model.off == "never":
        changes.clamp("reasoning_effort", "low")
        _say_effort("low", body, changes)
    elif model.off:
        body["thinking"] = {"type": model.off}
        changes.rename("reasoning_effort", "thinking.type")


def _write_effort(effort: str, model: ClaudeModel, body: Json, changes: Changes) -> None:
    known = effort
    if effort == "minimal":
        known = "low"
    elif effort == "xhigh" and not model.takes_xhigh:
        known = "high"
    if known != effort:
        changes.clamp("reasoning_effort", known)
    # Newer models keep their thoughts to themselves unless asked for a summary.
    body["thinking"] = {"type": "adaptive", "display": "summarized"}
    _say_effort(known, body, changes)


def _say_effort(effort: str, body: Json, changes: Changes) -> None:
    body.setdefault("output_config", {})["effort"] = effort
    changes.rename("reasoning_effort", "output_config.effort")


def _write_budget(effort: str, body: Json, changes: Changes) -> bool:
    """Give the effort's budget, at most half of the answer's tokens; False where none is left."""
    wanted = _BUDGETS[effort]
    limit = body.get("max_tokens")
    if limit is None:
        body["max_tokens"] = limit = wanted + DEFAULT_MAX_TOKENS
        changes.default("max_tokens", limit)
        budget = wanted
    else:
        budget = min(wanted, limit // 2)
    if budget < SMALLEST_BUDGET:
        return False
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    changes.rename("reasoning_effort", "thinking.budget_tokens")
    if budget < wanted:
        changes.clamp("reasoning_effort", budget)
    return True


def _lacks_thought(chat: Conversation) -> bool:
    """Whether the last call came without its thought, which the client has not kept."""
    said = [turn for turn in chat.turns if turn.role == "assistant"]
    if not said or not any(isinstance(part, ToolUse) for part in said[-1].parts):
        return False
    first = said[-1].parts[0]
    return not (isinstance(first, Reasoning) and (first.signature or first.redacted))


def settle_sampling(model: ClaudeModel, body: Json, changes: Changes) -> None:
    """Leave in the body only what the model takes; its own defaults go without a word."""
    if not model.is_claude:
        return
    if model.fixes_sampling:
        for name, default in (("temperature", 1), ("top_p", 1), ("top_k", None)):
            if body.pop(name, default) != default:
                changes.drop(name)
        return
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        _settle_thinking(body, changes)
    if model.takes_one_sampler and "temperature" in body and "top_p" in body:
        if body["temperature"] == 1:
            del body["temperature"]
        elif body.pop("top_p") != 1:
            changes.drop("top_p")


def _settle_thinking(body: Json, changes: Changes) -> None:
    if body.pop("temperature", 1) != 1:
        changes.clamp("temperature", 1)
    if body.pop("top_k", None) is not None:
        changes.drop("top_k")
    top_p: Any = body.get("top_p")
    if top_p is not None and top_p < _LEAST_TOP_P:
        changes.clamp("top_p", _LEAST_TOP_P)
        body["top_p"] = _LEAST_TOP_P
