"""What tests of emulated tools share: a pair, answers in the form, and a client that folds."""

import itertools
import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trunkline.chat import ChatRequest
from trunkline.wire.emulate_form import Form
from trunkline.wire.emulate_reply import EmulatedPair
from trunkline.wire.emulate_request import Emulation
from trunkline.wire.openai_chat import ChatPair
from wire.sample import make_chunk, make_stamp, read_frames, write_frames

TEXT: Final = Emulation({}, Form(frozenset({"now", "add"}), "text", single=False))
JSON: Final = Emulation({}, Form(frozenset({"now", "add"}), "json", single=False))
LEGACY: Final = Emulation({}, Form(frozenset({"now", "add"}), "text", single=True), legacy=True)
PLAIN: Final = Emulation({})
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
COUNT = {**make_chunk(), "choices": [], "usage": USAGE}
ROLE = make_chunk({"role": "assistant", "content": ""})
STOP = make_chunk({}, "stop")
MESSAGE = '{"message":"Hé \\"👋\\"\\ud83d\\udc4b\\n"}'
CALLS = (
    '{"tool_calls": [{"name": "add", "arguments": {"a": [1, 2.50], "b": "}]\\\\\\""}},\n'
    '{"name":"now","arguments":{}}]}'
)
ADD, NOW = '{"a": [1, 2.50], "b": "}]\\\\\\""}', "{}"


def open_pair(
    emulation: Emulation = TEXT, *, usage: bool = False, done: bool = False
) -> EmulatedPair:
    """A pair whose calls have the ids call_0, call_1 and so on."""
    request = ChatRequest("asked/model", b"{}", stream=True, include_usage=usage)
    inner = ChatPair(request, b'{"model":"m"}', make_stamp(), done=done)
    ids = itertools.count()
    return EmulatedPair(inner, emulation, lambda: f"call_{next(ids)}")


def make_answer(*contents: object, reason: str = "stop", **message: Any) -> bytes:
    choices = [
        {
            "index": at,
            "message": {"role": "assistant", "content": content, **message},
            "finish_reason": reason,
        }
        for at, content in enumerate(contents)
    ]
    kind = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps({**kind, "choices": choices, "usage": USAGE}).encode()


def make_stream(pieces: Sequence[str], reason: str = "stop", *more: Any) -> bytes:
    contents = [make_chunk({"content": piece}) for piece in pieces]
    return write_frames(ROLE, *contents, make_chunk({}, reason), *more)


def read_whole(content: object, emulation: Emulation = TEXT, reason: str = "stop") -> Any:
    """Message and finish reason of a whole answer."""
    answer = open_pair(emulation).read_answer(make_answer(content, reason=reason))
    [choice] = msgspec.json.decode(answer.body)["choices"]
    assert answer.finish_reason == choice["finish_reason"]
    return choice["message"], choice["finish_reason"]


def show_call(at: int, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{at}", "type": "function", "function": function}


def add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Put a delta into a message as the official clients do."""
    if delta.get("content"):
        message["content"] = (message["content"] or "") + delta["content"]
    if "function_call" in delta:
        call = message.setdefault("function_call", {"name": "", "arguments": ""})
        for name, text in delta["function_call"].items():
            call[name] += text
    for piece in delta.get("tool_calls", ()):
        calls = message.setdefault("tool_calls", [])
        if piece["index"] == len(calls):
            assert piece["function"]["name"]
            calls.append({name: piece[name] for name in ("id", "type", "function")})
        else:
            assert piece.keys() == {"index", "function"}
            assert piece["function"].keys() == {"arguments"}
            calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]


def fold(out: bytes, index: int = 0) -> Any:
    """Message and finish reason of one choice of a streamed answer."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    reason = None
    for frame in read_frames(out):
        for choice in frame["choices"] if frame != "[DONE]" else ():
            if choice["index"] == index:
                assert reason is None
                add_delta(message, choice["delta"])
                reason = choice["finish_reason"]
    return message, reason


def cut_text(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted(place for place in places if place < len(text)), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges) if end > start]
