"""Small replies in every upstream format, made piece by piece, so that each piece can be broken.

The shapes are those of the recorded answers in ``cases`` (``tests/wires``), cut to what matters.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from trunkline.call import Deadlines
from trunkline.routing.ask import Ask
from trunkline.routing.fit import (
    OPENAI_CHAT,
    OPENAI_TEXT,
    SGP_CHAT,
    SGP_COMPLETION,
    ClientFormat,
)
from trunkline.routing.table import Columns, Route, Row, Target, Wire
from trunkline.wire.change import Changes
from trunkline.wire.event_stream import write_message
from trunkline.wire.mend import Stamp
from trunkline.wire.reply import Pair

Json = dict[str, Any]


def write_sse(*values: Json) -> bytes:
    """Frames of server-sent events; a value's ``type`` is its event's name where it has one."""
    return b"".join(
        b"%bdata: %b\n\n" % (f"event: {v['type']}\n".encode() if "type" in v else b"", encode(v))
        for v in values
    )


def write_events(*values: Json) -> bytes:
    """Messages of an event stream: each value has one member, the event's name."""
    out = b""
    for value in values:
        ((name, payload),) = value.items()
        headers = {":event-type": name, ":message-type": "event"}
        out += write_message(headers, encode(payload))
    return out


def encode(value: Any) -> bytes:
    """JSON as vendors write it."""
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Mould:
    """Makes the pieces of a reply in one upstream format.

    Attributes:
        begin: what comes before any content.
        text: a piece of text.
        end: the finish reason and all that follows; ``end_call`` the same after a tool call.
        whole: a whole answer of a text, a finish reason, and perhaps a call's arguments.
        call: a tool call with these arguments; None where the format has none.
        frame: any JSON as a frame of this format.
        words: the vendor's words by ours; the first of each sort.
    """

    wire: Wire
    begin: bytes
    text: Callable[[str], bytes]
    end: Callable[[str], bytes]
    whole: Callable[[str, str, str | None], bytes]
    call: Callable[[str], bytes] | None
    frame: Callable[[Json], bytes]
    words: dict[str, str]
    raw: bool = False


_CHUNK: Final = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
_PIECE: Final = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}


def _chat(delta: Json, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return write_sse({**_CHUNK, "choices": [choice]})


def _chat_whole(text: str, word: str, arguments: str | None) -> bytes:
    message: Json = {"role": "assistant", "content": text}
    if arguments is not None:
        function = {"name": "f", "arguments": arguments}
        message["tool_calls"] = [{"id": "t", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": word}
    return encode({**_CHUNK, "object": "chat.completion", "choices": [choice]})


def _chat_call(arguments: str) -> bytes:
    start = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": ""}}
    half = len(arguments) // 2
    pieces = [{"index": 0, "function": {"arguments": arguments[:half]}}]
    pieces += [{"index": 0, "function": {"arguments": arguments[half:]}}]
    return b"".join(_chat({"tool_calls": [piece]}) for piece in (start, *pieces))


def _text(text: str, reason: str | None = None) -> bytes:
    return write_sse({**_PIECE, "choices": [{"index": 0, "text": text, "finish_reason": reason}]})


def _text_whole(text: str, word: str, _arguments: str | None) -> bytes:
    return encode({**_PIECE, "choices": [{"index": 0, "text": text, "finish_reason": word}]})


def _claude_text(text: str) -> bytes:
    return write_sse(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
    )


def _claude_call(arguments: str) -> bytes:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": arguments}
    return write_sse(
        {"type": "content_block_start", "index": 1, "content_block": block},
        {"type": "content_block_delta", "index": 1, "delta": delta},
        {"type": "content_block_stop", "index": 1},
    )


def _claude_end(word: str) -> bytes:
    end = {"type": "message_delta", "delta": {"stop_reason": word}, "usage": {"output_tokens": 2}}
    return write_sse(end, {"type": "message_stop"})


def _claude_message(content: list[Json], reason: str | None) -> Json:
    usage = {"input_tokens": 3, "output_tokens": 1}
    about = {"id": "msg", "type": "message", "role": "assistant", "model": "m", "usage": usage}
    return {**about, "content": content, "stop_reason": reason}


def _claude_whole(text: str, word: str, arguments: str | None) -> bytes:
    blocks: list[Json] = [{"type": "text", "text": text}]
    if arguments is not None:
        blocks.append({"type": "tool_use", "id": "t", "name": "f", "input": "\0"})
    written = encode(_claude_message(blocks, word))
    return written.replace(b'"\\u0000"', (arguments or "").encode())


def _google(parts: list[Json], word: str | None = None) -> Json:
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}}
    return {"candidates": [candidate | ({"finishReason": word} if word else {})]}


def _google_whole(text: str, word: str, arguments: str | None) -> bytes:
    parts: list[Json] = [{"text": text}]
    if arguments is not None:
        parts.append({"functionCall": {"name": "f", "args": "\0"}})
    written = encode(_google(parts, word))
    return written.replace(b'"\\u0000"', (arguments or "").encode())


def _google_call(arguments: str) -> bytes:
    frame = write_sse(_google([{"functionCall": {"name": "f", "args": "\0"}}]))
    return frame.replace(b'"\\u0000"', arguments.encode())


def _amazon_text(text: str) -> bytes:
    return write_events({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": text}}})


def _amazon_call(arguments: str) -> bytes:
    start = {"toolUse": {"name": "f", "toolUseId": "t"}}
    delta = {"toolUse": {"input": arguments}}
    return write_events(
        {"contentBlockStart": {"contentBlockIndex": 1, "start": start}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": delta}},
        {"contentBlockStop": {"contentBlockIndex": 1}},
    )


def _amazon_end(word: str) -> bytes:
    usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    return write_events({"messageStop": {"stopReason": word}}, {"metadata": {"usage": usage}})


def _amazon_whole(text: str, word: str, arguments: str | None) -> bytes:
    blocks: list[Json] = [{"text": text}]
    if arguments is not None:
        blocks.append({"toolUse": {"name": "f", "toolUseId": "t", "input": "\0"}})
    whole = {"output": {"message": {"role": "assistant", "content": blocks}}, "stopReason": word}
    return encode(whole).replace(b'"\\u0000"', (arguments or "").encode())


def _cohere(kind: str, message: Json, index: int = 0) -> Json:
    return {"type": kind, "index": index, "delta": {"message": message}}


def _cohere_call(arguments: str) -> bytes:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = {"function": {"arguments": arguments}}
    return write_sse(
        _cohere("tool-call-start", {"tool_calls": call}),
        _cohere("tool-call-delta", {"tool_calls": more}),
        {"type": "tool-call-end", "index": 0},
    )


def _cohere_whole(text: str, word: str, arguments: str | None) -> bytes:
    message: Json = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    if arguments is not None:
        function = {"name": "f", "arguments": arguments}
        message["tool_calls"] = [{"id": "t", "type": "function", "function": function}]
    return encode({"id": "c", "finish_reason": word, "message": message})


def _engine(text: str, *, finished: bool = False) -> bytes:
    output = {"text": text, "finished": finished, "num_completion_tokens": 2}
    return write_sse({"request_id": "r", "output": output})


def _engine_end(word: str) -> bytes:
    output = {"text": "", "finished": True, "num_completion_tokens": 100 if word != "stop" else 2}
    return write_sse({"request_id": "r", "output": output})


def _engine_whole(text: str, word: str, _arguments: str | None) -> bytes:
    count = 100 if word != "stop" else 2
    return encode({"request_id": "r", "output": {"text": text, "num_completion_tokens": count}})


_OPENAI_WORDS: Final = {"stop": "stop", "length": "length", "filter": "content_filter"}
_BEGUN: Final = {"type": "message_start", "message": _claude_message([], None)}

MOULDS: Final[dict[str, Mould]] = {
    "openai chat": Mould(
        "openai",
        _chat({"role": "assistant", "content": ""}),
        lambda text: _chat({"content": text}),
        lambda word: _chat({}, word) + b"data: [DONE]\n\n",
        _chat_whole,
        _chat_call,
        write_sse,
        {**_OPENAI_WORDS, "tools": "tool_calls"},
    ),
    "openai text": Mould(
        "openai",
        _text(""),
        _text,
        lambda word: _text("", word) + b"data: [DONE]\n\n",
        _text_whole,
        None,
        write_sse,
        _OPENAI_WORDS,
        raw=True,
    ),
    "anthropic": Mould(
        "anthropic",
        write_sse(_BEGUN),
        _claude_text,
        _claude_end,
        _claude_whole,
        _claude_call,
        write_sse,
        {"stop": "end_turn", "length": "max_tokens", "filter": "refusal", "tools": "tool_use"},
    ),
    "gemini": Mould(
        "gemini",
        write_sse(_google([{"text": ""}])),
        lambda text: write_sse(_google([{"text": text}])),
        lambda word: write_sse(_google([], word)),
        _google_whole,
        _google_call,
        write_sse,
        {"stop": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY", "tools": "STOP"},
    ),
    "bedrock": Mould(
        "bedrock",
        write_events({"messageStart": {"role": "assistant"}}),
        _amazon_text,
        _amazon_end,
        _amazon_whole,
        _amazon_call,
        lambda value: write_events({"contentBlockDelta": value}),
        {
            "stop": "end_turn",
            "length": "max_tokens",
            "filter": "guardrail_intervened",
            "tools": "tool_use",
        },
    ),
    "cohere": Mould(
        "cohere",
        write_sse(_cohere("message-start", {"role": "assistant"})),
        lambda text: write_sse(_cohere("content-delta", {"content": {"text": text}})),
        lambda word: write_sse({"type": "message-end", "delta": {"finish_reason": word}}),
        _cohere_whole,
        _cohere_call,
        write_sse,
        {
            "stop": "COMPLETE",
            "length": "MAX_TOKENS",
            "filter": "ERROR_TOXIC",
            "tools": "TOOL_CALL",
        },
    ),
    "llm-engine": Mould(
        "llm-engine",
        _engine(""),
        _engine,
        _engine_end,
        _engine_whole,
        None,
        write_sse,
        {"stop": "stop", "length": "length"},
        raw=True,
    ),
}

_HELLO: Final = [{"role": "user", "content": "Hi"}]
_ASKED: Final[dict[str, tuple[ClientFormat, Json]]] = {
    "completion": (SGP_COMPLETION, {"model": "m", "prompt": "Hi"}),
    "beta chat": (SGP_CHAT, {"model": "m", "messages": _HELLO}),
    "chat": (OPENAI_CHAT, {"model": "m", "messages": _HELLO}),
    "text": (OPENAI_TEXT, {"model": "m", "prompt": "Hi"}),
}

_CHATS: Final = ("completion", "beta chat", "chat")
WAYS: Final = [
    *((name, client) for name in MOULDS if not MOULDS[name].raw for client in _CHATS),
    ("openai text", "completion"),
    ("openai text", "text"),
    ("llm-engine", "completion"),
]
"""Every upstream format with every client format that it is brought to."""


def open_pair(name: str, client: str, *, stream: bool, engine: bool = False, **more: Any) -> Pair:
    """A call of this client towards an upstream of this format, or an engine of ours."""
    mould, (form, body) = MOULDS[name], _ASKED[client]
    mode: Any = {"prompt_mode": "raw"} if mould.raw and client == "completion" else {}
    target = Target("lab", "m", Row(mould.wire), "engine" if engine else "")
    route = Route("m", (target,), Columns(**mode), Deadlines())
    ask = Ask(Stamp("id", "m", 1, {}), Changes(strict=False))
    request = form.read(encode({**body, "stream": stream, **more}))
    (pair,) = form.fit(request, route, target, ask).pairs
    return pair
