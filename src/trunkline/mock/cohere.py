"""The mock's Cohere: Chat, version 2, whole and streamed.

Cohere's API reference, "Chat (V2)", "Chat with streaming (V2)" and "Errors" (read 2026-11-22).
"""

from collections.abc import Iterator
from typing import Any, Final

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
    write_sse,
)

_STOPS: Final = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "content_filter": "ERROR_TOXIC",
    "tool_calls": "TOOL_CALL",
}


def write_whole(_asked: Asked, answer: Answer) -> Json:
    """A whole answer."""
    message: Json = {"role": "assistant", "content": [{"type": "text", "text": answer.text}]}
    if answer.tool:
        message = {"role": "assistant", "tool_calls": [_write_call(answer)]}
    written: Json = {"id": answer.id, "finish_reason": _STOPS[answer.finish], "message": message}
    if answer.usage:
        written["usage"] = _write_usage(answer.usage)
    return written


def list_frames(_asked: Asked, answer: Answer) -> list[Frame]:
    """A streamed answer."""
    return [*_list(answer)]


def write_error(refusal: Refusal) -> Json:
    """An error body: a sentence and an id."""
    message = refusal.message
    if refusal.sort == "context":
        message = (
            "too many tokens: total number of tokens in the prompt cannot exceed "
            f"{WINDOW_TOKENS} - received {WINDOW_TOKENS + 1}. Try using a shorter prompt."
        )
    elif refusal.sort == "filter":
        message = "blocked input: please adjust your prompt"
    return {"id": "error-mock", "message": message}


def write_inside() -> Frame:
    """A stream that gives up: the finish reason ERROR is Cohere's own word for it."""
    end = {"type": "message-end", "delta": {"error": "The mock failed.", "finish_reason": "ERROR"}}
    return Frame(encode(end), "done", "message-end")


def _write_usage(usage: tuple[int, int]) -> Json:
    counts = {"input_tokens": usage[0], "output_tokens": usage[1]}
    return {"billed_units": counts, "tokens": counts}


def _write_call(answer: Answer, arguments: str | None = None) -> Json:
    tool = answer.tool
    if tool is None:
        return {}
    text = tool.arguments if arguments is None else arguments
    function = {"name": tool.name, "arguments": text}
    return {"id": tool.id, "type": "function", "function": function}


def _list(answer: Answer) -> Iterator[Frame]:
    begun = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
    yield _frame("message-start", {"message": begun}, "open", id=answer.id)
    yield from _list_call(answer) if answer.tool else _list_words(answer)
    end: Json = {"finish_reason": _STOPS[answer.finish]}
    if answer.usage:
        end["usage"] = _write_usage(answer.usage)
    yield _frame("message-end", end, "finish")
    yield Frame(b"[DONE]", "done")


def _list_words(answer: Answer) -> Iterator[Frame]:
    content = {"type": "text", "text": ""}
    yield _frame("content-start", {"message": {"content": content}}, "open", index=0)
    for piece in answer.pieces[0]:
        said = {"message": {"content": {"text": piece}}}
        yield _frame("content-delta", said, "content", piece, index=0)
    yield _frame("content-end", None, "finish", index=0)


def _list_call(answer: Answer) -> Iterator[Frame]:
    begun = {"message": {"tool_calls": _write_call(answer, "")}}
    yield _frame("tool-call-start", begun, "content", index=0)
    for piece in answer.split_arguments():
        more = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
        yield _frame("tool-call-delta", more, "content", piece, index=0)
    yield _frame("tool-call-end", None, "finish", index=0)


def _frame(kind: str, delta: Json | None, mark: Mark, text: str = "", **more: Any) -> Frame:
    value: Json = {"type": kind, **more}
    if delta is not None:
        value["delta"] = delta
    return Frame(encode(value), mark, kind, text)


VOICE: Final = Voice(write_whole, list_frames, write_error, write_inside, write_sse)
