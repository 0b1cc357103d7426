"""Cases of provider rows: what a client asks, what the vendor gets and says, what comes back.

``tests/providers/cases/NAME.json`` belongs to the row NAME of catalog.toml and is written by hand
from what the vendor publishes. A frame is what stands after ``data:``, or, as a text, the very
bytes of the stream.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

CASES = Path(__file__).parent / "cases"
KEY = "sk-case"
"""The gateway's own key for every vendor that wants one."""

STREAMED: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
Frames = list[dict[str, Any] | str]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a case; what it has no field for is a mistake."""


class Wanted(Part, frozen=True, kw_only=True):
    """The request that the vendor must get.

    Args:
        path: with the query, after the host.
        headers: those that matter, by lower-case name; null for one that must not be there.
        body: all of it.
        stream: the fields that a streamed request has besides.
        times: how many requests the call takes, where the vendor has no ``n``.
    """

    path: str
    headers: dict[str, str | None] = {}
    body: dict[str, Any]
    stream: dict[str, Any] = msgspec.field(default_factory=lambda: dict(STREAMED))
    times: int = 1


class Said(Part, frozen=True, kw_only=True):
    """An answer of the vendor; ``before`` is sent ahead of the JSON."""

    status: int = 200
    headers: dict[str, str] = {}
    before: str = ""
    body: Any = None

    def encode(self) -> bytes:
        """The body's bytes; a text stands for itself."""
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return (self.before + text).encode()


class Failure(Said, frozen=True, kw_only=True):
    """A failure of the vendor, in an answer or in the frames of a stream, and ours for it.

    ``wait_s`` is the client's ``retry-after``.
    """

    code: str
    param: str | None = None
    wait_s: str | None = None
    frames: Frames = []


class Case(Part, frozen=True, kw_only=True):
    """The proof of one row.

    Args:
        source: the pages or files that it was written from.
        settings: fields of the operator's table that the row needs.
        client: the body of a chat request; its model is ``NAME/`` and the vendor's name for it.
        changes: all words of ``x-trunkline-changes``, in any order.
        answer: what the client's answer must hold; null for what must not be there.
        stream: frames as the vendor sends them.
        streamed: what these come to: text, thoughts, calls, finish reason, and the usage that
            exactly one chunk tells.
        line_end: of the stream.
    """

    source: list[str]
    settings: dict[str, str] = {}
    client: dict[str, Any]
    changes: list[str] = []
    upstream: Wanted
    reply: Said
    answer: dict[str, Any]
    stream: Frames
    streamed: dict[str, Any]
    line_end: str = "\n"
    failures: list[Failure]


def list_cases() -> list[str]:
    """The rows that have a case."""
    return sorted(path.stem for path in CASES.glob("*.json"))


def read_case(name: str) -> Case:
    """The case of a row."""
    return parse_case((CASES / f"{name}.json").read_text("utf-8"))


def parse_case(text: str) -> Case:
    """A case; raises ``msgspec.ValidationError`` for a field that cases do not have."""
    return msgspec.json.decode(text, type=Case)


def write_stream(frames: Frames, line_end: str) -> Iterable[bytes]:
    """The bytes of each frame."""
    for frame in frames:
        text = frame if isinstance(frame, str) else f"data: {json.dumps(frame)}\n\n"
        yield text.replace("\n", line_end).encode()


def hold(value: Any, wanted: Any) -> bool:
    """Whether JSON has what is wanted: fields of objects, lists in full."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(
            hold(value.get(name), each) for name, each in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(value, list) and len(value) == len(wanted) and all(map(hold, value, wanted))
        )
    return bool(value == wanted)


def fold(chunks: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Every alternative that a client's chunks come to, and the usages that they tell."""
    choices: dict[int, dict[str, Any]] = {}
    usages = []
    for chunk in chunks:
        usages += [chunk["usage"]] if chunk.get("usage") else []
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], {})
            delta = piece["delta"]
            for name in ("content", "reasoning_content"):
                if delta.get(name):
                    choice[name] = choice.get(name, "") + delta[name]
            for call in delta.get("tool_calls") or ():
                _add_call(choice.setdefault("tool_calls", []), call)
            if piece.get("finish_reason"):
                choice["finish_reason"] = piece["finish_reason"]
    return [choices[index] for index in sorted(choices)], usages


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    if piece["index"] == len(calls):
        calls.append({"name": "", "arguments": ""})
    call, function = calls[piece["index"]], piece.get("function") or {}
    if piece.get("id"):
        call["id"] = piece["id"]
    for name in ("name", "arguments"):
        call[name] += function.get(name) or ""
