"""Reads JSON Schemas into the flat list of fields that the reference page shows."""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from trunkline.api.schema import PLACE, Json

_OBJECT: Final = "object"


class Field(msgspec.Struct, frozen=True):
    """One field, wherever inside a body it stands.

    Args:
        within: where it stands, as ``choices[].``; empty at the top.
        name: its own name.
        kind: its type in words.
        rules: range, length and default in words.
        required: it may not be left out.
        text: what it means.
    """

    within: str
    name: str
    kind: str
    rules: tuple[str, ...]
    required: bool
    text: str


def list_fields(schema: Json, schemas: Json, *, optional_null: bool) -> list[Field]:
    """The fields of an object and, after each, those inside it.

    Args:
        schema: of the object, or a reference to one.
        schemas: what references point to.
        optional_null: null stands for "absent" everywhere, so that no type needs to name it.
    """
    return list(_walk(schema, schemas, "", () if optional_null else ("null",)))


def describe_kind(schema: Json) -> tuple[str, ...]:
    """The type and the rules, in words, of a value that is no object."""
    return (_name_kind(schema, {}), *_list_rules(schema, [schema]))


def _walk(
    schema: Json, schemas: Json, within: str, shown: tuple[str, ...], above: tuple[str, ...] = ()
) -> Iterator[Field]:
    name = _name_reference(schema)
    if name in above:
        return
    schema = _resolve(schema, schemas)
    for field, inner in schema.get("properties", {}).items():
        variants = list(_list_variants(inner))
        yield Field(
            within,
            field,
            " or ".join(
                dict.fromkeys(
                    _name_kind(each, schemas)
                    for each in variants
                    if each.get("type") != "null" or "null" in shown
                )
            ),
            tuple(_list_rules(inner, variants)),
            field in schema.get("required", ()),
            inner.get("description", ""),
        )
        deeper = (*above, name) if name else above
        for variant in variants:
            for object_schema, path in _enter(variant, f"{within}{field}"):
                yield from _walk(object_schema, schemas, path, shown, deeper)


def _enter(variant: Json, path: str) -> Iterator[tuple[Json, str]]:
    """The schemas inside a variant, through arrays, and where their fields stand."""
    items = variant.get("items")
    if variant.get("type") != "array" or not isinstance(items, dict):
        yield variant, f"{path}."
        return
    for inner in _list_variants(items):
        yield from _enter(inner, f"{path}[]")


def _list_variants(schema: Json) -> Iterator[Json]:
    """The alternatives of a type, one by one."""
    if "anyOf" in schema:
        for variant in schema["anyOf"]:
            yield from _list_variants(variant)
    elif isinstance(schema.get("type"), list):
        for kind in schema["type"]:
            yield {**schema, "type": kind}
    else:
        yield schema


def _name_reference(schema: Json) -> str:
    reference: str = schema.get("$ref", "")
    return reference.removeprefix(PLACE)


def _resolve(schema: Json, schemas: Json) -> Json:
    name = _name_reference(schema)
    target: Json = schemas[name] if name else schema
    return target


def _name_kind(schema: Json, schemas: Json) -> str:
    if "$ref" in schema:
        return _OBJECT
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    kind: str = schema.get("type", "any value")
    inside = schema.get("items", schema.get("additionalProperties"))
    if not isinstance(inside, dict):
        return kind
    kinds = dict.fromkeys(_name_kind(each, schemas) for each in _list_variants(inside))
    told = " or ".join(kinds)
    return f"{kind} of ({told})" if len(kinds) > 1 else f"{kind} of {told}"


def _list_rules(schema: Json, variants: list[Json]) -> Iterator[str]:
    for variant in variants:
        inside = variant.get("additionalProperties")
        inner = inside if isinstance(inside, dict) else variant
        yield from _word_range("", inner.get("minimum"), inner.get("maximum"))
        items = variant.get("minItems"), variant.get("maxItems")
        if "prefixItems" not in variant:
            yield from _word_range(" items", *items)
        if variant.get("minLength") == 1:
            yield "not empty"
    if "default" in schema:
        yield f"default {json.dumps(schema['default'])}"


def _word_range(unit: str, least: Any, most: Any) -> Iterator[str]:
    if least is not None and most is not None:
        yield f"{_number(least)} to {_number(most)}{unit}"
    elif least is not None:
        yield f"{_number(least)} or more{unit}"
    elif most is not None:
        yield f"at most {_number(most)}{unit}"


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")
