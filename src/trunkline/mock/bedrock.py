"""The mock's Amazon Bedrock: Converse and ConverseStream, with its binary event stream.

Amazon Bedrock API Reference, "Converse", "ConverseStream" and "ConverseStreamOutput"; the layout
of messages from "Event stream encoding" (docs.aws.amazon.com/lexv2/latest/dg/
event-stream-encoding.html), both read 2026-11-22.
"""

import struct
from collections.abc import Iterator
from typing import Final
from zlib import crc32

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
)

_TEXT: Final = 7
_STOPS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "content_filtered",
    "tool_calls": "tool_use",
}
_SORTS: Final = {
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


def write_whole(_asked: Asked, answer: Answer) -> Json:
    """A whole answer."""
    block: Json = {"text": answer.text}
    if answer.tool:
        value = read_arguments(answer.tool.arguments)
        block = {"toolUse": _name_tool(answer) | {"input": value}}
    written: Json = {
        "output": {"message": {"role": "assistant", "content": [block]}},
        "stopReason": _STOPS[answer.finish],
        "metrics": {"latencyMs": 1},
    }
    if answer.usage:
        written["usage"] = _write_usage(answer.usage)
    return written


def list_frames(_asked: Asked, answer: Answer) -> list[Frame]:
    """A streamed answer."""
    return [*_list(answer)]


def write_error(refusal: Refusal) -> Json:
    """An error body; the exception's name stands in a header."""
    message = refusal.message
    if refusal.sort == "context":
        message = f"prompt is too long: {WINDOW_TOKENS + 1} tokens > {WINDOW_TOKENS} maximum"
    elif refusal.sort == "filter":
        message = "The prompt was blocked by a guardrail."
    return {"message": message}


def name_error(refusal: Refusal) -> dict[str, str]:
    """The header with the exception's name."""
    other = "InternalServerException" if refusal.status >= 500 else "ValidationException"
    return {"x-amzn-errortype": _SORTS.get(refusal.status, other)}


def write_inside() -> Frame:
    """An exception in the middle of a stream."""
    body = encode({"message": "The mock failed.", "originalStatusCode": 500})
    return Frame(body, "done", "modelStreamErrorException")


def write_message(frame: Frame, _newline: bytes) -> bytes:
    """A frame as a message of the event stream, with both checksums."""
    is_failure = frame.event.endswith("Exception")
    named = {
        ":exception-type" if is_failure else ":event-type": frame.event,
        ":content-type": "application/json",
        ":message-type": "exception" if is_failure else "event",
    }
    headers = b"".join(
        struct.pack(f">B{len(name)}sBH", len(name), name.encode(), _TEXT, len(value))
        + value.encode()
        for name, value in named.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(frame.data), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + frame.data
    return message + struct.pack(">I", crc32(message))


def _write_usage(usage: tuple[int, int]) -> Json:
    used, made = usage
    return {"inputTokens": used, "outputTokens": made, "totalTokens": used + made}


def _name_tool(answer: Answer) -> Json:
    tool = answer.tool
    return {"toolUseId": tool.id, "name": tool.name} if tool else {}


def _list(answer: Answer) -> Iterator[Frame]:
    yield Frame(encode({"role": "assistant"}), "open", "messageStart")
    deltas: list[tuple[Json, str]] = [({"text": piece}, piece) for piece in answer.pieces[0]]
    if answer.tool:
        start = {"contentBlockIndex": 0, "start": {"toolUse": _name_tool(answer)}}
        yield Frame(encode(start), "open", "contentBlockStart")
        deltas = [({"toolUse": {"input": piece}}, piece) for piece in answer.split_arguments()]
    for delta, piece in deltas:
        value = {"contentBlockIndex": 0, "delta": delta}
        yield Frame(encode(value), "content", "contentBlockDelta", piece)
    yield Frame(encode({"contentBlockIndex": 0}), "finish", "contentBlockStop")
    yield Frame(encode({"stopReason": _STOPS[answer.finish]}), "finish", "messageStop")
    if answer.usage:
        counts = {"usage": _write_usage(answer.usage), "metrics": {"latencyMs": 1}}
        yield Frame(encode(counts), "usage", "metadata")


VOICE: Final = Voice(
    write_whole,
    list_frames,
    write_error,
    write_inside,
    write_message,
    "usage",
    "application/vnd.amazon.eventstream",
    name_error,
)
