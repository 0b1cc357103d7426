from typing import Any

import msgspec
import pytest
from hypothesis import given

from trunkline.wire.anthropic_schema import narrow
from wire.sample import any_json, some_examples

CLOSED = {"additionalProperties": False}
NAME = {"type": "string"}


def make_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    ("schema", "narrowed", "lost"),
    [
        (make_object(a=NAME), {**make_object(a=NAME), **CLOSED}, ()),
        (
            {**make_object(a=NAME), "additionalProperties": True, "$schema": "x"},
            {**make_object(a=NAME), **CLOSED},
            (),
        ),
        ({**make_object(), **CLOSED}, {**make_object(), **CLOSED}, ()),
        (
            make_object(a={"oneOf": [NAME, {"type": "null"}]}),
            {**make_object(a={"anyOf": [NAME, {"type": "null"}]}), **CLOSED},
            (),
        ),
        (
            make_object(a={"type": "array", "items": make_object(b=NAME), "minItems": 1}),
            {
                **make_object(
                    a={"type": "array", "items": {**make_object(b=NAME), **CLOSED}, "minItems": 1}
                ),
                **CLOSED,
            },
            (),
        ),
        (
            make_object(a={"type": "integer", "minimum": 1, "maximum": 9}),
            {
                **make_object(a={"type": "integer", "description": '{"minimum":1,"maximum":9}'}),
                **CLOSED,
            },
            ("maximum", "minimum"),
        ),
        (
            make_object(a={"type": "string", "format": "email", "pattern": "^[a-z]+$"}),
            {
                **make_object(a={"type": "string", "format": "email", "pattern": "^[a-z]+$"}),
                **CLOSED,
            },
            (),
        ),
        (
            make_object(a={"type": "string", "format": "zip", "pattern": "(?=x)"}),
            {
                **make_object(
                    a={"type": "string", "description": '{"format":"zip","pattern":"(?=x)"}'}
                ),
                **CLOSED,
            },
            ("format", "pattern"),
        ),
        (
            {**make_object(a={"$ref": "#/$defs/A"}), "$defs": {"A": make_object(b=NAME)}},
            {
                **make_object(a={"$ref": "#/$defs/A"}),
                "$defs": {"A": {**make_object(b=NAME), **CLOSED}},
                **CLOSED,
            },
            (),
        ),
    ],
)
def test_a_schema_is_narrowed(schema: Any, narrowed: Any, lost: tuple[str, ...]) -> None:
    before = msgspec.json.encode(schema)
    got = narrow(schema)
    assert (got.schema, got.lost, got.fits) == (narrowed, lost, True)
    assert msgspec.json.encode(schema) == before


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        make_object(a={}),
        make_object(a=True),
        make_object(a={"type": "array"}),
        make_object(a={"description": "anything"}),
        make_object(a={"type": ["object", "null"]}),
        make_object(a={"$ref": "https://example.com/a.json"}),
        make_object(a={"$ref": "#"}),
        {
            **make_object(a={"$ref": "#/$defs/A"}),
            "$defs": {"A": make_object(b={"$ref": "#/$defs/B"}),
                      "B": make_object(c={"type": "array", "items": {"$ref": "#/$defs/A"}})},
        },
    ],
)  # fmt: skip
def test_what_may_be_anything_is_told(schema: Any) -> None:
    assert narrow(schema).is_open
    assert not narrow(schema).fits


def test_limits_are_counted() -> None:
    either = {"anyOf": [NAME, {"type": "null"}]}
    schema = {"type": "object", "properties": {"a": either, "b": {"type": ["string", "null"]}}}
    counted = narrow(schema)
    assert (counted.optional, counted.unions) == (2, 2)
    many = {f"p{at}": NAME for at in range(25)}
    assert narrow({"type": "object", "properties": many}).fits is False
    assert narrow({"type": "object", "properties": many, "required": list(many)}).fits
    unions = {f"p{at}": either for at in range(17)}
    assert narrow({"type": "object", "properties": unions, "required": list(unions)}).fits is False


@some_examples
@given(any_json)
def test_any_json_is_survived(value: Any) -> None:
    schema = {"type": "object", "properties": {"a": value}, "required": value, "$defs": value}
    before = msgspec.json.encode(schema)
    narrow(schema)
    assert msgspec.json.encode(schema) == before
