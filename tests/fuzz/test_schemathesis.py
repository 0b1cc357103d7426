"""Requests made from the OpenAPI document: no 5xx, no hang, and only what it promises."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.specs.openapi import checks

from fuzz.served import ANSWER_WITHIN_S, Served
from gateway import KEY
from trunkline.api.admin import ADMIN
from trunkline.api.openapi import write_document
from trunkline.api.route import INFERENCE

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.allow_header_conformance,
    checks.positive_data_acceptance,
    checks.negative_data_rejection,
]


def write_narrowed_document() -> dict[str, Any]:
    """The document with models that exist and without accounts, so that calls get far."""
    document = write_document()
    for name in ("CompletionBody", "ChatBody", "TextBody", "EmbeddingBody"):
        model = document["components"]["schemas"][name]["properties"]["model"]
        model["enum"] = ["model", "gpt-oss-120b", "lab/anything"]
    for spelling in ("top_p", "top_k"):  # both spellings with different values are refused
        del document["components"]["schemas"]["ModelParameters"]["properties"][spelling]
    for path in INFERENCE:
        document["paths"][path]["post"]["parameters"] = []
    for path in ADMIN:  # it takes only what exists: tests/api/test_admin_reference.py
        del document["paths"][path]
    return document


schema = schemathesis.openapi.from_dict(write_narrowed_document())


def shorten(value: Any) -> Any:
    """Write whole numbers without a fraction: 1.0 is JSON Schema's integer, but not ours."""
    match value:
        case dict():
            return {name: shorten(inner) for name, inner in value.items()}
        case list():
            return [shorten(inner) for inner in value]
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case _:
            return value


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@schema.parametrize()
@hypothesis.settings(
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_as_the_document_says(
    case: schemathesis.Case[Any], served: Served, session: requests.Session
) -> None:
    case.body = shorten(case.body)
    case.call_and_validate(
        base_url=served.url,
        session=session,
        headers={"x-api-key": KEY},
        checks=CHECKS,
        timeout=ANSWER_WITHIN_S,
    )


def test_the_process_has_survived(served: Served) -> None:
    served.check_health()
