from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.emulate_schema import NODE_LIMIT, SchemaSet
from wire.sample import any_json, some_examples

TREE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "below": {"$ref": "#"}},
    "required": ["value"],
    "additionalProperties": False,
}
DEFINED = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://example.com/a",
    "type": "object",
    "properties": {
        "unit": {"$ref": "#/$defs/Unit", "description": "of the value"},
        "old": {"$ref": "#/definitions/Old%20one"},
        "odd": {"$ref": "#/$defs/a~1b~0c/items"},
        "same": {"$ref": "#/properties/odd"},
        "second": {"$ref": "#/$defs/pair/prefixItems/1"},
        "free": True,
    },
    "$defs": {
        "Unit": {"enum": ["c", "f"]},
        "a/b~c": {"type": "array", "items": {"type": "boolean"}},
        "pair": {"prefixItems": [{"type": "string"}, {"type": "null"}]},
        "unused": {"$ref": "https://example.com/never-looked-at"},
    },
    "definitions": {"Old one": {"type": "number"}},
}


def refuse(why: str) -> GatewayError:
    return GatewayError("invalid_request", why, param="tools")


def put_together(*schemas: Any) -> Any:
    """One document that wants an array: a value of each schema."""
    together = SchemaSet()
    items = [together.add(schema, refuse) for schema in schemas]
    return {"type": "array", "prefixItems": items, "$defs": together.definitions}


def list_references(document: Any) -> set[str]:
    if isinstance(document, list):
        return set().union(*map(list_references, document))
    if not isinstance(document, dict):
        return set()
    own = {document["$ref"]} if isinstance(document.get("$ref"), str) else set()
    return own.union(*map(list_references, document.values()))


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ({"value": 1}, True),
        ({"value": 1, "below": {"value": 2, "below": {"value": 3}}}, True),
        ({"value": 1, "below": {"value": 2, "below": {}}}, False),
    ],
)
def test_a_schema_may_refer_to_itself(value: object, *, valid: bool) -> None:
    document = put_together(TREE, TREE)
    for values in ([value, {"value": 0}], [{"value": 0}, value]):
        assert jsonschema_rs.is_valid(document, values) is valid


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ({"unit": "c", "old": 1.5, "odd": True, "same": False, "second": None, "free": [1]}, True),
        ({"unit": "k"}, False),
        ({"old": "x"}, False),
        ({"odd": 1}, False),
        ({"same": 1}, False),
        ({"second": "x"}, False),
    ],
)
def test_every_local_reference_still_leads_there(value: object, *, valid: bool) -> None:
    document = put_together(TREE, DEFINED)
    assert jsonschema_rs.is_valid(document, [{"value": 1}, value]) is valid


def test_definitions_have_plain_names_and_only_those_that_are_used_come_along() -> None:
    document = put_together(DEFINED, TREE)
    names = [f"s{number}" for number in range(1, 7)]
    assert sorted(document["$defs"]) == names
    assert list_references(document) == {f"#/$defs/{name}" for name in names}
    assert not {"$id", "$schema", "definitions"} & document["prefixItems"][0].keys()


def test_two_schemas_may_have_definitions_of_one_name() -> None:
    document = put_together(
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "integer"}}},
    )
    assert jsonschema_rs.is_valid(document, ["x", 1])
    assert not jsonschema_rs.is_valid(document, [1, 1])
    assert not jsonschema_rs.is_valid(document, ["x", "x"])


def test_data_that_looks_like_a_reference_is_data() -> None:
    data = {"$ref": "https://example.com/x", "$id": "y"}
    schema = {
        "type": "object",
        "properties": {"$ref": {"type": "string"}, "$defs": {"const": data}, "definitions": {}},
        "enum": [{"$ref": "x"}],
        "default": data,
        "examples": [data],
        "required": ["$ref"],
    }
    assert put_together(schema) == {"type": "array", "prefixItems": [schema], "$defs": {}}


def test_words_for_anything_become_schemas_where_an_engine_wants_schemas() -> None:
    [schema] = put_together(
        {"properties": {"a": True}, "items": True, "additionalProperties": True, "anyOf": [True]}
    )["prefixItems"]
    assert schema == {
        "properties": {"a": {}},
        "items": {},
        "additionalProperties": True,
        "anyOf": [{}],
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/a.json"},
        {"$ref": "other.json#/$defs/a"},
        {"$ref": "#/$defs/absent"},
        {"$ref": "#anchor", "$defs": {"a": {"$anchor": "anchor"}}},
        {"$ref": "#/type", "type": "object"},
        {"$ref": "#/anyOf/1", "anyOf": [{}]},
        {"$ref": "#/anyOf/x", "anyOf": [{}]},
        {"$ref": 5},
        {"$ref": None},
        {"properties": {"a": {"items": {"not": {"$ref": "/a"}}}}},
        {"additionalProperties": {"$ref": "a"}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "a"}}},
        {"$dynamicRef": "#a"},
        {"$recursiveRef": "#"},
    ],
)
def test_a_reference_that_leads_outside_or_nowhere_is_refused(schema: object) -> None:
    with pytest.raises(GatewayError) as caught:
        put_together(schema)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "tools")


def test_a_schema_nested_too_deeply_is_refused() -> None:
    schema: Any = {}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(GatewayError, match="nested too deeply"):
        put_together(schema)


def test_references_cannot_multiply_a_schema_without_end() -> None:
    inner: Any = {"anyOf": [{}] * 1000}
    for _ in range(100):
        inner = {"not": inner}
    steps = ["/not" * depth for depth in range(100)]
    schema = {"properties": {str(at): {"$ref": f"#/x{step}"} for at, step in enumerate(steps)}}
    assert len(steps) * 1000 > NODE_LIMIT
    with pytest.raises(GatewayError, match="more than 50000 parts"):
        put_together({**schema, "x": inner})
    assert len(put_together({**schema, "x": {}, "properties": {}})["$defs"]) == 0


names = st.sampled_from(["a", "b~/c", "é %"])


def _make_schema(draw: st.DrawFn, depth: int) -> Any:
    kinds = ["string", "integer", "boolean", "null"]
    if depth == 0 or draw(st.booleans()):
        kind = draw(st.sampled_from([*kinds, "reference"]))
        if kind == "reference":
            name = draw(names).replace("~", "~0").replace("/", "~1")
            return {"$ref": f"#/$defs/{quote(name)}"}
        return {"type": kind}
    inner = {name: _make_schema(draw, depth - 1) for name in draw(st.lists(names, unique=True))}
    return {"type": "object", "properties": inner, "required": sorted(inner)}


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    """Schemas whose references lead into each other, by names that need escapes."""
    defs = {name: _make_schema(draw, 1) for name in ("a", "b~/c", "é %")}
    # Two definitions that are nothing but each other say nothing: validators differ there.
    defs = {name: {"type": "null"} if "$ref" in schema else schema for name, schema in defs.items()}
    return {**_make_schema(draw, 2), "$defs": defs}


values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.just("x"),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@some_examples
@given(schemas(), schemas(), values, values)
def test_a_document_accepts_what_its_schemas_accept(
    first: Any, second: Any, value: object, other: object
) -> None:
    valid = jsonschema_rs.is_valid(first, value) and jsonschema_rs.is_valid(second, other)
    assert jsonschema_rs.is_valid(put_together(first, second), [value, other]) is valid


@some_examples
@given(any_json)
def test_any_json_is_taken_or_refused(value: object) -> None:
    try:
        document = put_together(value)
    except GatewayError as error:
        assert error.code == "invalid_request"  # noqa: PT017 - most values are taken
    else:
        assert len(document["prefixItems"]) == 1
