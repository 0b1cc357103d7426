"""Parameters of a request towards an upstream format: one cell says what becomes of one.

A format's column (``PARAMETERS`` in its request module) has a cell for every name in ``NAMES``.
docs/parameters.md is written from the columns, and a test walks every cell.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from trunkline.chat import Json
from trunkline.errors import GatewayError
from trunkline.wire.change import Changes

How = Literal["carried", "renamed", "clamped", "defaulted", "dropped", "refused"]


class Cell(msgspec.Struct, frozen=True):
    """What becomes of one parameter in one format.

    Args:
        how: carried under its own name; renamed to ``to``; clamped into ``low`` to ``high``
            (and renamed if ``to`` is given); defaulted, that is sent even where the client
            left it out; dropped and told; refused with 400.
        to: dotted path in the upstream's body, "" for the parameter's own name.
        low, high: the upstream's range.
        by_code: the format's own code writes it, for it is more than a value: messages, tools.
        note: what a reader of the table should know.
    """

    how: How
    to: str = ""
    low: float | None = None
    high: float | None = None
    by_code: bool = False
    note: str = ""


NAMES: Final = (
    "messages",
    "prompt",
    "images",
    "temperature",
    "max_tokens",
    "stop",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "seed",
    "n",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "prediction",
    "metadata",
    "service_tier",
    "user",
    "store",
    "verbosity",
    "web_search_options",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "moderation",
    "stream",
    "stream_options",
)
"""Every parameter of both endpoints by OpenAI's name; SGP's own spellings in docs/parameters.md."""

MEANINGLESS: Final[Mapping[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "stop": ([],),
    "store": (False,),
    "verbosity": ("medium",),
}
"""Values that ask for what happens anyway: left out of a translated request without a word."""


def write_parameters(
    column: Mapping[str, Cell], given: Mapping[str, Any], changes: Changes
) -> Json:
    """The upstream's fields for the parameters that are plain values.

    Cells that are ``by_code`` are passed over; a name without a cell is dropped.

    Raises:
        GatewayError: ``invalid_request`` for a refused parameter, or where ``changes`` is strict.
    """
    fields: Json = {}
    for name, value in given.items():
        cell = column.get(name, _UNKNOWN)
        if cell.by_code:
            continue
        if name in MEANINGLESS and value in MEANINGLESS[name] and cell.how != "carried":
            continue
        if cell.how == "refused":
            raise GatewayError(
                "invalid_request", f"'{name}' cannot be expressed at this target.", param=name
            )
        if cell.how == "dropped":
            changes.drop(name)
            continue
        put_field(fields, cell.to or name, _clamp(name, value, cell, changes))
        if cell.to and cell.to != name:
            changes.rename(name, cell.to)
    return fields


_UNKNOWN: Final = Cell("dropped")


def _clamp(name: str, value: Any, cell: Cell, changes: Changes) -> Any:
    low, high = cell.low, cell.high
    if not isinstance(value, (int, float)) or (low is None and high is None):
        return value
    moved: Any = value
    if low is not None and value < low:
        moved = low
    if high is not None and value > high:
        moved = high
    if moved != value:
        moved = int(moved) if float(moved).is_integer() else moved
        changes.clamp(name, moved)
    return moved


def put_field(fields: Json, path: str, value: Any) -> None:
    """Set a value at a dotted path, making the objects on the way."""
    *steps, last = path.split(".")
    for step in steps:
        fields = fields.setdefault(step, {})
    fields[last] = value
