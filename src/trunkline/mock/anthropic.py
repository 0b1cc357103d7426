"""The mock's Anthropic: the Messages API, whole and streamed.

Anthropic's API reference, "Messages", "Streaming messages" and "Errors" (read 2026-11-22).
"""

from collections.abc import Iterator
from typing import Final

from trunkline.mock.behaviour import Asked
from trunkline.mock.voice import (
    WINDOW_TOKENS,
    Answer,
    Frame,
    Json,
    Mark,
    Refusal,
    Voice,
    encode,
    read_arguments,
    write_sse,
)

_STOPS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
}
_SORTS: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def write_whole(_asked: Asked, answer: Answer) -> Json:
    """A whole answer."""
    block: Json = {"type": "text", "text": answer.text}
    if answer.tool:
        block = _name_tool(answer) | {"input": read_arguments(answer.tool.arguments)}
    message = _begin(answer)
    message |= {"content": [block], "stop_reason": _STOPS[answer.finish]}
    if answer.usage:
        message["usage"] = {"input_tokens": answer.usage[0], "output_tokens": answer.usage[1]}
    return message


def list_frames(_asked: Asked, answer: Answer) -> list[Frame]:
    """A streamed answer."""
    return [*_list(answer)]


def write_error(refusal: Refusal) -> Json:
    """An error body."""
    status, sort = refusal.status, refusal.sort
    kind = _SORTS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    message = refusal.message
    if sort == "context":
        message = f"prompt is too long: {WINDOW_TOKENS + 1} tokens > {WINDOW_TOKENS} maximum"
    elif sort == "filter":
        message = "Output blocked by content filtering policy"
    return {"type": "error", "error": {"type": kind, "message": message}}


def write_inside() -> Frame:
    """An error in the middle of a stream."""
    error = {"type": "overloaded_error", "message": "Overloaded"}
    return Frame(encode({"type": "error", "error": error}), "done", "error")


def _begin(answer: Answer) -> Json:
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _name_tool(answer: Answer) -> Json:
    tool = answer.tool
    return {"type": "tool_use", "id": tool.id, "name": tool.name} if tool else {}


def _list(answer: Answer) -> Iterator[Frame]:
    message = _begin(answer)
    if answer.usage:
        message["usage"] = {"input_tokens": answer.usage[0], "output_tokens": 1}
    yield _frame({"type": "message_start", "message": message}, "open")
    block: Json = {"type": "text", "text": ""}
    deltas = [({"type": "text_delta", "text": piece}, piece) for piece in answer.pieces[0]]
    if answer.tool:
        block = _name_tool(answer) | {"input": {}}
        pieces = answer.split_arguments()
        deltas = [({"type": "input_json_delta", "partial_json": piece}, piece) for piece in pieces]
    yield _frame({"type": "content_block_start", "index": 0, "content_block": block}, "open")
    for delta, piece in deltas:
        yield _frame({"type": "content_block_delta", "index": 0, "delta": delta}, "content", piece)
    yield _frame({"type": "content_block_stop", "index": 0}, "finish")
    stop = {"stop_reason": _STOPS[answer.finish], "stop_sequence": None}
    end: Json = {"type": "message_delta", "delta": stop}
    if answer.usage:
        end["usage"] = {"output_tokens": answer.usage[1]}
    yield _frame(end, "finish")
    yield _frame({"type": "message_stop"}, "done")


def _frame(value: Json, mark: Mark, text: str = "") -> Frame:
    return Frame(encode(value), mark, value["type"], text)


VOICE: Final = Voice(write_whole, list_frames, write_error, write_inside, write_sse)
