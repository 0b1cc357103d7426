"""Puts JSON schemas of several authors into one document, each with its own references intact.

What a schema refers to moves to the document's ``$defs`` under a plain name: engines look
references up from the document's root, and some neither undo escapes nor read other places.
JSON Schema 2020-12, Core, sections 8 and 10; RFC 6901 for pointers (read 2026-11-22).
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from trunkline.errors import GatewayError
from trunkline.wire.body import SHOWN_CHARACTERS

NODE_LIMIT: Final = 50_000
"""Of all schemas of one document together, counted once more for each reference."""
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies"})
_OPEN: Final = frozenset(
    {"additionalProperties", "additionalItems", "unevaluatedProperties", "unevaluatedItems"}
)
_SCHEMAS: Final = _OPEN | {
    "allOf",
    "anyOf",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
}
_LEFT_OUT: Final = frozenset({"$anchor", "$comment", "$defs", "$id", "$schema", "definitions"})
_DYNAMIC: Final = frozenset({"$dynamicRef", "$recursiveRef"})

Refuse = Callable[[str], GatewayError]


class SchemaSet:
    """The schemas of one document; ``definitions`` is what they refer to."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._names = 0
        self._nodes = 0

    def add(self, schema: Any, refuse: Refuse) -> Any:
        """The schema as it has to stand in the document.

        Args:
            schema: JSON, as its author wrote it.
            refuse: makes the failure of what stands behind its colon.

        Raises:
            GatewayError: made by ``refuse``, for references that lead outside or nowhere.
        """
        try:
            return _Copy(self, schema, refuse).copy_all()
        except RecursionError:
            raise refuse("its schema is nested too deeply") from None

    def count_node(self) -> bool:
        """Whether there is room for one more."""
        self._nodes += 1
        return self._nodes <= NODE_LIMIT

    def make_name(self) -> str:
        """A name in ``$defs`` that nothing has yet."""
        self._names += 1
        return f"s{self._names}"


class _Copy:
    """One schema on its way into the document."""

    def __init__(self, into: SchemaSet, root: Any, refuse: Refuse) -> None:
        self._into = into
        self._root = root
        self._refuse = refuse
        self._names: dict[str, str] = {}
        self._waiting: list[tuple[str, Any]] = []

    def copy_all(self) -> Any:
        copied = self._copy(self._root)
        while self._waiting:
            name, target = self._waiting.pop()
            self._into.definitions[name] = self._copy(target)
        return copied

    def _copy(self, schema: Any) -> Any:
        if not self._into.count_node():
            raise self._refuse(f"the schemas have more than {NODE_LIMIT} parts")
        if schema is True:
            return {}  # llama.cpp refuses the word
        if not isinstance(schema, dict):
            return schema
        copied: dict[str, Any] = {}
        for key, value in schema.items():
            if key == "$ref":
                copied[key] = f"#/$defs/{self._name_target(value)}"
            elif key in _DYNAMIC:
                raise self._refuse(f"its schema uses '{key}'")
            elif key not in _LEFT_OUT:
                copied[key] = self._copy_value(key, value)
        return copied

    def _copy_value(self, key: str, value: Any) -> Any:
        """The value of a keyword: schemas inside are copied, examples and the like are data."""
        if key in _MAPS and isinstance(value, dict):
            return {name: self._copy(schema) for name, schema in value.items()}
        if key not in _SCHEMAS or (key in _OPEN and isinstance(value, bool)):
            return value
        if isinstance(value, list):
            return [self._copy(schema) for schema in value]
        return self._copy(value)

    def _name_target(self, reference: Any) -> str:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise self._outside(reference)
        if reference not in self._names:
            target = self._find(reference)
            self._names[reference] = self._into.make_name()
            self._waiting.append((self._names[reference], target))
        return self._names[reference]

    def _find(self, reference: str) -> Any:
        place, *steps = unquote(reference[1:]).split("/")
        target = self._root
        for step in steps:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and name in target:
                target = target[name]
            elif isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            else:
                raise self._outside(reference)
        if place or not isinstance(target, (dict, bool)):
            raise self._outside(reference)
        return target

    def _outside(self, reference: Any) -> GatewayError:
        shown = str(reference)[:SHOWN_CHARACTERS]
        return self._refuse(f"its schema refers to '{shown}', which is not a schema inside it")
