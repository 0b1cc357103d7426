"""A client on raw sockets: sends exactly the bytes it is given, and reads one answer."""

import json
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse

import jsonschema_rs

from fuzz.served import ANSWER_WITHIN_S, Served
from gateway import KEY
from trunkline.api.openapi import write_document

PATHS = (
    "/v4/completions",
    "/v3/completions",
    "/v2/completions",
    "/v4/v4/completions",
    "/v4/beta/chat/completions",
    "/v5/chat/completions",
    "/v1/chat/completions",
    "/v1/completions",
    "/public/v4/completions",
    "/public/v1/chat/completions",
)
JSON = "content-type: application/json"
_DOCUMENT = write_document()
_FAILURE = jsonschema_rs.Draft202012Validator(
    {"$ref": "#/components/schemas/Error", "components": _DOCUMENT["components"]}
)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes


def write_request(
    path: str, body: bytes, headers: Iterable[str] = (JSON,), method: str = "POST"
) -> bytes:
    """A whole request with the key and a length."""
    return write_head(path, [*headers, f"content-length: {len(body)}"], method) + body


def write_head(path: str, headers: Iterable[str], method: str = "POST") -> bytes:
    """Request line and headers, with the key."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"x-api-key: {KEY}", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def exchange(served: Served, *pieces: bytes, method: str = "POST") -> Answer:
    """Send the pieces and read one answer; fails when it takes too long."""
    give_up_s = time.monotonic() + ANSWER_WITHIN_S
    with socket.create_connection(("127.0.0.1", served.port), ANSWER_WITHIN_S) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # answered before all was sent
            for piece in pieces:
                connection.sendall(piece)
        with HTTPResponse(connection, method=method) as response:
            response.begin()
            answer = Answer(response.status, response.headers, response.read())
    assert time.monotonic() < give_up_s, "the answer took too long"
    return answer


def check_answer(answer: Answer) -> None:
    """A success, or a client's fault in the one body of all failures; never a server's fault."""
    assert answer.status == 200 or 400 <= answer.status < 500, (answer.status, answer.body)
    request_id = answer.headers["x-request-id"]
    assert request_id.startswith("req_")
    if answer.status != 200:
        assert answer.headers["content-type"] == "application/json"
        told = json.loads(answer.body)
        _FAILURE.validate(told)
        assert told["request_id"] == request_id
    elif answer.headers["content-type"] == "application/json":
        json.loads(answer.body)
    else:
        check_stream(answer.body)


def check_stream(body: bytes) -> None:
    """Whole frames of JSON on one line each, without an error among them."""
    assert body.endswith(b"\n\n")
    for frame in body.removesuffix(b"\n\n").split(b"\n\n"):
        assert frame.startswith(b"data: "), frame
        assert frame == b"data: [DONE]" or json.loads(frame.removeprefix(b"data: "))
