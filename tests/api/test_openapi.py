"""The OpenAPI document: valid, complete, and true to what the gateway takes and answers."""

import json
import os
import re
import shlex
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from gateway import KEY, VECTOR, RunningGateway
from trunkline.api import description, sample
from trunkline.api.admin import ADMIN
from trunkline.api.openapi import write_document
from trunkline.api.route import INFERENCE
from trunkline.api.schema import find_chunk
from trunkline.api.site import Site
from trunkline.errors import KINDS, Code, FieldFault, GatewayError
from trunkline.wire.failure import write_failure

DOCUMENT = write_document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
REQUESTS = (
    "CompletionBody",
    "ModelParameters",
    "ImageRef",
    "ChatBody",
    "StreamOptions",
    "TextBody",
    "EmbeddingBody",
)
OPERATIONS = [
    pytest.param(path, operation, id=f"{method} {path}")
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
POSTS = list(INFERENCE)
STREAMED = [path for path in POSTS if "embeddings" not in path]
PYTHON = [
    pytest.param(each["source"], id=f"{path} {each['label']}")
    for path, item in DOCUMENT["paths"].items()
    for operation in item.values()
    for each in operation["x-codeSamples"]
    if each["lang"] == "Python" and "x-alias-of" not in operation
]


def check(schema: dict[str, Any], value: object) -> None:
    """Fail when the value does not fit; references point into the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(whole).validate(value)


def walk(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def read_events(body: str) -> list[str]:
    frames = body.removesuffix("\n\n").split("\n\n")
    assert all(frame.startswith("data: ") for frame in frames)
    return [frame.removeprefix("data: ") for frame in frames]


def answer_of(operation: dict[str, Any], media: str = "application/json") -> dict[str, Any]:
    content: dict[str, Any] = operation["responses"]["200"]["content"][media]
    return content


def test_the_document_is_valid_openapi() -> None:
    OPENAPI_31_VALIDATOR.validate(DOCUMENT)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_a_valid_schema(name: str) -> None:
    jsonschema_rs.meta.validate({**SCHEMAS[name], "$schema": DIALECT})


def test_every_reference_has_its_target() -> None:
    references = {text for key, text in walk(DOCUMENT) if key == "$ref"}
    assert references
    for reference in references:
        target: Any = DOCUMENT
        for step in str(reference).removeprefix("#/").split("/"):
            target = target[step]


def test_every_route_is_in_it_and_no_other() -> None:
    async def never(*_: object) -> Any:
        raise AssertionError

    routes = Site(never, list, never, measure=bytes).app.routes
    site = {getattr(route, "path", "") for route in routes}
    assert DOCUMENT["paths"].keys() == INFERENCE.keys() | ADMIN.keys() | site


def test_operations_have_names_of_their_own() -> None:
    names = [name for key, name in walk(DOCUMENT["paths"]) if key == "operationId"]
    assert len(names) == len(set(names)) == len(OPERATIONS)


@pytest.mark.parametrize("name", REQUESTS)
def test_every_field_of_a_request_is_explained(name: str) -> None:
    assert [
        field for field, inner in SCHEMAS[name]["properties"].items() if "description" not in inner
    ] == []


def test_nothing_is_explained_that_does_not_exist() -> None:
    assert description.SCHEMAS.keys() <= SCHEMAS.keys()
    unknown = {
        f"{name}.{field}"
        for name, texts in description.FIELDS.items()
        for field in texts
        if field not in SCHEMAS[name]["properties"]
    }
    assert unknown == set()


def test_every_error_code_is_explained_under_its_status() -> None:
    told = {
        code["code"]: int(name.removeprefix("Error"))
        for name, response in DOCUMENT["components"]["responses"].items()
        for code in response["x-codes"]
    }
    assert told == {code: kind.status for code, kind in KINDS.items()}


@pytest.mark.parametrize("code", KINDS)
def test_every_failure_fits_the_error_schema(code: Code) -> None:
    fault = FieldFault(("body", "messages", 0), "Expected `object`", "value_error")
    error = GatewayError(code, "What is wrong.", param="messages", faults=(fault,))
    check(SCHEMAS["Error"], json.loads(write_failure(error, "req_1")))


def test_the_example_of_a_fault_is_what_the_gateway_answers(gateway: RunningGateway) -> None:
    check(SCHEMAS["Error"], sample.FAULT)
    url = gateway.url + "/v4/completions"
    answer = httpx.post(url, json={"model": "model"}, headers=gateway.headers).json()
    assert {**answer, "request_id": ""} == {**sample.FAULT, "request_id": ""}


def test_ranges_and_defaults_are_those_of_the_code() -> None:
    parameters = SCHEMAS["ModelParameters"]["properties"]
    number = {"type": "number", "minimum": 0, "maximum": 1}
    assert parameters["temperature"]["anyOf"] == [number, {"type": "null"}]
    assert parameters["temperature"]["default"] == 0.2
    assert SCHEMAS["CompletionBody"]["properties"]["stream"]["default"] is False
    assert "default" not in SCHEMAS["ChatBody"]["properties"]["top_p"]
    stop = {"type": "array", "items": {"type": "string"}, "maxItems": 4}
    assert SCHEMAS["ChatBody"]["properties"]["stop"]["anyOf"][1] == stop
    assert SCHEMAS["ChatBody"]["properties"]["n"]["anyOf"][0]["maximum"] == 128
    assert SCHEMAS["ChatBody"]["additionalProperties"] is True


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_examples_fit_their_schemas(path: str, operation: dict[str, Any]) -> None:
    for key, content in walk(operation):
        if key != "application/json" or not isinstance(content, dict) or "example" not in content:
            continue
        check(content["schema"], content["example"])
    if path in STREAMED:
        stream = answer_of(operation, "text/event-stream")
        for event in read_events(stream["example"]):
            if event != "[DONE]":
                check(find_chunk(stream["schema"]), json.loads(event))


@pytest.mark.parametrize("path", POSTS)
def test_answers_of_the_gateway_fit(gateway: RunningGateway, path: str) -> None:
    operation = DOCUMENT["paths"][path]["post"]
    request = operation["requestBody"]["content"]["application/json"]["example"]
    body = {**request, "model": "model"}
    whole = httpx.post(gateway.url + path, json=body, headers=gateway.headers)
    assert whole.status_code == 200
    check(answer_of(operation)["schema"], whole.json())
    told = operation["responses"]["200"]["headers"].keys()
    assert {name for name in whole.headers if name.startswith("x-")} <= told


@pytest.mark.parametrize("path", STREAMED)
def test_streams_of_the_gateway_fit(gateway: RunningGateway, path: str) -> None:
    operation = DOCUMENT["paths"][path]["post"]
    request = operation["requestBody"]["content"]["application/json"]["example"]
    body = {**request, "model": "model"}
    streamed = httpx.post(
        gateway.url + path, json={**body, "stream": True}, headers=gateway.headers
    )
    events = read_events(streamed.text)
    ends_with_done = "data: [DONE]" in operation["description"]
    assert (events[-1] == "[DONE]") is ends_with_done
    schema = find_chunk(answer_of(operation, "text/event-stream")["schema"])
    for event in events[:-1] if ends_with_done else events:
        check(schema, json.loads(event))


def test_only_embeddings_have_no_stream() -> None:
    whole = [
        path
        for path in POSTS
        if "text/event-stream" not in DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]
    ]
    assert whole == ["/v1/embeddings"]


def test_every_route_takes_the_headers_that_the_gateway_reads() -> None:
    headers = {each["name"] for each in DOCUMENT["components"]["parameters"].values()}
    assert headers == {
        "x-selected-account-id",
        "x-trunkline-strict",
        "x-trunkline-timeout",
        "x-openai-api-key",
    }
    for path in POSTS:
        references = [each["$ref"] for each in DOCUMENT["paths"][path]["post"]["parameters"]]
        names = [reference.rpartition("/")[2] for reference in references]
        assert names == list(DOCUMENT["components"]["parameters"])


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/models", "/openapi.json"])
def test_service_answers_of_the_gateway_fit(gateway: RunningGateway, path: str) -> None:
    answer = httpx.get(gateway.url + path, headers=gateway.headers)
    assert answer.status_code == 200
    check(answer_of(DOCUMENT["paths"][path]["get"])["schema"], answer.json())


def test_the_gateway_serves_the_document(gateway: RunningGateway) -> None:
    for prefix in ("", "/public"):
        assert httpx.get(f"{gateway.url}{prefix}/openapi.json").json() == DOCUMENT


@pytest.mark.parametrize(
    ("path", "operation"), [each for each in OPERATIONS if each.values[0] not in ADMIN]
)
def test_curl_examples_are_requests_that_are_answered(
    gateway: RunningGateway, path: str, operation: dict[str, Any]
) -> None:
    source = next(each["source"] for each in operation["x-codeSamples"] if each["lang"] == "Shell")
    name, url, *rest = shlex.split(
        _adapt(source, gateway).replace(f"${sample.KEY_VARIABLE}", KEY).replace("\\\n", " ")
    )
    options = list(zip(rest[::2], rest[1::2], strict=True))
    headers = dict(value.split(": ") for option, value in options if option == "-H")
    bodies = [value for option, value in options if option == "-d"]
    method = "POST" if bodies else "GET"
    assert (name, url) == ("curl", gateway.url + path)
    response = httpx.request(method, url, headers=headers, content="".join(bodies))
    assert response.status_code == 200


@pytest.mark.parametrize("source", PYTHON)
def test_python_examples_run(
    gateway: RunningGateway,
    source: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(os.environ, sample.KEY_VARIABLE, KEY)
    exec(compile(_adapt(source, gateway), "example", "exec"), {})
    told = rf"^Hello, world|^model$|^{re.escape(str(list(VECTOR)))}$"
    assert re.search(told, capsys.readouterr().out, re.MULTILINE)


def _adapt(source: str, gateway: RunningGateway) -> str:
    """The example with this gateway's address and model."""
    for model in ("local/smollm2", sample.EMBEDDING_MODEL):
        source = source.replace(model, "model")
    return source.replace(sample.ADDRESS, gateway.url)
