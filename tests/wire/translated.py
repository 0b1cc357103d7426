"""What tests of translated formats share: what clients ask, and what they get to see."""

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st

from trunkline.chat import (
    ChatRequest,
    Conversation,
    Media,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from trunkline.wire.change import Changes
from trunkline.wire.openai_conversation import read_conversation
from trunkline.wire.openai_write import ChatWriter
from trunkline.wire.translate import TranslatedPair, UpstreamCall, UpstreamFormat
from wire.sample import CASES, make_stamp

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def list_cases(folder: str) -> list[str]:
    """Names of the recorded cases of a folder."""
    return sorted(path.stem for path in (CASES / folder).glob("*.json"))


def load_case(folder: str, name: str) -> dict[str, Any]:
    """A recorded case."""
    case = msgspec.json.decode((CASES / folder / f"{name}.json").read_bytes())
    assert isinstance(case, dict)
    return case


def make_chat(body: Any) -> Conversation:
    """A client's chat request, read."""
    stream = bool(body.get("stream"))
    return read_conversation(
        ChatRequest("m", msgspec.json.encode(body), stream=stream, include_usage=True)
    )


def translate(
    upstream: UpstreamFormat, chat: Conversation, model: str, *, strict: bool = False
) -> tuple[UpstreamCall, list[str]]:
    """A call, and the words that tell what had to change."""
    changes = Changes(strict=strict)
    return upstream.open_call(chat, model, changes), changes.words


def make_writer() -> ChatWriter:
    return ChatWriter(make_stamp(), legacy=False, done=False, include_usage=True)


def make_pair(call: UpstreamCall) -> TranslatedPair:
    """A call towards an OpenAI client."""
    return TranslatedPair(call, make_writer())


def see_whole(body: bytes) -> dict[str, Any]:
    """What a client gets out of a whole answer: message, finish reason and usage in one."""
    value = msgspec.json.decode(body)
    (choice,) = value["choices"]
    return _see(choice["message"], choice["finish_reason"], value["usage"])


def see_stream(frames: Iterable[Any]) -> dict[str, Any]:
    """What a client gets out of a stream, its pieces put together."""
    message: dict[str, Any] = {}
    finish = usage = None
    for frame in frames:
        usage = frame.get("usage") or usage
        for choice in frame["choices"]:
            finish = choice["finish_reason"] or finish
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    _add_call(message.setdefault(name, []), value[0])
                elif name in message:
                    message[name] += value
                else:
                    message[name] = value
    return _see(message, finish, usage)


def _add_call(calls: list[Any], piece: dict[str, Any]) -> None:
    slot = piece.pop("index")
    if slot == len(calls):
        calls.append(piece)
    else:
        calls[slot]["function"]["arguments"] += piece["function"]["arguments"]


def _see(message: dict[str, Any], finish: Any, usage: Any) -> dict[str, Any]:
    seen = {name: value for name, value in message.items() if value and name != "role"}
    if usage is not None:
        seen["usage"] = {name: value for name, value in usage.items() if value is not None}
        for name in ("prompt_tokens_details", "completion_tokens_details"):
            if name in seen["usage"]:
                told = seen["usage"][name].items()
                seen["usage"][name] = {key: count for key, count in told if count is not None}
    return {**seen, "finish_reason": finish}


_CHOICES = [
    ToolChoice("auto"),
    ToolChoice("none"),
    ToolChoice("required"),
    ToolChoice("named", "f"),
]
_words = st.text(max_size=8)
_names = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=5,
)
objects = st.dictionaries(st.text(max_size=5), _json, max_size=3)
_cache = st.none() | st.just({"type": "ephemeral"}) | objects
_texts = st.builds(Text, _words, _cache)
_media = st.builds(
    Media,
    st.sampled_from(["image", "document", "audio"]),
    media_type=st.sampled_from(["image/png", "application/pdf", "audio/wav", "text/plain", "x/y"]),
    url=st.sampled_from(["", "", "https://a.example/b.png"]),
    data=st.sampled_from(["", "aGk=", "_-8"]),
    detail=st.sampled_from(["", "high"]),
    name=_words,
    cache=_cache,
)
_calls = st.builds(ToolUse, _words, _names, objects.map(lambda v: msgspec.json.encode(v).decode()))
_results = st.builds(
    ToolResult, _words, _names, st.lists(_texts | _media, max_size=2).map(tuple), _cache
)
_thoughts = st.builds(Reasoning, _words, _words, st.sampled_from(["", "aGk="]))
_turns = st.lists(
    st.builds(
        Turn,
        st.just("user"),
        st.lists(_texts | _media | _results, min_size=1, max_size=3).map(tuple),
    )
    | st.builds(
        Turn,
        st.just("assistant"),
        st.lists(_texts | _calls | _thoughts, min_size=1, max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=4,
).map(tuple)
_schemas = st.none() | objects | st.just({"type": "object", "properties": {"a": {"type": "null"}}})
_parameters = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 1000),
        "max_tokens": st.integers(0, 10**6),
        "stop": st.lists(_words, min_size=1, max_size=4),
        "frequency_penalty": st.floats(-2, 2),
        "presence_penalty": st.floats(-2, 2),
        "seed": st.integers(-5, 5),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "high", "xhigh", "odd"]),
        "metadata": objects | st.none() | _words,
        "service_tier": st.sampled_from(["auto", "flex", "priority", "scale", "odd"]) | objects,
        "vendor_extra": _json,
    },
)
conversations = st.builds(
    Conversation,
    st.just("m"),
    st.lists(_texts, max_size=2).map(tuple),
    _turns,
    st.lists(
        st.builds(Tool, _names, _words, _schemas, st.none() | st.booleans(), _cache), max_size=2
    ).map(tuple),
    st.none() | st.sampled_from(_CHOICES),
    st.none() | st.booleans(),
    st.none() | st.builds(OutputFormat, _schemas, _names, _words, st.none() | st.booleans()),
    _parameters,
    stream=st.booleans(),
)
"""Conversations of every sort, few of which any upstream would take."""

said_words = st.text(min_size=1, max_size=20).filter(lambda text: text.strip())
tool_names = _names
