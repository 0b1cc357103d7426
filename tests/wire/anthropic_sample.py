"""What tests of the Messages API share: calls, recorded replies, and answers made one message."""

from typing import Any

import msgspec

from trunkline.chat import ChatRequest, Conversation, Text, Turn
from trunkline.wire.anthropic_request import open_call
from trunkline.wire.change import Changes
from trunkline.wire.openai_conversation import read_conversation
from trunkline.wire.openai_write import ChatWriter
from trunkline.wire.translate import TranslatedPair
from wire.sample import CASES, make_stamp, read_frames

FOLDER = CASES / "anthropic"
REPLIES = sorted(path.stem for path in (FOLDER / "reply").glob("*.sse"))
MODEL = "claude-sonnet-4-5"
HELLO = Conversation("asked", (), (Turn("user", (Text("Hi"),)),))


def write(request: dict[str, Any], model: str = MODEL, *, strict: bool = False) -> Any:
    """A client's request as the upstream's, and what was changed."""
    body = msgspec.json.encode(request)
    stream = bool(request.get("stream"))
    asked = ChatRequest(request["model"], body, stream=stream, include_usage=stream)
    changes = Changes(strict=strict)
    call = open_call(read_conversation(asked), model, changes)
    return msgspec.json.decode(call.write_request()), changes.words


def ask(**fields: Any) -> dict[str, Any]:
    """A request of one message, with further fields."""
    messages = [{"role": "user", "content": "Hi"}]
    return {"model": "asked", "messages": messages, "max_tokens": 100, **fields}


def read_reply(name: str) -> bytes:
    """A recorded reply, in the folder of the Messages API."""
    return (FOLDER / "reply" / name).read_bytes()


def read_expected(name: str) -> Any:
    """What a client has to get for a recorded reply, with arguments decoded."""
    return msgspec.json.decode(read_reply(f"{name}.client.json"))


def decode_content(shown: Any, name: str) -> Any:
    """The same with an answer in JSON decoded: only its blanks may differ."""
    if name.startswith("json"):
        shown["message"]["content"] = msgspec.json.decode(shown["message"]["content"])
    return shown


def open_pair(name: str = "") -> TranslatedPair:
    """A call whose replies go to an OpenAI client; one about JSON forces the answer's tool."""
    wanted: dict[str, Any] = {"type": "json_object" if name.startswith("json") else "text"}
    body = msgspec.json.encode(ask(response_format=wanted))
    chat = read_conversation(ChatRequest("asked", body, stream=True, include_usage=True))
    writer = ChatWriter(make_stamp(), legacy=False, done=False, include_usage=True)
    return TranslatedPair(open_call(chat, MODEL, Changes()), writer)


def fold_stream(data: bytes) -> Any:
    """A client's chunks as one choice with its usage."""
    message: dict[str, Any] = {"content": None}
    finish, usage = None, None
    for chunk in read_frames(data):
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            _add(message, choice["delta"])
    return show(message, finish, usage)


def show_answer(body: bytes) -> Any:
    """A whole answer in the same way."""
    answer = msgspec.json.decode(body)
    (choice,) = answer["choices"]
    return show(choice["message"], choice["finish_reason"], answer["usage"])


def show(message: dict[str, Any], finish: str | None, usage: Any) -> Any:
    for call in message.get("tool_calls", ()):
        call.pop("index", None)
        call["function"]["arguments"] = msgspec.json.decode(call["function"]["arguments"])
    message["content"] = message["content"] or None
    return {"message": message, "finish_reason": finish, "usage": usage}


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "role":
            message[name] = value
        elif isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        elif name == "tool_calls":
            calls = message.setdefault(name, [])
            for piece in value:
                if piece["index"] == len(calls):
                    calls.append(piece)
                else:
                    arguments = piece["function"]["arguments"]
                    calls[piece["index"]]["function"]["arguments"] += arguments
        else:
            message.setdefault(name, []).extend(value)
