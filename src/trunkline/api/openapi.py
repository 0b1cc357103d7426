"""The OpenAPI 3.1 document of all routes, made from the code that serves them.

Bodies come from the structs that decode and encode them, error statuses from the table of
codes, inference paths from the list of routes: what changes there changes here.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

import trunkline
from trunkline.api import admin_reference, description, sample
from trunkline.api.route import DEFAULT_PREFIX, INFERENCE
from trunkline.api.schema import ERROR, Json, refer, write_event, write_schemas
from trunkline.errors import KINDS, Code
from trunkline.routing.fit import (
    OPENAI_CHAT,
    OPENAI_EMBEDDING,
    OPENAI_TEXT,
    SGP_CHAT,
    SGP_COMPLETION,
)
from trunkline.wire.openai_chat import ChatBody
from trunkline.wire.openai_embedding import EmbeddingAnswer, EmbeddingBody
from trunkline.wire.openai_reply import ChatAnswer, ChatChunk, TextAnswer, TextChunk
from trunkline.wire.openai_text import TextBody
from trunkline.wire.sgp import CompletionAnswer, CompletionBody, CompletionChunk

_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"
_KEY: Final[list[Json]] = [{"x-api-key": []}, {"bearer": []}, {"basic": []}]
_KEYLESS_CODES: Final[tuple[Code, ...]] = ("method_not_allowed", "internal_error")


class _Face(msgspec.Struct, frozen=True):
    """What the document tells of one client format; one without ``chunk`` is never streamed."""

    body: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    chunk: type[msgspec.Struct] | None
    sample: sample.Sample
    tag: str
    summary: str
    done: bool


_ENDS: Final = {
    False: "The stream is over when the body ends; there is no `[DONE]`.",
    True: "The stream ends with `data: [DONE]`.",
}
_FACES: Final[dict[str, _Face]] = {
    SGP_COMPLETION.name: _Face(
        CompletionBody,
        CompletionAnswer,
        CompletionChunk,
        sample.COMPLETION,
        "SGP",
        "Complete a prompt",
        done=False,
    ),
    SGP_CHAT.name: _Face(
        ChatBody, ChatAnswer, ChatChunk, sample.SGP_CHAT, "SGP", "Continue a chat", done=False
    ),
    OPENAI_CHAT.name: _Face(
        ChatBody, ChatAnswer, ChatChunk, sample.OPENAI_CHAT, "OpenAI", "Continue a chat", done=True
    ),
    OPENAI_TEXT.name: _Face(
        TextBody,
        TextAnswer,
        TextChunk,
        sample.OPENAI_TEXT,
        "OpenAI",
        "Complete a prompt",
        done=True,
    ),
    OPENAI_EMBEDDING.name: _Face(
        EmbeddingBody,
        EmbeddingAnswer,
        None,
        sample.OPENAI_EMBEDDING,
        "OpenAI",
        "Embed texts",
        done=False,
    ),
}

_HEADERS: Final[dict[str, str]] = {
    "x-request-id": "Id of the call, also in the gateway's log.",
    "x-trunkline-target": "`provider/model` that answered.",
    "x-trunkline-attempts": "How many targets were tried.",
    "x-trunkline-changes": "What was renamed, clamped, defaulted or dropped for the target, "
    "separated by commas; absent when nothing was.",
    "x-trunkline-overhead-us": "Microseconds spent in the gateway itself; not on streams.",
}


def write_document() -> Json:
    """The whole document as plain JSON values, built anew at each call."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trunkline",
            "version": trunkline.__version__,
            "summary": "One line to every model.",
            "description": "A self-hosted inference gateway that speaks the API of Scale's GenAI "
            "Platform (SGP) and OpenAI's.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {"url": "/"},
            {"url": DEFAULT_PREFIX, "description": "Where the SGP clients' local environment asks"},
        ],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": {
            **_write_inference(),
            **admin_reference.write_admin(_refer_errors(admin_reference.CODES), _KEY),
            **_write_service(),
        },
        "components": {
            "schemas": _write_all_schemas(),
            "responses": {_error_name(status): _write_error(status) for status in _statuses(KINDS)},
            "headers": {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in _HEADERS.items()
            },
            "parameters": {
                name: {
                    "name": header,
                    "in": "header",
                    "description": text,
                    "schema": {"type": "string"},
                }
                for name, (header, text) in _PARAMETERS.items()
            },
            "securitySchemes": _SECURITY,
        },
    }


def _write_all_schemas() -> Json:
    faces = _FACES.values()
    answers = [part for face in faces for part in (face.answer, face.chunk) if part]
    return write_schemas(
        [*(face.body for face in faces), *admin_reference.list_bodies()],
        [*answers, *admin_reference.list_answers()],
    )


_TAGS: Final = {
    "SGP": "The routes of Scale's GenAI Platform.",
    "OpenAI": "The same models in OpenAI's dialect.",
    admin_reference.TAG: "Accounts, keys, their limits and budgets, and what was used; for admins.",
    "Service": "Health and reference.",
}
_PARAMETERS: Final = {
    "account": ("x-selected-account-id", "Account to act for; the key's own when absent."),
    "strict": (
        "x-trunkline-strict",
        "`true`: what would be dropped or clamped for the target is a 400 that names it.",
    ),
    "timeout": (
        "x-trunkline-timeout",
        "Seconds, above 0: bounds each deadline of this call and never lengthens one.",
    ),
    "openai-key": (
        "x-openai-api-key",
        "Your own key at OpenAI, sent there in place of the gateway's, and nowhere else.",
    ),
}
"""By component name: a request header, and what it asks for."""
_SECURITY: Final[Json] = {
    "x-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The key in a header of its own. If it is there, it decides.",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The key as `Authorization: Bearer`.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The key as the user name of `Authorization: Basic`; the password is "
        "ignored.",
    },
}


def _write_inference() -> Json:
    first: dict[str, str] = {}
    paths: Json = {}
    for path, form in INFERENCE.items():
        operation = _write_operation(path, _FACES[form.name])
        if form.name in first:
            operation["x-alias-of"] = first[form.name]
        first.setdefault(form.name, path)
        paths[path] = {"post": operation}
    return paths


def _write_operation(path: str, face: _Face) -> Json:
    code = {"curl": sample.write_curl(path, face.sample.request, key=True), **face.sample.python}
    answer: Json = {_JSON: {"schema": refer(face.answer.__name__), "example": face.sample.answer}}
    about = "The answer is whole; there is no stream."
    if face.chunk is not None:
        about = (
            "With `stream` the answer is a stream of server-sent events, one JSON object on one "
            f"`data:` line. {_ENDS[face.done]} A failure after the first event is sent as "
            "`event: error` with the usual error body, and the connection is cut."
        )
        events = write_event(face.chunk.__name__, done=face.done)
        answer[_STREAM] = {"schema": events, "example": face.sample.stream}
    return {
        "operationId": _name_operation("post", path),
        "tags": [face.tag],
        "summary": face.summary,
        "description": about,
        "security": _KEY,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS],
        "requestBody": {
            "required": True,
            "content": {
                _JSON: {"schema": refer(face.body.__name__), "example": face.sample.request}
            },
        },
        "responses": {
            "200": {
                "description": "The answer, whole or streamed." if face.chunk else "The answer.",
                "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS},
                "content": answer,
            },
            **_refer_errors(KINDS),
        },
        "x-codeSamples": _write_samples(code),
    }


def _write_service() -> Json:
    status: Json = {"status": {"enum": ["ok", "degraded", "unavailable"]}}
    health = {"type": "object", "properties": status, "required": ["status"]}
    ready = {
        **health,
        "properties": {
            **status,
            "reasons": {
                "type": "object",
                "description": "What is not as it should be, by name; empty when all is.",
                "additionalProperties": {"type": "string"},
            },
        },
    }
    ok = {"status": "ok"}
    paths = {
        "/v1/models": _write_models(),
        "/livez": _write_get("/livez", "Is the process up?", "It is.", (_JSON, health, ok)),
        "/readyz": _write_get(
            "/readyz", "Can it serve?", "It can.", (_JSON, ready, {**ok, "reasons": {}})
        ),
        "/metrics": _write_get(
            "/metrics", "Metrics", "Prometheus text.", ("text/plain", {"type": "string"}, None)
        ),
        "/openapi.json": _write_get(
            "/openapi.json", "This document", "OpenAPI 3.1.", (_JSON, {"type": "object"}, None)
        ),
        "/docs": _write_get(
            "/docs", "This document as a page", "HTML.", ("text/html", {"type": "string"}, None)
        ),
    }
    _require_key(paths["/metrics"]["get"], "/metrics", ("invalid_api_key", "permission_denied"))
    waiting = {"status": "unavailable", "reasons": {"local/smollm2": "not running"}}
    paths["/readyz"]["get"]["responses"]["503"] = {
        "description": "It cannot, and says why.",
        "content": {_JSON: {"schema": ready, "example": waiting}},
    }
    return paths


def _require_key(operation: Json, path: str, codes: tuple[Code, ...]) -> None:
    operation["security"] = _KEY
    operation["responses"].update(_refer_errors(codes))
    curl = sample.write_curl(path, None, key=True)
    operation["x-codeSamples"] = _write_samples({"curl": curl})


def _write_models() -> Json:
    row = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "The name to send as `model`."},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {"type": "string"},
        },
        "required": ["id", "object", "created", "owned_by"],
    }
    schema = {
        "type": "object",
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": row},
        },
        "required": ["object", "data"],
    }
    item = _write_get(
        "/v1/models",
        "List the models",
        "Those that the key may use.",
        (_JSON, schema, sample.MODELS),
    )
    operation = item["get"]
    operation["tags"] = ["OpenAI"]
    _require_key(operation, "/v1/models", ("invalid_api_key",))
    operation["x-codeSamples"] += _write_samples({"Python": sample.MODELS_PYTHON})
    return item


def _write_get(path: str, summary: str, answer: str, content: tuple[str, Json, Any]) -> Json:
    media, schema, example = content
    shown = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return {
        "get": {
            "operationId": _name_operation("get", path),
            "tags": ["Service"],
            "summary": summary,
            "security": [],
            "responses": {
                "200": {"description": answer, "content": {media: shown}},
                **_refer_errors(_KEYLESS_CODES),
            },
            "x-codeSamples": _write_samples({"curl": sample.write_curl(path, None, key=False)}),
        }
    }


def _write_samples(code: dict[str, str]) -> list[Json]:
    return [
        {"lang": "Shell" if label == "curl" else "Python", "label": label, "source": source}
        for label, source in code.items()
    ]


def _name_operation(method: str, path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", f"{method}{path}")


# Errors.


def _statuses(codes: Iterable[Code]) -> list[int]:
    return sorted({KINDS[code].status for code in codes})


def _error_name(status: int) -> str:
    return f"Error{status}"


def _refer_errors(codes: Iterable[Code]) -> Json:
    return {
        str(status): {"$ref": f"#/components/responses/{_error_name(status)}"}
        for status in _statuses(codes)
    }


def _write_error(status: int) -> Json:
    codes = [code for code, kind in KINDS.items() if kind.status == status]
    answer: Json = {
        "description": " ".join(f"`{code}`: {description.CODES[code]}" for code in codes),
        "headers": {"x-request-id": {"$ref": "#/components/headers/x-request-id"}},
        "content": {_JSON: {"schema": refer(ERROR)}},
        "x-codes": [
            {
                "code": code,
                "type": KINDS[code].type,
                "retry": KINDS[code].retryable,
                "when": description.CODES[code],
            }
            for code in codes
        ],
    }
    if status == KINDS["validation_error"].status:
        answer["content"][_JSON]["example"] = sample.FAULT
    return answer
