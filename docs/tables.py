"""Writes the generated tables of the documentation; cog calls it (``make docs``)."""

import argparse
import types
import typing
from importlib import import_module
from typing import Any

import msgspec

from trunkline.api.admin import ADMIN
from trunkline.api.admin_reference import list_parameters, write_example
from trunkline.api.description import ADMIN_FIELDS
from trunkline.api.route import INFERENCE
from trunkline.catalog import read_catalog
from trunkline.cli import COMMANDS
from trunkline.mock import FAULTS
from trunkline.mock.script import Rule
from trunkline.routing.translation import list_columns
from trunkline.settings import Settings
from trunkline.wire.parameter import NAMES, Cell

_FORMATS = {
    "sgp.completion": "SGP completion",
    "sgp.chat": "SGP beta chat (OpenAI's shape, no `[DONE]`)",
    "openai.chat": "OpenAI chat, streams end with `[DONE]`",
    "openai.text": "OpenAI legacy text, streams end with `[DONE]`",
    "openai.embedding": "OpenAI embeddings",
}
_OTHERS = {
    "GET /v1/models": "the names that would be answered, in OpenAI's shape",
    "GET /livez": "the process is up; no key",
    "GET /metrics": "metrics for Prometheus; an admin's key, or `server.metrics_open`",
    "GET /readyz": "it can serve: 200, or 503 with the reasons; no key",
    "GET /openapi.json": "the OpenAPI 3.1 document; no key",
    "GET /docs": "a page that shows it, without any outside asset; no key",
}


def write_route_table() -> str:
    """Every route; the prefix is said once."""
    lines = ["| route | what |", "|---|---|"]
    for path, form in INFERENCE.items():
        lines.append(f"| `POST {path}` | {_FORMATS[form.name]} |")
    lines += [f"| `{route}` | {what} |" for route, what in _OTHERS.items()]
    lines += ["", "Each also answers under `/public` and under `server.root_path`.", ""]
    return "\n".join(lines)


def write_admin_reference() -> str:
    """Every operation of the admin API: what it takes, and how to ask for it."""
    parts: list[str] = []
    for path, operations in ADMIN.items():
        for operation in operations:
            heading = f"### {operation.summary}: `{operation.method} {path}`"
            parts += [heading, "", *([operation.about, ""] if operation.about else [])]
            rows = [
                f"| `{name}` | {place} | {schema['description']} |"
                for place, name, schema in list_parameters(path, operation)
            ]
            if operation.body is not None:
                told = ADMIN_FIELDS[operation.body.__name__]
                rows += [
                    f"| `{field.name}` | body{', required' if field.required else ''} "
                    f"| {told[field.name]} |"
                    for field in msgspec.structs.fields(operation.body)
                ]
            if rows:
                parts += ["| name | in | meaning |", "|---|---|---|", *rows, ""]
            parts += ["```sh", write_example(path, operation), "```", ""]
    return "\n".join(parts)


def write_provider_table() -> str:
    """Every row of the provider catalog."""
    lines = [
        "| provider | wire | address | key | serves | images | rewrites | never sent | tried |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in read_catalog().providers.items():
        cells = [
            f"`{name}` {row.title}",
            f"`{row.wire}`",
            f"`{row.base_url}`" if row.base_url else "yours",
            f"`{row.auth}`",
            ", ".join(row.serves or ()),
            row.images or "",
            ", ".join(f"`{each}`" for each in row.rewrites or ()),
            ", ".join(f"`{each}`" for each in row.drops or ()),
            row.tier or "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def write_parameter_table() -> str:
    """What becomes of every parameter at every wire."""
    columns = list_columns()
    head = " | ".join(f"`{wire}`" for wire in columns)
    lines = [f"| parameter | {head} |", "|---" * (len(columns) + 1) + "|"]
    for name in NAMES:
        cells = " | ".join(_show_cell(column[name]) for column in columns.values())
        lines.append(f"| `{name}` | {cells} |")
    return "\n".join([*lines, ""])


def _show_cell(cell: Cell) -> str:
    words = f"renamed `{cell.to}`" if cell.how == "renamed" and cell.to else cell.how
    if cell.how in ("clamped", "defaulted") and cell.to:
        words += f", `{cell.to}`"
    bounds = _show_bounds(cell.low, cell.high)
    if bounds:
        words += f" ({bounds})"
    return f"{words}: {cell.note}" if cell.note else words


def _show_bounds(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        least = "" if low is None else f"at least {low:.12g}"
        return least if high is None else f"at most {high:.12g}"
    return f"{low:.12g} to {high:.12g}"


def write_name_table() -> str:
    """Every name of the model catalog."""
    lines = [
        "| name | vendor | kind | context | takes | status | served by | heir |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in read_catalog().models.items():
        takes = [word for word in ("images", "tools", "reasoning") if getattr(row, word)]
        cells = [
            f"`{name}`",
            row.vendor,
            row.kind,
            str(row.context_window or ""),
            ", ".join(takes),
            f"{row.status} {row.retired_on}".strip(),
            ", ".join(row.native),
            f"`{row.replacement}`" if row.replacement else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def write_settings_tables() -> str:
    """A table a section of the configuration file."""
    parts: list[str] = []
    for section in msgspec.structs.fields(Settings):
        kind: Any = section.type
        title = section.name
        if typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
            title += ".NAME"
        doc = (kind.__doc__ or "").splitlines()[0]
        parts += [f"### `[{title}]`", "", doc, "", "| key | type | default |", "|---|---|---|"]
        for field in msgspec.structs.fields(kind):
            default = "required" if field.required else f"`{_show_default(field)}`"
            parts.append(f"| `{field.name}` | {_show_type(field.type)} | {default} |")
        parts.append("")
    return "\n".join(parts)


def _show_default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        value = typing.cast("Any", field.default_factory)()
    if value is None:
        return "unset"
    if isinstance(value, msgspec.Struct):
        value = _drop_unset(msgspec.to_builtins(value))
    return msgspec.json.encode(value).decode()


def _drop_unset(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {name: _drop_unset(each) for name, each in value.items() if each is not None}
    return {name: each for name, each in kept.items() if each != {}}


def _show_type(kind: Any) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        bounds = kind.__metadata__[0]
        limits = [
            f"{sign} {value:g}"
            for sign, value in (("≥", bounds.ge), (">", bounds.gt), ("≤", bounds.le))
            if value is not None
        ]
        return f"{_show_type(args[0])} {', '.join(limits)}"
    if origin is typing.Literal:
        return " or ".join(f'`"{value}"`' for value in args)
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(_show_type(arg) for arg in args if arg is not type(None))
    if origin in {tuple, list}:
        inner = args[0]
        if not isinstance(inner, type):
            return f"list of {_show_type(inner)}"
        if not issubclass(inner, msgspec.Struct):
            return f"list of {_show_type(inner)}s"
        names = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(inner))
        return f"list of tables with {names}"
    if origin is dict:
        names = ", ".join(f"`{name}`" for name in typing.get_args(args[0]))
        return f"table with any of {names}" if names else "table"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        names = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(kind))
        return f"table with any of {names}"
    return {"str": "text", "int": "integer", "float": "number", "bool": "boolean"}[kind.__name__]


def write_command_help() -> str:
    """The help text of every command."""
    parts: list[str] = []
    for name in COMMANDS:
        module = import_module(f"trunkline.cli.{name}")
        parser = argparse.ArgumentParser(prog=f"trunkline {name}", description=module.HELP)
        module.add_arguments(parser)
        parts += [f"### `trunkline {name}`", "", "```text", _format(parser), "```", ""]
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word, sub in action.choices.items():
                    parts += [f"#### `trunkline {name} {word}`", "", "```text", _format(sub)]
                    parts += ["```", ""]
    return "\n".join(parts)


def _format(parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=88)
    return parser.format_help().strip()


def write_fault_table() -> str:
    """Every fault of ``trunkline mock``."""
    lines = ["| fault | where | what the upstream does | what is right |", "|---|---|---|---|"]
    for name, kind in FAULTS.items():
        only = {"stream": " (streams only)", "whole": " (whole answers only)"}.get(kind.only, "")
        right = _RIGHT[kind.outcome]
        if kind.outcome == "failed":
            right += ": " + ", ".join(f"`{code}`" for code in kind.codes)
        places = ", ".join(f"`{at}`" for at in kind.at)
        lines.append(f"| `{name}` | {places} | {kind.says.removesuffix('.')}{only} | {right} |")
    return "\n".join([*lines, ""])


_RIGHT = {
    "complete": "complete",
    "length": "complete, finish reason `length`",
    "filtered": "complete, finish reason `content_filter`",
    "either": "complete or an error",
    "failed": "an error",
}


def write_rule_table() -> str:
    """Every key of a rule of a script of ``trunkline mock``, as its docstring tells it."""
    told: dict[str, str] = {}
    for line in (Rule.__doc__ or "").partition("Args:\n")[2].splitlines():
        name, colon, text = line.strip().partition(": ")
        if colon:
            told[name] = text.removesuffix(".").replace("``", "`")
    rows = [
        f"| `{field.name}` | {_show_type(field.type)} | {told[field.name]} |"
        for field in msgspec.structs.fields(Rule)
    ]
    return "\n".join(["| key | type | meaning |", "|---|---|---|", *rows, ""])
