"""The admin API's reference: complete, and true to what is taken and answered."""

import shlex
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import jsonschema_rs
import pytest
import requests
import schemathesis
from schemathesis.specs.openapi import checks

from api.office import Office, run_office
from trunkline.api import admin_sample, description, sample
from trunkline.api.admin import ADMIN
from trunkline.api.admin_reference import NULL_REMOVES, list_answers, list_bodies
from trunkline.api.openapi import write_document
from trunkline.errors import GatewayError
from trunkline.ledger.question import read_question

DOCUMENT = write_document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    pytest.param(path, operation.method, id=f"{operation.method} {path}")
    for path, operations in ADMIN.items()
    for operation in operations
]
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.allow_header_conformance,
    checks.negative_data_rejection,
]


def write_admin_document() -> dict[str, Any]:
    """The document with nothing in it but the admin API."""
    document = write_document()
    for name in ("KeyCreation", "KeyEdit"):  # a longer list makes a body that is refused as such
        for field in ("models", "accounts"):
            kind = document["components"]["schemas"][name]["properties"][field]
            for variant in kind.get("anyOf", [kind]):
                variant.pop("maxItems", None)
    document["paths"] = {path: document["paths"][path] for path in ADMIN}
    return document


schema = schemathesis.openapi.from_dict(write_admin_document())


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, client: httpx.Client) -> Iterator[Office]:
    with run_office(tmp_path_factory.mktemp("office"), client, "direct") as running:
        yield running


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def find_operation(path: str, method: str) -> dict[str, Any]:
    operation: dict[str, Any] = DOCUMENT["paths"][path][method.lower()]
    return operation


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_examples_are_requests_that_are_answered(office: Office, path: str, method: str) -> None:
    """Each as it stands, on the account and the key that the examples name."""
    operation = find_operation(path, method)
    ids = admin_sample.IDS
    office.ask("POST", "/admin/v1/accounts", {"id": ids["account_id"]})
    made = office.ask("POST", "/admin/v1/keys", {"account_id": office.member_key.account_id})
    (source,) = (each["source"] for each in operation["x-codeSamples"])
    source = source.replace(ids["key_id"], made.json()["id"]).replace(sample.ADDRESS, office.url)
    source = source.replace(f"${sample.KEY_VARIABLE}", office.admin).replace("\\\n", " ")
    if (method, path) == ("POST", "/admin/v1/accounts"):
        source = source.replace(ids["account_id"], "not yet there")
    name, url, *rest = shlex.split(source)
    options = list(zip(rest[::2], rest[1::2], strict=True))
    headers = dict(value.split(": ") for option, value in options if option == "-H")
    bodies = [value for option, value in options if option == "-d"]
    said = [value for option, value in options if option == "-X"]
    assert (name, [*said, "POST" if bodies else "GET"][0]) == ("curl", method)
    response = office.client.request(method, url, headers=headers, content="".join(bodies))
    (status,) = (status for status in operation["responses"] if status.startswith("2"))
    assert response.status_code == int(status), response.text
    content = operation["responses"][status]["content"]
    media = response.headers["content-type"].partition(";")[0]
    if media == "application/json":
        whole = {**content[media]["schema"], "components": DOCUMENT["components"]}
        jsonschema_rs.Draft202012Validator(whole).validate(response.json())
    else:
        assert media in content


def test_every_field_that_is_sent_is_explained() -> None:
    names = [struct.__name__ for struct in list_bodies()]
    assert len(names) == 5
    for name in (*names, "LimitsForm", "BudgetForm"):
        for field, inner in SCHEMAS[name]["properties"].items():
            assert inner.get("description"), f"{name}.{field}"
    assert all(answer.__name__ in SCHEMAS for answer in list_answers())


def test_bodies_are_closed_and_say_what_null_does() -> None:
    for path, operations in ADMIN.items():
        for operation in operations:
            if operation.body is None:
                continue
            assert SCHEMAS[operation.body.__name__]["additionalProperties"] is False
            told = find_operation(path, operation.method)["x-null"]
            assert told == (NULL_REMOVES if operation.method == "PATCH" else "")


def test_the_parameters_of_the_usage_report_are_those_that_it_reads() -> None:
    words = {"since": "7d", "until": "today", "by": "day,model", "account": "a", "key": "key_1",
             "model": "m", "target": "a/b", "status": "complete", "format": "csv"}  # fmt: skip
    assert words.keys() == description.USAGE_PARAMETERS.keys()
    assert read_question(words, 1_795_219_200_000_000).form == "csv"
    with pytest.raises(GatewayError) as caught:
        read_question({**words, "more": ""}, 1_795_219_200_000_000)
    told = str(caught.value)
    assert all(name in told for name in words)


def test_every_route_can_fail_as_the_admin_api_does() -> None:
    for path, operations in ADMIN.items():
        for operation in operations:
            responses = find_operation(path, operation.method)["responses"]
            assert {"400", "401", "403", "404", "405", "422", "500", "503"} <= responses.keys()


@schema.parametrize()
@hypothesis.settings(
    max_examples=3,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_as_the_document_says(
    case: schemathesis.Case[Any], office: Office, session: requests.Session
) -> None:
    case.call_and_validate(
        base_url=office.url,
        session=session,
        headers={"x-api-key": office.admin},
        checks=CHECKS,
        timeout=20,
    )
