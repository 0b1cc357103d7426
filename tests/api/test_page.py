"""The reference page: complete, self-contained, and safe whatever the document says."""

import copy
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from gateway import RunningGateway
from trunkline.api.field import Field, list_fields
from trunkline.api.openapi import write_document
from trunkline.api.page import write_page
from trunkline.errors import KINDS

VOID = {"meta", "wbr"}
EVIL = "<script>alert(1)</script>\"'&<b onclick=x>"
SHOWN = {"description", "summary", "title", "version", "source", "label", "when", "code", "url"}


class Reader(HTMLParser):
    """Reads a page strictly: every element must be closed where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.elements if attribute in attrs]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return write_document()


@pytest.fixture(scope="module")
def page(document: dict[str, Any]) -> Reader:
    return Reader(write_page(document))


def spoil(value: Any, key: str = "") -> Any:
    """The document with markup in every text that the page shows."""
    if isinstance(value, dict):
        return {name: spoil(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [spoil(inner, key) for inner in value]
    return f"{value}{EVIL}" if key in SHOWN and isinstance(value, str) else value


def list_names(document: dict[str, Any]) -> Iterator[str]:
    yield from document["paths"]
    yield from KINDS
    yield from document["components"]["securitySchemes"]
    yield from document["components"]["headers"]
    yield from (each["name"] for each in document["components"]["parameters"].values())
    for schema in document["components"]["schemas"].values():
        yield from schema["properties"]


def test_every_route_field_header_and_code_is_shown(page: Reader, document: dict[str, Any]) -> None:
    assert [name for name in list_names(document) if name not in page.text] == []


def test_every_description_is_shown(page: Reader, document: dict[str, Any]) -> None:
    texts = [
        inner["description"]
        for schema in document["components"]["schemas"].values()
        for inner in schema["properties"].values()
        if "description" in inner
    ]
    assert texts
    assert [text for text in texts if text.replace("`", "") not in page.text] == []


def test_examples_are_shown(page: Reader, document: dict[str, Any]) -> None:
    for item in document["paths"].values():
        for operation in item.values():
            for each in operation["x-codeSamples"]:
                assert each["source"] in page.text or "x-alias-of" in operation


def test_it_needs_no_script_and_nothing_from_elsewhere(page: Reader) -> None:
    names = {tag for tag, _ in page.elements}
    assert names.isdisjoint({"script", "link", "img", "iframe", "object", "form", "base"})
    assert page.values("src") == []
    assert [href for href in page.values("href") if not href.startswith("#")] == [
        "openapi.json",
        "openapi.json",
    ]
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)


def test_its_style_loads_nothing(document: dict[str, Any]) -> None:
    style = write_page(document).split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_links_inside_the_page_have_their_target(page: Reader) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    targets = {href[1:] for href in page.values("href") if href.startswith("#")}
    assert targets <= set(ids)


def test_texts_of_the_document_are_escaped(page: Reader, document: dict[str, Any]) -> None:
    spoiled = spoil(copy.deepcopy(document))
    body = spoiled["components"]["schemas"]["CompletionBody"]
    body["properties"][EVIL] = {"enum": [EVIL], "default": EVIL}
    spoiled["paths"][f"/{EVIL}"] = spoiled["paths"]["/livez"]
    read = Reader(write_page(spoiled))
    assert EVIL in read.text
    assert {tag for tag, _ in read.elements} == {tag for tag, _ in page.elements}
    assert not any(name.startswith("on") for _, attrs in read.elements for name in attrs)


def test_the_gateway_serves_it_under_a_strict_policy(gateway: RunningGateway) -> None:
    for prefix in ("", "/public"):
        response = httpx.get(f"{gateway.url}{prefix}/docs")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/html")
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
        assert Reader(response.text).text


SCHEMAS: dict[str, Any] = {
    "Inner": {
        "type": "object",
        "properties": {"of": {"$ref": "#/components/schemas/Inner"}, "x": {"type": "integer"}},
        "required": ["x"],
    }
}


@pytest.mark.parametrize(
    ("schema", "kind", "rules"),
    [
        ({"type": "number", "minimum": -2, "maximum": 2.5}, "number", ("\N{MINUS SIGN}2 to 2.5",)),
        ({"type": "integer", "minimum": 0}, "integer", ("0 or more",)),
        ({"type": "array", "maxItems": 4, "items": {"type": "string"}}, "array of string",
         ("at most 4 items",)),
        ({"type": "string", "minLength": 1, "default": "auto"}, "string",
         ("not empty", 'default "auto"')),
        ({"enum": ["a", "b"]}, '"a" | "b"', ()),
        ({"const": "list"}, '"list"', ()),
        ({"type": ["string", "integer"]}, "string or integer", ()),
        ({}, "any value", ()),
        ({"type": "object", "additionalProperties": {"type": "integer", "maximum": 9}},
         "object of integer", ("at most 9",)),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
         "array of (string or null)", ()),
    ],
)  # fmt: skip
def test_a_field_in_words(schema: dict[str, Any], kind: str, rules: tuple[str, ...]) -> None:
    fields = list_fields({"properties": {"f": schema}}, SCHEMAS, optional_null=True)
    assert fields == [Field("", "f", kind, rules, required=False, text="")]


def test_null_is_told_where_it_does_not_mean_absent() -> None:
    schema = {"properties": {"f": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    assert list_fields(schema, {}, optional_null=True)[0].kind == "string"
    assert list_fields(schema, {}, optional_null=False)[0].kind == "string or null"


def test_fields_inside_fields_follow_with_their_place_and_recursion_ends() -> None:
    inner = {"$ref": "#/components/schemas/Inner"}
    schema = {"properties": {"list": {"type": "array", "items": inner}}}
    fields = list_fields(schema, SCHEMAS, optional_null=True)
    assert [(field.within + field.name, field.required) for field in fields] == [
        ("list", False),
        ("list[].of", False),
        ("list[].x", True),
    ]
