"""Narrows a JSON schema to what Claude's structured outputs accept, and tells what got lost.

Anthropic's page "Structured outputs", sections "JSON Schema limitations" and "Schema complexity
limits", and how its Python SDK 2.12.0 transforms schemas (both read 2026-11-22): every object
is closed, keywords that bind nothing there move into the description.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trunkline.chat import Json

OPTIONAL_LIMIT: Final = 24
UNION_LIMIT: Final = 16
_KEPT: Final = frozenset({"type", "enum", "const", "title", "description", "default", "required"})
_NOTES: Final = frozenset(
    {"$schema", "$id", "$comment", "deprecated", "examples", "readOnly", "writeOnly"}
)
_LISTS: Final = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_MAPS: Final = ("properties", "$defs", "definitions")
_SHAPED: Final = frozenset({"type", "enum", "const", "$ref", *_LISTS})
_FORMATS: Final = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    }
)
_LOCAL: Final = re.compile(r"#/(?:\$defs|definitions)/([^/]+)")
_FANCY: Final = re.compile(r"\(\?|\\[1-9bB]")
"""Look-around, groups with a flag, back references and word boundaries."""


class Narrowed(msgspec.Struct):
    """A schema as Claude takes it.

    Args:
        schema: every answer that it allows is allowed by the original, but for ``lost``.
        lost: keywords that no longer bind, sorted.
        optional, unions: parameters that may be left out, and that have several types; a
            request has ``OPTIONAL_LIMIT`` and ``UNION_LIMIT`` of them.
        is_open: it cannot be expressed: something in it may be any value, or holds itself.
    """

    schema: Json
    lost: tuple[str, ...] = ()
    optional: int = 0
    unions: int = 0
    is_open: bool = False

    @property
    def fits(self) -> bool:
        """It can be asked for, alone in its request."""
        return not self.is_open and self.optional <= OPTIONAL_LIMIT and self.unions <= UNION_LIMIT


def narrow(schema: Json) -> Narrowed:
    """The schema within what Claude takes; ``schema`` itself stays as it is."""
    walk = _Walk()
    narrowed = walk.take(schema)
    return Narrowed(
        narrowed if isinstance(narrowed, dict) else {},
        tuple(sorted(walk.lost)),
        walk.optional,
        walk.unions,
        walk.is_open or _holds_itself(schema),
    )


class _Walk:
    """One way through a schema, and what was noted on it."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.optional = 0
        self.unions = 0
        self.is_open = False

    def take(self, node: Any) -> Any:
        if not isinstance(node, dict) or not _SHAPED & node.keys():
            self.is_open = True
            return node
        taken: Json = {}
        aside: Json = {}
        for name, value in node.items():
            self._take_keyword(name, value, taken, aside)
        kinds = node.get("type")
        if isinstance(kinds, list) or "anyOf" in taken:
            self.unions += 1
        if kinds == "object" or (isinstance(kinds, list) and "object" in kinds):
            self._close(node, taken)
        if (kinds == "array" or (isinstance(kinds, list) and "array" in kinds)) and (
            "items" not in taken
        ):
            self.is_open = True
        if aside:
            self.lost.update(aside)
            said = msgspec.json.encode(aside).decode()
            before = taken.get("description")
            taken["description"] = f"{before}\n\n{said}" if before else said
        return taken

    def _take_keyword(self, name: str, value: Any, taken: Json, aside: Json) -> None:
        if name in _KEPT:
            taken[name] = value
        elif name in _LISTS and isinstance(value, list):
            taken[_LISTS[name]] = [self.take(each) for each in value]
        elif name in _MAPS and isinstance(value, dict):
            taken[name] = {key: self.take(each) for key, each in value.items()}
        elif name == "items":
            taken[name] = self.take(value)
        elif name == "$ref":
            taken[name] = value
            self.is_open |= not _is_local(value)
        elif _binds(name, value):
            taken[name] = value
        elif name not in _NOTES and name != "additionalProperties":
            aside[name] = value

    def _close(self, node: Json, taken: Json) -> None:
        """Allow no property but those that are named."""
        properties = taken.setdefault("properties", {})
        if not properties and node.get("additionalProperties") is not False:
            self.is_open = True
        given = node.get("required")
        required = given if isinstance(given, list) else ()
        self.optional += sum(name not in required for name in properties)
        taken["additionalProperties"] = False


def _is_local(pointer: Any) -> bool:
    return isinstance(pointer, str) and _LOCAL.fullmatch(pointer) is not None


def _binds(name: str, value: Any) -> bool:
    """Whether a keyword, where it has this value, is one that Claude is held to."""
    if name == "format":
        return isinstance(value, str) and value in _FORMATS
    if name == "minItems":
        return value in (0, 1)
    return name == "pattern" and isinstance(value, str) and not _FANCY.search(value)


def _holds_itself(schema: Json) -> bool:
    """Whether a definition leads back to itself."""
    parts: dict[str, Any] = {}
    for place in ("$defs", "definitions"):
        found = schema.get(place)
        if isinstance(found, dict):
            parts |= found
    links = {name: _find_links(part) for name, part in parts.items()}
    free: set[str] = set()
    while len(free) < len(links):
        more = {name for name, to in links.items() if name not in free and to <= free}
        if not more:
            return True
        free |= more
    return False


def _find_links(node: Any) -> set[str]:
    """Names of the definitions that a part of a schema refers to."""
    if isinstance(node, Mapping):
        pointer = node.get("$ref")
        found = _LOCAL.fullmatch(pointer) if isinstance(pointer, str) else None
        own = {found[1]} if found else set()
        return own.union(*(_find_links(each) for each in node.values()))
    if isinstance(node, list):
        return set().union(*(_find_links(each) for each in node))
    return set()
