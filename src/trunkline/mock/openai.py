"""The mock's OpenAI: chat completions, completions, embeddings and models.

OpenAI's API reference, "Chat", "Completions", "Embeddings", "Models" and "Error codes" (read
2026-11-22).
"""

import struct
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

from trunkline.mock.behaviour import Asked
from trunkline.mock.voice import (
    CREATED_S,
    WINDOW_TOKENS,
    Answer,
    Frame,
    Json,
    Refusal,
    Voice,
    encode,
    write_sse,
)

VECTOR: Final = (0.5, -0.25, 0.125, 0.0625)
_SORTS: Final = {
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "permission_denied"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


def write_whole(asked: Asked, answer: Answer) -> Json:
    """A whole answer."""
    if asked.operation == "models":
        model = {"id": "mock", "object": "model", "created": CREATED_S, "owned_by": "mock"}
        return {"object": "list", "data": [model]}
    if asked.operation == "embeddings":
        return _write_vectors(asked, answer)
    is_chat = asked.operation == "chat"
    choices = []
    for index, pieces in enumerate(answer.pieces):
        text = "".join(pieces)
        choice: Json = {"index": index, "finish_reason": answer.finish, "logprobs": None}
        if is_chat:
            choice["message"] = _write_message(answer, text)
        else:
            choice["text"] = text
        choices.append(choice)
    written = _begin(answer, "chat.completion" if is_chat else "text_completion")
    written["choices"] = choices
    if answer.usage:
        written["usage"] = _write_usage(answer.usage)
    return written


def list_frames(asked: Asked, answer: Answer) -> list[Frame]:
    """A streamed answer; alternatives take turns."""
    return [*(_list_chat if asked.operation == "chat" else _list_text)(asked, answer)]


def write_error(refusal: Refusal) -> Json:
    """An error body."""
    status, sort = refusal.status, refusal.sort
    kind, code = _SORTS.get(status, ("server_error" if status >= 500 else "", ""))
    message, param = refusal.message, None
    if sort == "context":
        code, param = "context_length_exceeded", "messages"
        message = f"This model's maximum context length is {WINDOW_TOKENS} tokens."
    elif sort == "filter":
        code, message = "content_filter", "The prompt was stopped by the content filter."
    kind = kind or "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code or None}}


def write_inside() -> Frame:
    """An error in the middle of a stream."""
    error = {"message": "The mock failed.", "type": "server_error", "param": None, "code": None}
    return Frame(encode({"error": error}), "done")


def _begin(answer: Answer, kind: str) -> Json:
    return {"id": answer.id, "object": kind, "created": CREATED_S, "model": answer.model}


def _write_usage(usage: tuple[int, int]) -> Json:
    used, made = usage
    return {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}


def _write_message(answer: Answer, text: str) -> Json:
    message: Json = {"role": "assistant", "content": text, "refusal": None}
    if answer.tool:
        function = {"name": answer.tool.name, "arguments": answer.tool.arguments}
        message["content"] = None
        message["tool_calls"] = [{"id": answer.tool.id, "type": "function", "function": function}]
    return message


def _list_chat(asked: Asked, answer: Answer) -> Iterator[Frame]:
    start = _begin(answer, "chat.completion.chunk")

    def write(index: int, delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return encode({**start, "choices": [choice]})

    for index in range(len(answer.pieces)):
        yield Frame(write(index, {"role": "assistant", "content": ""}), "open")
    if answer.tool:
        yield from _list_call(answer, write)
    else:
        for index, piece in _take_turns(answer):
            yield Frame(write(index, {"content": piece}), "content", text=piece)
    for index in range(len(answer.pieces)):
        yield Frame(write(index, {}, answer.finish), "finish")
    yield from _end(asked, answer, start)


def _list_call(answer: Answer, write: Any) -> Iterator[Frame]:
    tool = answer.tool
    if tool is None:
        return
    call = {"index": 0, "id": tool.id, "type": "function"}
    named = call | {"function": {"name": tool.name, "arguments": ""}}
    yield Frame(write(0, {"tool_calls": [named]}), "content")
    for piece in answer.split_arguments():
        more = {"index": 0, "function": {"arguments": piece}}
        yield Frame(write(0, {"tool_calls": [more]}), "content", text=piece)


def _list_text(asked: Asked, answer: Answer) -> Iterator[Frame]:
    start = _begin(answer, "text_completion")

    def write(index: int, text: str, finish: str | None) -> bytes:
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
        return encode({**start, "choices": [choice]})

    for index, piece in _take_turns(answer):
        yield Frame(write(index, piece, None), "content", text=piece)
    for index in range(len(answer.pieces)):
        yield Frame(write(index, "", answer.finish), "finish")
    yield from _end(asked, answer, start)


def _take_turns(answer: Answer) -> Iterator[tuple[int, str]]:
    for turn in range(max(map(len, answer.pieces))):
        for index, pieces in enumerate(answer.pieces):
            if turn < len(pieces):
                yield index, pieces[turn]


def _end(asked: Asked, answer: Answer, start: Json) -> Iterator[Frame]:
    if asked.include_usage and answer.usage:
        counts = _write_usage(answer.usage)
        yield Frame(encode({**start, "choices": [], "usage": counts}), "usage")
    yield Frame(b"[DONE]", "done")


def _write_vectors(asked: Asked, answer: Answer) -> Json:
    vector: Any = VECTOR
    if asked.body.get("encoding_format") == "base64":
        vector = b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index in range(len(asked.inputs))
    ]
    written: Json = {"object": "list", "data": data, "model": answer.model}
    if answer.usage:
        used = answer.usage[0]
        written["usage"] = {"prompt_tokens": used, "total_tokens": used}
    return written


VOICE: Final = Voice(write_whole, list_frames, write_error, write_inside, write_sse, "usage")
