"""What the clients ask on every wire, in OpenAI's shape, and the same in plain items.

An item is one thing that somebody said, or one setting: whatever dialect a request is in, the
same conversation is the same list of items (``heard``).
"""

from typing import Any

Item = dict[str, Any]

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4"
    "2mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""One point."""
SYSTEM = "You are a careful meteorologist."
QUESTION = "Is it warmer in Oslo than in Rome? The map shows Å and both."
LOOK = "Let me measure."
SCHEMA = {
    "type": "object",
    "properties": {"warmer": {"type": "boolean"}, "why": {"type": "string"}},
    "required": ["warmer", "why"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The temperature in a city.",
        "parameters": WEATHER,
    },
}
CALLED = {
    "role": "assistant",
    "content": LOOK,
    "tool_calls": [
        {
            "id": f"call_{city}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": f'{{"city":"{city}"}}'},
        }
        for city in ("Oslo", "Rome")
    ],
}
MEASURED = [
    {"role": "tool", "tool_call_id": "call_Oslo", "content": "4 °C"},
    {"role": "tool", "tool_call_id": "call_Rome", "content": "19 °C"},
]


def ask_for_structure(*, image: bool) -> dict[str, Any]:
    """The long conversation: seen, called, measured; the answer shall be JSON."""
    content: Any = QUESTION
    if image:
        seen = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
        content = [{"type": "text", "text": QUESTION}, seen]
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA}}
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": content},
            CALLED,
            *MEASURED,
        ],
        "tools": [TOOL],
        "max_tokens": 8000,
        # The v4 client's own types refuse a plain object here.
        "extra_body": {"response_format": form},
    }


def ask_for_calls() -> dict[str, Any]:
    """A question that takes two calls at once."""
    return {
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
        "tools": [TOOL],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_tokens": 8000,
        "reasoning_effort": "low",
    }


def ask_for_thought() -> dict[str, Any]:
    """A plain question to a model that thinks."""
    return {
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
        "max_tokens": 8000,
        "reasoning_effort": "low",
    }


OPENING: list[Item] = [
    {"system": SYSTEM},
    {"role": "user", "text": QUESTION},
]
"""The items with which every conversation begins."""
IMAGE: Item = {"role": "user", "image": PNG, "type": "image/png"}
OFFERED: Item = {
    "tool": "get_weather",
    "description": "The temperature in a city.",
    "schema": WEATHER,
}
HISTORY: list[Item] = [
    {"role": "assistant", "text": LOOK},
    {
        "role": "assistant",
        "call": "call_Oslo",
        "name": "get_weather",
        "arguments": {"city": "Oslo"},
    },
    {
        "role": "assistant",
        "call": "call_Rome",
        "name": "get_weather",
        "arguments": {"city": "Rome"},
    },
    {"role": "tool", "answers": "call_Oslo", "text": "4 °C"},
    {"role": "tool", "answers": "call_Rome", "text": "19 °C"},
]
FORM: Item = {"form": SCHEMA}
