"""The mock's Gemini: generateContent and streamGenerateContent.

Gemini API reference, "Generating content", and Google's API design guide, "Errors" (AIP-193),
both read 2026-11-22.
"""

from collections.abc import Iterator
from typing import Any, Final

from trunkline.mock.behaviour import Asked
from trunkline.mock.voice import (
    WINDOW_TOKENS,
    Answer,
    Frame,
    Json,
    Refusal,
    Voice,
    encode,
    read_arguments,
    write_sse,
)

_STOPS: Final = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "tool_calls": "STOP",
}
_SORTS: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def write_whole(_asked: Asked, answer: Answer) -> Json:
    """A whole answer."""
    return _write(answer, [_write_part(answer)], answer.finish)


def list_frames(_asked: Asked, answer: Answer) -> list[Frame]:
    """A streamed answer; the last frame has the finish reason and the counts."""
    return [*_list(answer)]


def write_error(refusal: Refusal) -> Json:
    """An error body."""
    status, sort = refusal.status, refusal.sort
    kind = _SORTS.get(status, "UNAVAILABLE" if status >= 500 else "INVALID_ARGUMENT")
    message = refusal.message
    if sort == "context":
        message = (
            f"The input token count ({WINDOW_TOKENS + 1}) exceeds the maximum number of tokens "
            f"allowed ({WINDOW_TOKENS})."
        )
    elif sort == "filter":
        message = "The prompt was blocked."
    return {"error": {"code": status, "message": message, "status": kind}}


def write_inside() -> Frame:
    """An error in the middle of a stream."""
    error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
    return Frame(encode({"error": error}), "done")


def _write_part(answer: Answer) -> Json:
    if answer.tool is None:
        return {"text": answer.text}
    args = read_arguments(answer.tool.arguments)
    return {"functionCall": {"name": answer.tool.name, "args": args}}


def _write(answer: Answer, parts: list[Json], finish: str | None) -> Json:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
    written: Json = {"candidates": [candidate], "responseId": answer.id}
    written["modelVersion"] = answer.model
    if finish:
        candidate["finishReason"] = _STOPS[finish]
        if answer.usage:
            used, made = answer.usage
            written["usageMetadata"] = {
                "promptTokenCount": used,
                "candidatesTokenCount": made,
                "totalTokenCount": used + made,
            }
    return written


def _list(answer: Answer) -> Iterator[Frame]:
    if answer.tool:
        data = encode(_write(answer, [_write_part(answer)], None))
        yield Frame(data, "content", text=answer.tool.arguments)
    else:
        for piece in answer.pieces[0]:
            yield Frame(encode(_write(answer, [{"text": piece}], None)), "content", text=piece)
    yield Frame(encode(_write(answer, [{"text": ""}], answer.finish)), "finish")


VOICE: Final = Voice(write_whole, list_frames, write_error, write_inside, write_sse)
