"""JSON Schemas of the bodies that clients send and get, made from the structs that read them."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from trunkline.api import description
from trunkline.errors import KINDS
from trunkline.wire.openai_chat import CHOICE_LIMIT, STOP_LIMIT, TOOL_LIMIT
from trunkline.wire.sgp import DEFAULT_TEMPERATURE, ModelParameters

Json = dict[str, Any]
Structs = Iterable[type[msgspec.Struct]]

ERROR: Final = "Error"
PLACE: Final = "#/components/schemas/"

_LIMITS: Final[dict[str, Json]] = {
    "stop": {"maxItems": STOP_LIMIT},
    "tools": {"maxItems": TOOL_LIMIT},
    "n": {"maximum": CHOICE_LIMIT},
    "best_of": {"maximum": CHOICE_LIMIT},
}
"""Limits of requests that the structs leave to the readers, which answer 400."""


def refer(name: str) -> Json:
    """A reference to the schema of this name."""
    return {"$ref": f"{PLACE}{name}"}


def write_event(chunk: str, *, done: bool) -> Json:
    """One server-sent event: a chunk as JSON in its data, or a failure.

    OpenAPI 3.1 has no word for streams: as 3.2's ``itemSchema`` does, this describes an event.

    Args:
        chunk: name of the chunk's schema.
        done: the last event is ``[DONE]``.
    """
    data = _write_payload(chunk)
    told = {"anyOf": [data, {"const": "[DONE]"}]} if done else data
    failure = {
        "properties": {"event": {"const": "error"}, "data": _write_payload(ERROR)},
        "required": ["event", "data"],
    }
    return {
        "description": "One server-sent event.",
        "type": "object",
        "anyOf": [{"properties": {"data": told}, "required": ["data"]}, failure],
    }


def find_chunk(event: Json) -> Json:
    """The schema of the chunk inside what ``write_event`` wrote."""
    data: Json = event["anyOf"][0]["properties"]["data"]
    content: Json = data.get("anyOf", [data])[0]["contentSchema"]
    return content


def _write_payload(name: str) -> Json:
    return {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": refer(name),
    }


def write_schemas(requests: Structs, answers: Structs) -> Json:
    """Schemas by name, of these structs, of all that stands inside them, and of failures."""
    requests = sorted(requests, key=lambda struct: struct.__name__)
    structs = sorted({*requests, *answers}, key=lambda struct: struct.__name__)
    _, schemas = msgspec.json.schema_components(structs, ref_template=f"{PLACE}{{name}}")
    for name, schema in schemas.items():
        _finish(name, schema)
    for struct in requests:
        _state_request(schemas[struct.__name__])
    parameters = schemas[ModelParameters.__name__]["properties"]
    parameters["temperature"]["default"] = DEFAULT_TEMPERATURE
    return {**schemas, ERROR: _write_error()}


def _finish(name: str, schema: Json) -> None:
    """Texts for readers; unknown fields are let through; a default of null says nothing."""
    told = description.SCHEMAS.get(name) or schema.get("description", "")
    schema["description"] = told.replace("``", "`")
    schema.setdefault("additionalProperties", True)
    guards = [field for field, inner in schema["properties"].items() if inner.get("type") == "null"]
    for field in guards:  # it only keeps a foreign shape out
        del schema["properties"][field]
    texts = description.FIELDS.get(name, {})
    for field, inner in schema["properties"].items():
        if inner.get("default", ...) in (None, ()):
            del inner["default"]
        if field in texts:
            inner["description"] = texts[field]


def _state_request(schema: Json) -> None:
    """Defaults and limits of a request that the readers hold, not the struct."""
    fields = schema["properties"]
    if "stream" in fields:
        fields["stream"]["default"] = False
    for name in fields.keys() & _LIMITS.keys():
        for limit, most in _LIMITS[name].items():
            wanted = "array" if limit == "maxItems" else "integer"
            for variant in fields[name]["anyOf"]:
                if variant["type"] == wanted:
                    variant[limit] = most


def _write_error() -> Json:
    fault = {
        "type": "object",
        "properties": {
            "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
            "msg": {"type": "string"},
            "type": {"type": "string"},
        },
        "required": ["loc", "msg", "type"],
    }
    error = {
        "type": "object",
        "properties": {
            "message": {"type": "string", "minLength": 1},
            "type": {"enum": sorted({kind.type for kind in KINDS.values()})},
            "param": {"type": ["string", "null"], "description": "The field at fault."},
            "code": {"enum": list(KINDS)},
        },
        "required": ["message", "type", "param", "code"],
    }
    return {
        "title": "Error",
        "description": "The one body of every failure, as SGP's and OpenAI's clients read it.",
        "type": "object",
        "properties": {
            "detail": {
                "description": "The message; for `validation_error`, every fault with its place.",
                "anyOf": [{"type": "string"}, {"type": "array", "items": fault}],
            },
            "error": error,
            "request_id": {"type": "string", "description": "The same as `x-request-id`."},
        },
        "required": ["detail", "error", "request_id"],
    }
