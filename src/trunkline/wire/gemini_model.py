"""What a Gemini model's name tells of its API: its generation, and how its thinking is set.

Gemini API, pages "Thinking" and "OpenAI compatibility" (the table of efforts), and the Gemini
Enterprise Agent Platform's page "Thinking" (read 2026-11-22). A name without a version, such as
``gemini-flash-latest``, is of the newest generation.
"""

import re
from typing import Final

from trunkline.chat import Json
from trunkline.wire.change import Changes

_VERSION: Final = re.compile(r"gemini-(?:live-)?(\d+)")
_MINIMAL: Final = re.compile(r"gemini-3(?:\.[0-6])?-flash")
"""Who takes the level MINIMAL: Flash up to 3.6; the later ones and all Pro models refuse it."""
_LEVELS: Final = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_BUDGETS_TOKENS: Final = {
    "none": 0,
    "minimal": 1_024,
    "low": 1_024,
    "medium": 8_192,
    "high": 24_576,
}
_LEAST_PRO_TOKENS: Final = 128
"""Gemini 2.5 Pro cannot leave off thinking."""


def is_recent(model: str) -> bool:
    """Whether the model is Gemini 3 or later: ids on calls, levels of thinking, no penalties."""
    found = _VERSION.search(model)
    return found is None or int(found[1]) >= 3


def choose_thinking(model: str, effort: object, changes: Changes) -> Json | None:
    """``thinkingConfig`` for an effort in OpenAI's words; None for a word nobody knows.

    Thoughts are asked for with it, unless the effort is ``none``. What the model cannot do is
    told as a clamp, in OpenAI's words.
    """
    level = _LEVELS.get(effort) if isinstance(effort, str) else None
    if level is None:
        changes.drop("reasoning_effort")
        return None
    thinking = {"includeThoughts": effort != "none"}
    if is_recent(model):
        level = _nearest_level(model, level)
        _tell(effort, level, changes)
        return {"thinkingLevel": level.upper(), **thinking}
    if effort == "none" and "-pro" in model:
        budget = _LEAST_PRO_TOKENS
    else:
        level = "none" if effort == "none" else level
        budget = _BUDGETS_TOKENS[level]
    _tell(effort, level, changes)
    return {"thinkingBudget": budget, **thinking}


def _nearest_level(model: str, level: str) -> str:
    if "gemma" in model:
        return "minimal" if level in ("minimal", "low") else "high"
    return "low" if level == "minimal" and not _MINIMAL.search(model) else level


def _tell(effort: object, done: str, changes: Changes) -> None:
    if effort != done:
        changes.clamp("reasoning_effort", done)
    changes.rename("reasoning_effort", "generationConfig.thinkingConfig")
