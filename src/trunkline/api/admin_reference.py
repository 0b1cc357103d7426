"""The admin API's part of the OpenAPI document, made from the list of its routes."""

import re
from collections.abc import Iterator
from typing import Any, Final, get_args
from urllib.parse import quote

import msgspec

from trunkline.api import description, sample
from trunkline.api.admin import ADMIN
from trunkline.api.admin_route import Operation
from trunkline.api.admin_sample import IDS, SAMPLES, AdminSample
from trunkline.api.schema import Json, refer
from trunkline.errors import Code
from trunkline.store.usage import Part, Sums

TAG: Final = "Admin"
NULL_REMOVES: Final = "Null removes what is set; what is absent stays as it is."
CODES: Final[tuple[Code, ...]] = (
    "invalid_api_key",
    "permission_denied",
    "route_not_found",
    "method_not_allowed",
    "validation_error",
    "invalid_request",
    "request_too_large",
    "overloaded",
    "internal_error",
)
"""Every way in which these routes can fail."""

_JSON: Final = "application/json"


def list_bodies() -> Iterator[type[msgspec.Struct]]:
    """The structs that requests are read into."""
    return (each.body for operations in ADMIN.values() for each in operations if each.body)


def list_answers() -> Iterator[type[msgspec.Struct]]:
    """The structs that answers are written from."""
    return (each.answer for operations in ADMIN.values() for each in operations if each.answer)


def write_admin(errors: Json, security: list[Json]) -> Json:
    """The paths of the admin API.

    Args:
        errors: the answers of all ``CODES``, by status.
        security: the ways to send a key.
    """
    return {
        path: {
            operation.method.lower(): _write_operation(path, operation, errors, security)
            for operation in operations
        }
        for path, operations in ADMIN.items()
    }


def write_example(path: str, operation: Operation) -> str:
    """A request as a command line."""
    shown = SAMPLES[operation.method, path]
    target = path.format_map({name: quote(text, safe="") for name, text in IDS.items()})
    if shown.query:
        target += f"?{shown.query}"
    return sample.write_curl(target, shown.body, key=True, method=operation.method)


def list_parameters(path: str, operation: Operation) -> Iterator[tuple[str, str, Json]]:
    """Where each parameter stands, its name, and its schema with a description."""
    for name in re.findall(r"\{(\w+)\}", path):
        yield "path", name, {"type": "string", "description": description.ADMIN_PARAMETERS[name]}
    if operation.query is not None:
        schema = msgspec.json.schema(operation.query)["$defs"][operation.query.__name__]
        for name, inner in schema["properties"].items():
            # An absent parameter is how null is said.
            variants = [each for each in inner.get("anyOf", [inner]) if each.get("type") != "null"]
            told = {"description": description.ADMIN_PARAMETERS[name]}
            default = {"default": inner["default"]} if inner.get("default") is not None else {}
            yield "query", name, {**variants[0], **default, **told}
    elif operation.answer is None:
        for name, text in description.USAGE_PARAMETERS.items():
            yield "query", name, {"type": "string", "description": text}


def _write_operation(path: str, operation: Operation, errors: Json, security: list[Json]) -> Json:
    shown = SAMPLES[operation.method, path]
    written: Json = {
        "operationId": re.sub(r"[^a-z0-9]+", "_", f"{operation.method.lower()}{path}").strip("_"),
        "tags": [TAG],
        "summary": operation.summary,
        "description": f"{operation.about} Needs the key of an admin.".strip(),
        "security": security,
        "parameters": [
            _write_parameter(place, name, dict(schema))
            for place, name, schema in list_parameters(path, operation)
        ],
        "responses": {str(operation.status): _write_answer(operation, shown), **errors},
        "x-codeSamples": [
            {"lang": "Shell", "label": "curl", "source": write_example(path, operation)}
        ],
    }
    if operation.body is not None:
        content: Json = {"schema": refer(operation.body.__name__), "example": shown.body}
        written["requestBody"] = {
            "required": operation.body_needed,
            "content": {_JSON: content},
        }
        written["x-null"] = NULL_REMOVES if operation.method == "PATCH" else ""
    return written


def _write_parameter(place: str, name: str, schema: Json) -> Json:
    told = schema.pop("description")
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": told,
        "schema": schema,
    }


def _write_answer(operation: Operation, shown: AdminSample) -> Json:
    schema = _write_usage() if operation.answer is None else refer(operation.answer.__name__)
    content: Json = {_JSON: {"schema": schema, "example": shown.answer}}
    if operation.answer is None:
        content["text/csv"] = {"schema": {"type": "string"}}
    return {
        "description": "Done." if operation.method != "GET" else "The answer.",
        "headers": {"x-request-id": {"$ref": "#/components/headers/x-request-id"}},
        "content": content,
    }


def _write_usage() -> Json:
    """The schema of a usage report: the parts asked for, as texts, and the sums."""
    sums: Json = {field.name: {"type": "integer"} for field in msgspec.structs.fields(Sums)} | {
        "cost_usd": {"type": "string"}
    }
    parts: Json = {part: {"type": "string"} for part in (*get_args(Part), "key_name")}
    need: list[Any] = [*sums]
    return {
        "type": "object",
        "properties": {
            "since": {"type": "string", "format": "date"},
            "until": {"type": "string", "format": "date"},
            "by": {"type": "array", "items": {"enum": [*get_args(Part)]}},
            "rows": {
                "type": "array",
                "items": {"type": "object", "properties": {**parts, **sums}, "required": need},
            },
            "total": {"type": "object", "properties": sums, "required": need},
        },
        "required": ["since", "until", "by", "rows", "total"],
    }
