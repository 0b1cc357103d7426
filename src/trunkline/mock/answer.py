"""Makes the answer to a request: an echo or seeded words, honest counts, honest ends."""

import random
import re
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

import msgspec

from trunkline.mock.behaviour import Asked, Behaviour, Finish, ToolCall
from trunkline.mock.voice import Answer, encode

_WORDS: Final = re.findall(
    r"\w+",
    "line signal bridge river paper garden copper winter letter window silver harbour station "
    "morning forest engine mirror thunder orange pencil market island ladder needle",
)
_PIECE: Final = re.compile(r"\s*\S+|\s+\Z")
_ECHO: Final = "echo "
_HUGE_BYTES: Final = 1 << 20
_LIE: Final = 1_000_000
_BROKEN_ARGUMENTS: Final = '{"city": "Par'
_SAMPLES: Final[dict[Any, Any]] = {
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "null": None,
}


def make_answer(asked: Asked, behaviour: Behaviour, seed: int) -> Answer:
    """What is said to a request; the same for the same request, behaviour and seed."""
    key = f"{seed}/{asked.model}/{asked.prompt}"
    tool = behaviour.tool or _choose_tool(asked)
    finish: Finish = "tool_calls" if tool else "stop"
    alternatives = []
    for index in range(asked.n if asked.dialect in ("openai", "llm-engine") else 1):
        pieces = () if tool else _say(asked, behaviour, f"{key}/{index}")
        pieces = _go_on(pieces, asked.said)
        if asked.max_tokens is not None and len(pieces) > asked.max_tokens:
            pieces, finish = pieces[: asked.max_tokens], "length"
        alternatives.append(pieces)
    made = sum(map(len, alternatives)) or (len(tool.arguments.split()) if tool else 0)
    answer = Answer(
        id=f"mock-{blake2b(key.encode(), digest_size=6).hexdigest()}",
        model=asked.model,
        pieces=tuple(_regroup(pieces, behaviour.chunks) for pieces in alternatives),
        tool=tool,
        finish=behaviour.finish or finish,
        usage=behaviour.usage or (asked.prompt_tokens, made),
    )
    return _bend(asked, answer, behaviour)


def _bend(asked: Asked, answer: Answer, behaviour: Behaviour) -> Answer:
    """The answer with what a fault changes of its sense."""
    fault = behaviour.fault
    if fault is None:
        return answer
    change: dict[str, Any] = {}
    if fault.kind in ("length_finish", "filter_finish"):
        pieces = tuple(each[: max(fault.after_chunks, 1)] for each in answer.pieces)
        made = sum(map(len, pieces))
        finish = "length" if fault.kind == "length_finish" else "content_filter"
        change = {"pieces": pieces, "tool": None, "finish": finish}
        change["usage"] = (asked.prompt_tokens, made)
        if fault.kind == "length_finish" and asked.max_tokens:
            # LLM Engine tells of a limit by the count alone.
            change["usage"] = (asked.prompt_tokens, asked.max_tokens)
    elif fault.kind == "no_usage":
        change = {"usage": None}
    elif fault.kind == "lying_usage":
        change = {"usage": (_LIE, _LIE)}
    elif fault.kind == "huge_frame":
        huge = "x" * (fault.size_bytes or _HUGE_BYTES)
        change = {"pieces": tuple((*each, huge) for each in answer.pieces)}
    elif fault.kind == "bad_tool_arguments":
        name = asked.tool or next(iter(asked.tools), "lookup")
        broken = ToolCall(name, fault.body or _BROKEN_ARGUMENTS)
        change = {"tool": broken, "finish": "tool_calls"}
    return msgspec.structs.replace(answer, **change)


def _say(asked: Asked, behaviour: Behaviour, key: str) -> tuple[str, ...]:
    if asked.operation == "embeddings":
        return ()
    if behaviour.text is not None:
        return tuple(_PIECE.findall(behaviour.text))
    if asked.prompt.startswith(_ECHO):
        return tuple(_PIECE.findall(asked.prompt.removeprefix(_ECHO)))
    chance = random.Random(key)  # noqa: S311 - the same words again, not secrets
    words = chance.choices(_WORDS, k=chance.randint(8, 16))
    return (words[0].capitalize(), *(f" {word}" for word in words[1:-1]), f" {words[-1]}.")


def _go_on(pieces: tuple[str, ...], said: str) -> tuple[str, ...]:
    """What is left to be said; all of it where the answer does not begin so."""
    if not said or not "".join(pieces).startswith(said):
        return pieces
    left = []
    for piece in pieces:
        cut = min(len(said), len(piece))
        said = said[cut:]
        left.append(piece[cut:])
    return tuple(filter(None, left))


def _regroup(pieces: tuple[str, ...], chunks: int | None) -> tuple[str, ...]:
    """The same text in so many pieces, or fewer where it is too short."""
    if chunks is None:
        return pieces
    text = "".join(pieces)
    edges = [place * len(text) // chunks for place in range(chunks + 1)]
    cut = (text[start:end] for start, end in pairwise(edges))
    return tuple(piece for piece in cut if piece)


def _choose_tool(asked: Asked) -> ToolCall | None:
    if not asked.tool:
        return None
    schema = asked.tools.get(asked.tool, {})
    return ToolCall(asked.tool, encode(_make_sample(schema)).decode())


def _make_sample(schema: Any) -> Any:
    """A small value that fits a JSON schema's types, required members and enumerations."""
    if not isinstance(schema, dict):
        return {}
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()
    if kind == "string":
        return "Paris"
    if kind != "object":
        return _SAMPLES.get(kind)
    members: dict[str, Any] = schema.get("properties") or {}
    return {name: _make_sample(members.get(name)) for name in schema.get("required") or members}
