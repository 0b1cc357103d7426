"""Holds the arguments of tool calls to be JSON, as whoever runs the tools takes them to be.

A reply that ended at its limit, or at a filter, may end in the middle of a call: it says so. Any
other reply must have its calls whole.
"""

import json
from typing import Any, Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.events import FinishReason

LIMIT_CHARACTERS: Final = 16 * 1024 * 1024
"""Of all arguments of one reply."""
LEGACY: Final = -1
"""The slot of a legacy function call: there is one at most."""
_CUT: Final = frozenset({"length", "content_filter"})


def check_arguments(text: str) -> None:
    """Raises ``upstream_error`` for what is no JSON; read as Python's own reader does."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            raise unreadable() from None


def unreadable() -> GatewayError:
    """The failure of a call whose arguments nobody can read."""
    return GatewayError(
        "upstream_error", "The upstream's tool call has arguments that are no JSON."
    )


class Arguments:
    """The arguments of a stream's calls so far; made when the first call comes."""

    __slots__ = ("_characters", "_pieces")

    def __init__(self) -> None:
        self._characters = 0
        self._pieces: dict[tuple[int, int], list[str]] = {}

    def add(self, choice: int, slot: int, text: str) -> None:
        """A call of this choice begins, or goes on.

        Raises:
            GatewayError: ``upstream_error`` past ``LIMIT_CHARACTERS``.
        """
        self._characters += len(text)
        if self._characters > LIMIT_CHARACTERS:
            raise GatewayError("upstream_error", "The upstream's tool calls are over 16 MiB long.")
        pieces = self._pieces.setdefault((choice, slot), [])
        if text:
            pieces.append(text)

    def end(self, choice: int, reason: FinishReason) -> list[int]:
        """The choice has ended: the slots of its calls that came without a word of arguments.

        Raises:
            GatewayError: ``upstream_error`` for arguments that are no JSON.
        """
        ended = [slot for index, slot in self._pieces if index == choice]
        texts = {slot: "".join(self._pieces.pop((choice, slot))) for slot in ended}
        if reason in _CUT:
            return []
        for text in texts.values():
            if text.strip():
                check_arguments(text)
        return [slot for slot, text in texts.items() if not text.strip()]


def check_message(message: dict[str, Any], reason: FinishReason) -> bool:
    """Check the calls of a whole message; true where one had no arguments and was given ``{}``.

    Raises:
        GatewayError: ``upstream_error`` for arguments that are no JSON.
    """
    functions = [call.get("function") for call in message.get("tool_calls") or ()]
    is_changed = False
    for function in (*functions, message.get("function_call")):
        if function is None or reason in _CUT:
            continue
        if function["arguments"].strip():
            check_arguments(function["arguments"])
        else:
            function["arguments"] = "{}"
            is_changed = True
    return is_changed


def fill_arguments(chunk: dict[str, Any], choice: int, slots: list[int]) -> None:
    """Give calls without arguments an empty object, in the chunk that ends their choice."""
    (delta,) = (each["delta"] for each in chunk["choices"] if each["index"] == choice)
    for slot in slots:
        if slot == LEGACY:
            delta["function_call"] = {**(delta.get("function_call") or {}), "arguments": "{}"}
            continue
        calls = delta["tool_calls"] = delta.get("tool_calls") or []
        for call in calls:
            if call["index"] == slot:
                call["function"] = {**(call.get("function") or {}), "arguments": "{}"}
                break
        else:
            calls.append({"index": slot, "function": {"arguments": "{}"}})
