"""Reads a TOML file into structs and names every fault with its line."""

import difflib
import re
import tomllib
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

_S = TypeVar("_S", bound=msgspec.Struct)
_HEADER: Final = re.compile(r"^\s*\[{1,2}(?P<name>.+?)\]{1,2}\s*(?:#.*)?$")
_KEY: Final = re.compile(r"^\s*(?P<name>(?:\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+|[.\s])+?)\s*=")
Steps = tuple[str | int, ...]


class FileFault(msgspec.Struct, frozen=True):
    """One fault of a file: the steps to the value, and what was expected there."""

    steps: Steps
    message: str


class FileError(Exception):
    """A file that cannot be used; ``lines`` has one line a fault, with file, line and key."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def read_toml(path: Path, wanted: type[_S]) -> tuple[_S, str]:
    """The file as a struct, and its text.

    Raises:
        FileError: the file cannot be read, is no TOML, or does not fit the struct.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise FileError([f"{path}: cannot be read: {reason}"]) from None
    try:
        value = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Also a number of thousands of digits, and thousands of brackets in each other.
        raise FileError([f"{path}: is not TOML: {error}"]) from None
    faults: list[FileFault] = []
    _check(value, wanted, (), faults)
    if faults:
        raise FileError(write_faults(path, text, faults))
    return msgspec.convert(value, wanted), text


def write_faults(path: Path, text: str, faults: list[FileFault]) -> list[str]:
    """A line a fault: ``file:line: key: what was expected``."""
    places = _find_lines(text)
    lines = []
    for fault in faults:
        names = tuple(step for step in fault.steps if isinstance(step, str))
        ways = [way[:n] for way in (fault.steps, names) for n in range(len(way), 0, -1)]
        at = next((places[way] for way in ways if way in places), 1)
        lines.append(_flatten(f"{path}:{at}: {_dotted(fault.steps)}: {fault.message}"))
    return lines


def _flatten(text: str) -> str:
    """The text on one line, whatever was quoted in it."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _dotted(steps: Steps) -> str:
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            plain = re.fullmatch(r"[A-Za-z0-9_-]+", step)
            text += ("." if text else "") + (step if plain else f'"{step}"')
    return text


def _check(value: Any, wanted: Any, steps: Steps, faults: list[FileFault]) -> None:
    """Collect the faults of a value and of all that is in it."""
    options = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    struct = next(
        (o for o in options if isinstance(o, type) and issubclass(o, msgspec.Struct)), None
    )
    if struct is not None and isinstance(value, dict):
        _check_struct(value, struct, steps, faults)
        return
    whole = next((o for o in options if typing.get_origin(o) in {dict, list, tuple}), wanted)
    origin, args = typing.get_origin(whole), typing.get_args(whole)
    if origin is dict and isinstance(value, dict):
        known = typing.get_args(args[0])  # of a Literal; a plain text has none
        for name, item in value.items():
            if known and name not in known:
                faults.append(_unknown_key(name, known, steps))
            else:
                _check(item, args[1], (*steps, name), faults)
    elif origin in {list, tuple} and isinstance(value, list):
        for position, item in enumerate(value):
            _check(item, args[0], (*steps, position), faults)
    else:
        try:
            msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            faults.append(FileFault(steps, str(error)))


def _check_struct(
    value: Mapping[str, Any], wanted: type[msgspec.Struct], steps: Steps, faults: list[FileFault]
) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
    for name, item in value.items():
        if name in fields:
            _check(item, fields[name].type, (*steps, name), faults)
            continue
        faults.append(_unknown_key(name, fields, steps))
    for name, field in fields.items():
        if field.required and name not in value:
            faults.append(FileFault((*steps, name), "is required"))


def _unknown_key(name: str, known: Collection[str], steps: Steps) -> FileFault:
    near = difflib.get_close_matches(name, known, 1)
    hint = f", did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
    return FileFault((*steps, name), f"unknown key{hint}")


def _find_lines(text: str) -> dict[Steps, int]:
    """The line, from 1, of every table and key that starts a line.

    A table of a list is found by its position in it.
    """
    places: dict[Steps, int] = {}
    table: Steps = ()
    positions: dict[Steps, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = _split(f"[{header['name']}]")
            places.setdefault(table, number)
            if line.lstrip().startswith("[["):
                positions[table] = position = positions.get(table, -1) + 1
                table = (*table, position)
                places[table] = number
        elif key := _KEY.match(line):
            places.setdefault((*table, *_split(f"{key['name']} = 0")), number)
    return places


def _split(line: str) -> tuple[str, ...]:
    """The parts of a dotted name, by TOML's own rules."""
    try:
        value: Any = tomllib.loads(line)
    except (ValueError, RecursionError):
        return ()
    names = []
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        names.append(name)
    return tuple(names)
