"""A model's server of any wire format: scripts that answer whole and streamed, always the same.

with run_upstream(speaking("anthropic")) as upstream: ...
"""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zlib import crc32

from gateway import PIECES, write_answer, write_frames
from scripted import Peer, Request, Script
from trunkline.routing.table import Wire

Json = dict[str, Any]
STREAMS = {"gemini": "stream", "bedrock": "-stream", "llm-engine": "-stream"}
"""What a path has where it, not the body, asks for a stream."""


def speaking(wire: Wire, pieces: Sequence[str] = PIECES) -> Script:
    """Build a script that answers every request in the wire's own words: 7 tokens in, 3 out."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if is_streamed(wire, request):
                await peer.begin_sse()
                for frame in write_stream(wire, request, pieces):
                    await peer.chunk(frame)
                await peer.end_chunked()
            else:
                await peer.answer(write_whole(wire, request, pieces))

    return script


def is_streamed(wire: Wire, request: Request) -> bool:
    """Whether a request asks for a stream."""
    sign = STREAMS.get(wire)
    if sign is not None and "/v2/" not in request.target:
        return sign in request.target.lower()
    return bool(json.loads(request.body).get("stream"))


def write_whole(wire: Wire, request: Request, pieces: Sequence[str] = PIECES) -> bytes:
    """A whole answer."""
    text = "".join(pieces)
    answers: dict[Wire, Callable[[], Json]] = {
        "openai": lambda: write_answer(request, json.loads(request.body), pieces),
        "llm-engine": lambda: _answer_prompt(request, text),
        "anthropic": lambda: {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 7, "output_tokens": 3},
        },
        "gemini": lambda: _candidate(text, "STOP"),
        "bedrock": lambda: {
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10},
        },
        "cohere": lambda: {
            "id": "c1",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
            "usage": {"tokens": {"input_tokens": 7, "output_tokens": 3}},
        },
    }
    return json.dumps(answers[wire]()).encode()


def write_stream(wire: Wire, request: Request, pieces: Sequence[str] = PIECES) -> Iterator[bytes]:
    """The events of a streamed answer, each as its bytes."""
    if wire == "bedrock":
        yield from _stream_bedrock(pieces)
        return
    if wire == "openai" or "/v2/" in request.target:
        frames: Iterator[Any] = write_frames(request, json.loads(request.body), pieces)
    elif wire == "anthropic":
        frames = _stream_anthropic(pieces)
    elif wire == "gemini":
        frames = (
            _candidate(piece, "STOP" if piece is pieces[-1] else None, last=piece is pieces[-1])
            for piece in pieces
        )
    elif wire == "cohere":
        frames = _stream_cohere(pieces)
    else:
        frames = _stream_prompt(pieces)
    for frame in frames:
        data = frame if isinstance(frame, str) else json.dumps(frame)
        event = f"event: {frame['type']}\n" if isinstance(frame, dict) and "type" in frame else ""
        yield f"{event}data: {data}\n\n".encode()


def _answer_prompt(request: Request, text: str) -> Json:
    if "/v2/" in request.target:
        return write_answer(request, json.loads(request.body), [text])
    return {
        "request_id": "r1",
        "output": {"text": text, "num_prompt_tokens": 7, "num_completion_tokens": 3},
    }


def _stream_prompt(pieces: Sequence[str]) -> Iterator[Json]:
    for count, piece in enumerate(pieces, 1):
        output = {
            "text": piece,
            "finished": count == len(pieces),
            "num_prompt_tokens": 7,
            "num_completion_tokens": count,
        }
        yield {"request_id": "r1", "output": output}


def _candidate(text: str, reason: str | None, *, last: bool = True) -> Json:
    candidate: Json = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}
    if reason:
        candidate["finishReason"] = reason
    answer: Json = {"candidates": [candidate], "responseId": "g1", "modelVersion": "m"}
    if last:
        answer["usageMetadata"] = {
            "promptTokenCount": 7,
            "candidatesTokenCount": 3,
            "totalTokenCount": 10,
        }
    return answer


def _stream_anthropic(pieces: Sequence[str]) -> Iterator[Json]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 7, "output_tokens": 1}
    yield {"type": "message_start", "message": message | {"usage": usage}}
    block = {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    for piece in pieces:
        delta = {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": 3}}
    yield {"type": "message_stop"}


def _stream_cohere(pieces: Sequence[str]) -> Iterator[Json]:
    yield {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}}
    content = {"type": "text", "text": ""}
    yield {"type": "content-start", "index": 0, "delta": {"message": {"content": content}}}
    for piece in pieces:
        said = {"message": {"content": {"text": piece}}}
        yield {"type": "content-delta", "index": 0, "delta": said}
    yield {"type": "content-end", "index": 0}
    usage = {"tokens": {"input_tokens": 7, "output_tokens": 3}}
    yield {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}


def _stream_bedrock(pieces: Sequence[str]) -> Iterator[bytes]:
    yield _message("messageStart", {"role": "assistant"})
    for piece in pieces:
        yield _message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}})
    yield _message("contentBlockStop", {"contentBlockIndex": 0})
    yield _message("messageStop", {"stopReason": "end_turn"})
    usage = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}
    yield _message("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})


def _message(kind: str, payload: Json) -> bytes:
    """An event in AWS's binary framing, with both checksums."""
    named = {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}
    headers = b"".join(
        b"%c%b\x07%b%b" % (len(name), name.encode(), struct.pack(">H", len(value)), value.encode())
        for name, value in named.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + body
    return message + struct.pack(">I", crc32(message))
