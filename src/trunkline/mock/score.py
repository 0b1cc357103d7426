"""Writes down the whole answer to a request, step by step, with its fault."""

from typing import Final, NamedTuple

import msgspec

from trunkline.mock import anthropic, bedrock, cohere, gemini, llm_engine, openai
from trunkline.mock.answer import make_answer
from trunkline.mock.behaviour import Asked, Behaviour
from trunkline.mock.damage import GAP_S, Scene, damage, find_place
from trunkline.mock.fault import FAULTS, Fault
from trunkline.mock.part import (
    Head,
    Part,
    frame_parts,
    list_streamed,
    list_whole,
    write_headers,
)
from trunkline.mock.voice import Answer, Refusal, Voice, encode

_VOICES: Final = {
    "openai": openai.VOICE,
    "anthropic": anthropic.VOICE,
    "gemini": gemini.VOICE,
    "bedrock": bedrock.VOICE,
    "cohere": cohere.VOICE,
    "llm-engine": llm_engine.VOICE,
}
_RETRY_AFTER_S: Final = 1
_HEAD_BYTES: Final = 1 << 20
_EXTRA_BYTES: Final = 16
_EARLY: Final = b"HTTP/1.1 103 Early Hints\r\nlink: </mock>; rel=preload\r\n\r\n"
_CHUNKED: Final = frozenset({"early_end", "bad_chunk", "truncated_json", "garbage", "gzip"})
_TYPES: Final = {"wrong_type": "text/plain", "no_type": "", "html": "text/html; charset=utf-8"}


class Score(NamedTuple):
    """What is sent: ``parts`` with HTTP's framing, the first one being the head."""

    parts: list[Part]
    status: int = 200
    finish: str = ""
    is_bytewise: bool = False


def fit_fault(asked: Asked, behaviour: Behaviour) -> Behaviour:
    """The behaviour without a fault that does not exist for such a request."""
    fault = behaviour.fault
    if fault is None:
        return behaviour
    kind = FAULTS[fault.kind]
    if kind.applies(asked.operation, asked.dialect, stream=asked.stream):
        return behaviour
    return msgspec.structs.replace(behaviour, fault=None)


def write_score(asked: Asked, behaviour: Behaviour, seed: int, pace_s: float) -> Score:
    """The answer to a request."""
    fault = behaviour.fault
    voice = _VOICES[asked.dialect] if "/v2/" not in asked.path else _VOICES_V2[asked.dialect]
    if fault is not None and FAULTS[fault.kind].status:
        return _refuse(voice, fault)
    answer = make_answer(asked, behaviour, seed)
    pace_s = pace_s if behaviour.pace_s is None else behaviour.pace_s
    score = _write_answer(asked, answer, voice, fault, pace_s)
    if fault is not None and fault.place in ("head", "connect"):
        score = _act_at_head(score, fault)
    if behaviour.delay_s:
        score = score._replace(parts=[Part(wait_s=behaviour.delay_s), *score.parts])
    return score


def write_refusal(asked: Asked | None, status: int, message: str) -> Score:
    """An error of the mock's own: a path it does not know, a fault that is none."""
    voice = _VOICES[asked.dialect] if asked else openai.VOICE
    body = encode(voice.write_error(Refusal(status, said=message)))
    parts = frame_parts(Head(status, length=len(body)), [Part(body)])
    return Score([_join(parts)], status)


def _refuse(voice: Voice, fault: Fault) -> Score:
    kind = FAULTS[fault.kind]
    sorts = {"context_overflow": "context", "filter_error": "filter"}
    refusal = Refusal(fault.status or kind.status, sorts.get(fault.kind, ""))
    body = fault.body.encode() or encode(voice.write_error(refusal))
    headers = voice.error_headers(refusal)
    wait_s = fault.retry_after
    if wait_s is None and fault.kind in ("status_429", "status_503"):
        wait_s = _RETRY_AFTER_S
    if wait_s is not None:
        headers = headers | {"retry-after": f"{wait_s:g}"}
    if refusal.status in range(300, 400):
        headers = headers | {"location": "http://127.0.0.1:9/elsewhere"}
    head = Head(refusal.status, length=len(body), extra=write_headers(headers))
    return Score([_join(frame_parts(head, [Part(body)]))], refusal.status)


def _write_answer(
    asked: Asked, answer: Answer, voice: Voice, fault: Fault | None, pace_s: float
) -> Score:
    kind = fault.kind if fault else ""
    stream = (asked.stream or kind == "sse_for_whole") and kind != "json_for_stream"
    newline = b"\r\n" if kind == "crlf" else b"\n"
    frames = voice.list_frames(asked, answer) if stream else []
    if stream:
        parts = list_streamed(frames, voice, answer, newline)
        if pace_s:
            parts = [_pace(part, pace_s) for part in parts]
    else:
        said = answer.tool.arguments if answer.tool else answer.text
        parts = list_whole(encode(voice.write_whole(asked, answer)), answer, said)
    size_bytes = None if stream else _measure(parts)
    head = Head(200, voice.stream_type if stream else "application/json", size_bytes)
    if fault is None:
        framed = frame_parts(head, parts)
        return Score(framed if pace_s else [_join(framed)], 200, answer.finish)
    if fault.place not in ("head", "connect") or kind in ("drip", "comments"):
        if kind == "bad_utf8" and not stream:
            parts = [_merge(parts)]
        place = find_place(parts, fault.place, fault.after_chunks, stream=stream)
        scene = Scene(fault, voice, parts, frames, place, newline)
        if kind == "short_length":
            head = head._replace(length=_measure(parts[:place]))
            parts = [*parts[:place], Part(wait_s=GAP_S), *parts[place:], Part(then="cut")]
        else:
            parts = damage(scene)
    head, parts = _bend_head(head, parts, fault)
    framed = frame_parts(head, parts, is_gzip=kind == "gzip")
    return Score(framed, 200, answer.finish, kind == "byte_writes")


def _bend_head(head: Head, parts: list[Part], fault: Fault) -> tuple[Head, list[Part]]:
    """The head as the fault leaves it, with the right length where it does not lie."""
    kind = fault.kind
    if kind in _CHUNKED:
        head = head._replace(length=None)
    elif kind in _TYPES:
        head = head._replace(content_type=_TYPES[kind])
    elif kind == "informational":
        head = head._replace(before=_EARLY)
    elif kind == "long_head":
        filler = b"x" * (fault.size_bytes or _HEAD_BYTES)
        head = head._replace(extra=b"x-long: %b\r\n" % filler)
    if kind == "gzip":
        return head._replace(extra=b"content-encoding: gzip\r\n"), parts
    if kind == "long_length":
        head = head._replace(length=_measure(parts) + _EXTRA_BYTES)
        return head, [*parts, Part(then="cut")]
    if kind in ("html", "empty"):
        return head._replace(length=_measure(parts)), parts
    if head.length is not None and kind not in ("hang", "cut", "reset", "short_length"):
        head = head._replace(length=_measure(parts))
    return head, parts


def _measure(parts: list[Part]) -> int:
    return sum(len(part.data) for part in parts)


def _act_at_head(score: Score, fault: Fault) -> Score:
    """What happens before the head."""
    if fault.kind == "bad_http":
        garbage = fault.body.encode() or b"SSH-2.0-mock\r\n"
        return Score([Part(garbage, then="cut", is_raw=True)], 0)
    if fault.kind == "delay":
        return score._replace(parts=[Part(wait_s=fault.delay_s), *score.parts])
    if fault.kind == "hang":
        return Score([Part(then="hang")], 0)
    if fault.kind == "cut":
        return Score([Part(then="cut")], 0)
    if fault.kind == "reset":
        return Score([Part(then="reset")], 0)
    return score


def _pace(part: Part, pace_s: float) -> Part:
    return part._replace(wait_s=pace_s) if part.mark == "content" else part


def _merge(parts: list[Part]) -> Part:
    return parts[-1]._replace(data=b"".join(part.data for part in parts))


def _join(parts: list[Part]) -> Part:
    """One part with the bytes, texts and counts of many."""
    usage = next((part.usage for part in parts if part.usage), None)
    text = "".join(part.text for part in parts)
    data = b"".join(part.data for part in parts)
    if any(part.mark == "finish" for part in parts):
        return Part(data, "finish", text, usage)
    return Part(data, "", text, usage)


_VOICES_V2: Final = _VOICES | {"llm-engine": openai.VOICE}
"""LLM Engine's second version has OpenAI's shapes."""
