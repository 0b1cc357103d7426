"""The reference page: the OpenAPI document as HTML that needs no script and no outside asset."""

import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files
from typing import Any, Final

from trunkline.api.field import Field, describe_kind, list_fields
from trunkline.api.schema import Json, find_chunk

_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"
_METHODS: Final = ("get", "post", "patch", "delete")


def write_page(document: Json) -> str:
    """The whole page; every text of the document is escaped, ``code`` marks become code."""
    style = files("trunkline.api").joinpath("page.css").read_text("utf-8")
    routes = list(_list_routes(document))
    title = escape(document["info"]["title"])
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title} API</title>\n<style>\n{style}</style>\n</head>\n<body>",
            _write_contents(document, routes),
            "<main>",
            _write_head(document),
            _write_keys(document),
            *(_write_route(document, *route) for route in routes),
            _write_errors(document),
            f"<footer>{title} {escape(document['info']['version'])}</footer>",
            "</main>\n</body>\n</html>\n",
        )
    )


Route = tuple[str, str, Json]


def _list_routes(document: Json) -> Iterator[Route]:
    """Method, path and operation of each route that stands for itself, in the order of tags."""
    for tag in document["tags"]:
        for path, item in document["paths"].items():
            for method in _METHODS:
                operation = item.get(method)
                if operation and tag["name"] in operation["tags"] and not _is_alias(operation):
                    yield method, path, operation


def _is_alias(operation: Json) -> bool:
    return "x-alias-of" in operation


def _list_aliases(document: Json, path: str) -> list[str]:
    return [
        other
        for other, item in document["paths"].items()
        for operation in item.values()
        if operation.get("x-alias-of") == path
    ]


# Around the routes.


def _write_contents(document: Json, routes: list[Route]) -> str:
    parts = [f'<nav aria-label="Contents"><a class="title" href="#top">{_title(document)}</a>']
    parts.append('<ul><li><a href="#keys">Keys and headers</a></li>')
    parts.append('<li><a href="#errors">Errors</a></li>')
    parts.append('<li><a href="openapi.json">openapi.json</a></li></ul>')
    for tag in document["tags"]:
        name = tag["name"]
        parts.append(f'<div class="group">{escape(name)}</div><ul>')
        parts += [
            f'<li><a href="#{_anchor(operation)}">{_method(method)}'
            f"<span>{escape(path)}</span></a></li>"
            for method, path, operation in routes
            if name in operation["tags"]
        ]
        parts.append("</ul>")
    return "".join((*parts, "</nav>"))


def _write_head(document: Json) -> str:
    info = document["info"]
    servers = " and under ".join(
        f"<code>{escape(server['url'])}</code>" for server in document["servers"]
    )
    return (
        f'<header id="top"><h1>{_title(document)} <span class="version">'
        f"{escape(info['version'])}</span></h1>"
        f'<p class="lead">{_prose(info["summary"])} {_prose(info["description"])}</p>'
        f"<p>Every route answers under {servers}. For machines: "
        '<a href="openapi.json">openapi.json</a>.</p></header>'
    )


def _write_keys(document: Json) -> str:
    components = document["components"]
    schemes = "".join(
        _write_item(escape(name), scheme["description"])
        for name, scheme in components["securitySchemes"].items()
    )
    parameters = "".join(
        _write_item(escape(each["name"]), each["description"], "header, optional")
        for each in components["parameters"].values()
    )
    return (
        '<section id="keys"><h2>Keys and headers</h2><p class="prose">A key travels in one of '
        f'these ways:</p><ul class="fields">{schemes}</ul><p class="prose">Other headers of a '
        f'call:</p><ul class="fields">{parameters}</ul></section>'
    )


def _write_errors(document: Json) -> str:
    schemas = document["components"]["schemas"]
    responses = document["components"]["responses"]
    examples = [
        content["example"]
        for each in responses.values()
        if "example" in (content := each["content"][_JSON])
    ]
    shown = "".join(f"<pre>{_code(example)}</pre>" for example in examples)
    fields = _write_fields(list_fields(schemas["Error"], schemas, optional_null=False), "always")
    return (
        f'<section id="errors"><h2>Errors</h2><p class="prose">'
        f"{_prose(schemas['Error']['description'])}</p>{shown}"
        f"{_fold('Fields', fields)}{_write_codes(responses)}</section>"
    )


def _write_codes(responses: Json) -> str:
    """A table of error answers by status."""
    rows = "".join(
        f"<tr><td>{_status(name)}</td><td><code>{escape(code['code'])}</code></td>"
        f"<td>{'retry' if code['retry'] else 'no retry'}</td><td>{_prose(code['when'])}</td></tr>"
        for name, response in responses.items()
        for code in response.get("x-codes", ())
    )
    return (
        '<div class="wide"><table><thead><tr><th>Status</th><th>Code</th><th>Retry</th>'
        f"<th>When</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


# A route.


def _write_route(document: Json, method: str, path: str, operation: Json) -> str:
    aliases = _list_aliases(document, path)
    parts = [
        f'<section class="route" id="{_anchor(operation)}"><div>',
        f"<h2>{_prose(operation['summary'])}</h2>",
        f'<div class="path">{_method(method)}<code>{escape(path)}</code></div>',
        *(
            f'<div class="path alias">{_method(method)}<code>{escape(alias)}</code>'
            '<span class="note">the same</span></div>'
            for alias in aliases
        ),
        f'<p class="note">{_word_security(operation)}</p>',
        f'<p class="prose">{_prose(operation.get("description", ""))}</p>',
        _write_parameters(operation),
        _write_request(document, operation),
        _write_answers(document, operation),
        "</div>",
        _write_samples(operation),
        "</section>",
    ]
    return "".join(parts)


def _word_security(operation: Json) -> str:
    if not operation["security"]:
        return "Needs no key."
    ways = " or ".join(
        f"<code>{escape(name)}</code>" for way in operation["security"] for name in way
    )
    return f'Needs <a href="#keys">a key</a>: {ways}.'


def _write_parameters(operation: Json) -> str:
    """The parameters of the path and the query; headers are told once for all routes."""
    rows = "".join(
        _write_item(
            escape(each["name"]),
            each["description"],
            ", ".join((each["in"], *describe_kind(each["schema"]))),
            "required" if each["required"] else "",
        )
        for each in operation.get("parameters", ())
        if "$ref" not in each
    )
    return f'<h4>Parameters</h4><ul class="fields">{rows}</ul>' if rows else ""


def _write_request(document: Json, operation: Json) -> str:
    if "requestBody" not in operation:
        return ""
    schemas = document["components"]["schemas"]
    schema = operation["requestBody"]["content"][_JSON]["schema"]
    fields = list_fields(schema, schemas, optional_null="x-null" not in operation)
    about = _find_description(schema, schemas)
    null = operation.get("x-null", "Null means absent.")
    return (
        f'<h4>Request</h4><p class="prose">{_prose(f"{about} {null}".strip())}</p>'
        f"{_write_fields(fields)}"
    )


def _write_answers(document: Json, operation: Json) -> str:
    components = document["components"]
    parts = ["<h4>Answer</h4>"]
    errors: Json = {}
    for status, response in operation["responses"].items():
        if "$ref" in response:
            name = response["$ref"].rsplit("/", 1)[-1]
            errors[status] = components["responses"][name]
            continue
        parts.append(
            f'<p class="prose"><code>{status}</code> {_prose(response["description"])}</p>'
        )
        for media, content in response["content"].items():
            parts.append(_write_content(media, content, components["schemas"]))
        parts.append(_write_headers(response.get("headers", {}), components["headers"]))
    parts.append(_fold("Errors", _write_codes(errors)))
    return "".join(parts)


def _write_content(media: str, content: Json, schemas: Json) -> str:
    """Example and fields of an answer in one media type."""
    schema = find_chunk(content["schema"]) if media == _STREAM else content["schema"]
    parts = [f'<p class="media"><code>{escape(media)}</code></p>']
    if "example" in content:
        parts.append(f"<pre>{_code(content['example'])}</pre>")
    fields = list_fields(schema, schemas, optional_null=False)
    if fields:
        about = f"<p>{_prose(_find_description(schema, schemas))}</p>"
        title = "Fields of one event" if media == _STREAM else "Fields"
        parts.append(_fold(title, about + _write_fields(fields, need="always")))
    return "".join(parts)


def _write_headers(headers: Json, known: Json) -> str:
    if not headers:
        return ""
    rows = "".join(_write_item(escape(name), known[name]["description"]) for name in headers)
    return _fold("Headers", f'<ul class="fields">{rows}</ul>')


def _write_samples(operation: Json) -> str:
    samples: list[Json] = operation.get("x-codeSamples", [])
    shown = "".join(
        f"<details{' open' if position < 2 else ''}><summary>{escape(sample['label'])}</summary>"
        f"<pre>{escape(sample['source'])}</pre></details>"
        for position, sample in enumerate(samples)
    )
    return f'<div class="sample">{shown}</div>'


# Small pieces.


def _write_fields(fields: Iterable[Field], need: str = "required") -> str:
    rows = "".join(
        _write_item(
            f'<span class="within">{_breakable(field.within)}</span>{escape(field.name)}',
            field.text,
            ", ".join((field.kind, *field.rules)),
            need if field.required else "",
        )
        for field in fields
    )
    return f'<ul class="fields">{rows}</ul>'


def _write_item(name: str, text: str, kind: str = "", need: str = "") -> str:
    """A row of a list; the name is HTML already."""
    parts = [f'<li><span class="name">{name}</span>']
    if kind:
        parts.append(f'<span class="kind">{escape(kind)}</span>')
    if need:
        parts.append(f'<span class="need {escape(need)}">{escape(need)}</span>')
    if text:
        parts.append(f"<p>{_prose(text)}</p>")
    return "".join((*parts, "</li>"))


def _find_description(schema: Json, schemas: Json) -> str:
    target = schemas[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    text: str = target.get("description", "")
    return text


def _fold(title: str, inside: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def _title(document: Json) -> str:
    return escape(document["info"]["title"])


def _method(method: str) -> str:
    return f'<span class="method {escape(method)}">{escape(method.upper())}</span>'


def _anchor(operation: Json) -> str:
    return escape(operation["operationId"])


def _status(name: str) -> str:
    return escape(name.removeprefix("Error"))


def _breakable(path: str) -> str:
    """A long path may break after its dots."""
    return escape(path).replace(".", ".<wbr>")


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _code(example: Any) -> str:
    return escape(example if isinstance(example, str) else json.dumps(example, indent=2))
