"""Writes plain values as TOML text. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def write_toml(value: Mapping[str, Any]) -> str:
    """A document of these tables; what is None is left out.

    Everything below the second level is written in one line, as TOML's inline tables.
    """
    lines: list[str] = []
    for name, table in value.items():
        if isinstance(table, Mapping):
            lines += _write_table((name,), table)
    plain = [
        f"{_write_key(name)} = {_write_value(item)}"
        for name, item in value.items()
        if item is not None and not isinstance(item, Mapping)
    ]
    return "\n".join([*plain, *lines]) + "\n"


def _write_table(names: tuple[str, ...], table: Mapping[str, Any]) -> list[str]:
    heading = ".".join(_write_key(name) for name in names)
    is_deep = len(names) == 1 and table and all(isinstance(x, Mapping) for x in table.values())
    if is_deep:
        return [line for name, item in table.items() for line in _write_table((*names, name), item)]
    pairs = [
        f"{_write_key(name)} = {_write_value(item)}"
        for name, item in table.items()
        if item is not None
    ]
    return ["", f"[{heading}]", *pairs]


def _write_key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _write_value(name)


def _write_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's too; a lone DEL is the one sign that only JSON lets stand.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        pairs = (
            f"{_write_key(name)} = {_write_value(item)}"
            for name, item in value.items()
            if item is not None
        )
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_write_value(item) for item in value)}]"
    return str(value)  # numbers, dates and times write themselves as TOML has them
