"""Recorded Gemini answers, whole and streamed, and what an OpenAI client shall see of each."""

from typing import Any

import msgspec

from trunkline.chat import Conversation, Text, Turn
from trunkline.wire import gemini_request
from trunkline.wire.change import Changes
from trunkline.wire.openai_write import ChatWriter
from trunkline.wire.translate import TranslatedPair
from wire.sample import make_stamp, play, read_case, read_frames

USAGE = {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}
CASES: dict[str, dict[str, Any]] = {
    "text": {"content": "Blåbær — 🫐 yes"},
    "tools": {
        "content": "I shall look.",
        "tool_calls": ["get_weather", "get_weather", "get_time"],
        "finish_reason": "tool_calls",
        "usage": {
            "prompt_tokens": 40,
            "completion_tokens": 80,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 16},
            "completion_tokens_details": {"reasoning_tokens": 60},
        },
    },
    "thinking": {
        "content": "Two.",
        "reasoning_content": "**Count** one, two.",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "**Count** one, two.", "signature": "d29yZHM="}
        ],
        "usage": {
            "prompt_tokens": 17,
            "completion_tokens": 93,
            "total_tokens": 110,
            "prompt_tokens_details": {"audio_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 90},
        },
    },
    "structured": {"content": '{"name": "Ada"}'},
    "cut_short": {"content": "Once upon", "finish_reason": "length"},
    "blocked_prompt": {
        "content": "",
        "finish_reason": "content_filter",
        "usage": {"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 8},
    },
    "unsafe": {"content": "First you", "finish_reason": "content_filter"},
    "grounded": {
        "content": "Ålesund won. Molde lost.",
        "annotations": [
            ("https://a.example/1", "a.example", 0, 12),
            ("https://b.example/2", "b", 0, 12),
            ("https://b.example/2", "b", 13, 24),
            ("https://a.example/1", "a.example", 13, 24),
        ],
    },
    "recited": {
        "content": "Å shall I compare",
        "annotations": [
            ("https://c.example/3", "", 2, 8),
            ("https://d.example/4", "d", 0, 1),
        ],
    },
    "gateway": {
        "content": "Hi",
        "tool_calls": ["get_time"],
        "finish_reason": "tool_calls",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    },
}
STREAMS = {name: read_case(f"gemini/stream/{name}.sse") for name in CASES}


def open_pair(*, stream: bool = True) -> TranslatedPair:
    chat = Conversation("m", (), (Turn("user", (Text("Hi"),)),), stream=stream)
    call = gemini_request.open_call(chat, "gemini-3.8-flash", Changes())
    writer = ChatWriter(make_stamp(), legacy=False, done=False, include_usage=True)
    return TranslatedPair(call, writer)


def play_stream(*pieces: bytes) -> bytes:
    return play(open_pair().open_stream(), *pieces)


def read_answer(body: bytes) -> dict[str, Any]:
    answer = msgspec.json.decode(open_pair(stream=False).read_answer(body).body)
    assert isinstance(answer, dict)
    return answer


def fold(stream: bytes) -> dict[str, Any]:
    """The whole answer that a client makes of its chunks."""
    chunks = list(read_frames(stream))
    usage = None if chunks[-1]["choices"] else chunks.pop()["usage"]
    message: dict[str, Any] = {"content": None}
    reason = None
    for chunk in chunks:
        (choice,) = chunk["choices"]
        for name, value in choice["delta"].items():
            if name in ("content", "reasoning_content"):
                message[name] = (message.get(name) or "") + value
            elif name == "tool_calls":
                _fold_calls(message.setdefault(name, []), value)
            elif isinstance(value, list):
                message.setdefault(name, []).extend(value)
            else:
                message[name] = value
        reason = choice["finish_reason"] or reason
    return {"message": message, "finish_reason": reason, "usage": usage}


def _fold_calls(calls: list[Any], pieces: list[Any]) -> None:
    for piece in pieces:
        slot = piece.pop("index")
        assert slot in (len(calls), len(calls) - 1)
        if slot == len(calls):
            calls.append(piece)
        else:
            calls[slot]["function"]["arguments"] += piece["function"]["arguments"]
