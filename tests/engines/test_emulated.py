"""Tools for the default model, whose template knows none: real calls from the real engine."""

import http.client
import json
from typing import Any

import jsonschema_rs
import pytest

from trunkline.chat import ChatRequest
from trunkline.engines.process import EngineProcess
from trunkline.wire.body import read_fields
from trunkline.wire.emulate_reply import EmulatedPair
from trunkline.wire.emulate_request import emulate_tools
from trunkline.wire.llama_cpp import EnginePair
from trunkline.wire.mend import Stamp
from trunkline.wire.openai_chat import ChatPair, write_fields
from trunkline.wire.reply import StreamReply
from wire.emulated import fold

pytestmark = pytest.mark.model

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 40},
        "unit": {"$ref": "#/$defs/Unit"},
        "days": {"type": "array", "items": {"$ref": "#/$defs/Day"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["city", "unit", "days"],
    "additionalProperties": False,
    "$defs": {"Unit": {"enum": ["celsius", "kelvin"]}, "Day": {"type": "integer", "minimum": 1}},
}
SCHEMAS: dict[str, Any] = {
    "get_weather": WEATHER,
    "set_alarm": {
        "type": "object",
        "properties": {"at": {"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$"}},
        "required": ["at"],
    },
    "now": {"type": "object", "maxProperties": 0},
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "set_alarm", "parameters": SCHEMAS["set_alarm"]}},
    {"type": "function", "function": {"name": "now", "description": "The time."}},
]
ASKED = {"role": "user", "content": "What is the weather in Oslo, in celsius?"}
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def call(engine: EngineProcess, *, stream: bool = False, **given: Any) -> tuple[Any, str]:
    """Message and finish reason as a client sees them, whole or folded from its stream."""
    body = {"model": "m", "messages": [ASKED], "tools": TOOLS, "temperature": 0.8, "seed": 7}
    body |= {"max_tokens": 400, "stream": stream, **given}
    request = ChatRequest("m", json.dumps(body).encode(), stream=stream, include_usage=False)
    emulation = emulate_tools(read_fields(request.body))
    assert emulation is not None
    written = write_fields(emulation.fields, request, "smol")
    stamp = Stamp("chatcmpl-1", "m", 1)
    pair = EnginePair(EmulatedPair(ChatPair(request, written, stamp, done=False), emulation))
    if stream:
        message, reason = fold(exchange(engine, pair, pair.open_stream()))
        return message, reason
    answer = pair.read_answer(exchange(engine, pair, pair.open_fold()))
    [choice] = json.loads(answer.body)["choices"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    return choice["message"], choice["finish_reason"]


def exchange(engine: EngineProcess, pair: EnginePair, reply: StreamReply) -> bytes:
    """Send the pair's request to the engine itself and play its answer."""
    peer = http.client.HTTPConnection(engine.address.removeprefix("http://"), timeout=120)
    try:
        headers = {"Authorization": f"Bearer {engine.key}", "Content-Type": "application/json"}
        peer.request("POST", f"/v1{pair.path}", pair.write_request(), headers)
        answer = peer.getresponse()
        assert answer.status == 200, answer.read()
        out = []
        while data := answer.read1():
            out.append(reply.feed(data))
        return b"".join([*out, reply.finish()])
    finally:
        peer.close()


def check_calls(message: Any) -> list[str]:
    """The names of the calls, whose arguments must satisfy their tools' own schemas."""
    assert message["content"] is None
    for made in message["tool_calls"]:
        assert made["type"] == "function"
        arguments = json.loads(made["function"]["arguments"])
        jsonschema_rs.validate(SCHEMAS[made["function"]["name"]], arguments)
    names = [made["id"] for made in message["tool_calls"]]
    assert len(set(names)) == len(names)
    return [made["function"]["name"] for made in message["tool_calls"]]


STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@STREAM
def test_a_named_tool_is_called(engine: EngineProcess, *, stream: bool) -> None:
    for name in SCHEMAS:
        choice = {"type": "function", "function": {"name": name}}
        message, reason = call(engine, stream=stream, tool_choice=choice)
        assert reason == "tool_calls"
        assert check_calls(message) == [name]


@STREAM
def test_a_required_tool_is_called(engine: EngineProcess, *, stream: bool) -> None:
    message, reason = call(engine, stream=stream, tool_choice="required")
    if reason == "length":  # a small model may go on calling
        message["tool_calls"].pop()
    else:
        assert reason == "tool_calls"
    assert check_calls(message)


@STREAM
def test_tools_one_by_one(engine: EngineProcess, *, stream: bool) -> None:
    message, _ = call(engine, stream=stream, tool_choice="required", parallel_tool_calls=False)
    assert len(check_calls(message)) == 1


@STREAM
def test_the_model_may_answer_instead(engine: EngineProcess, *, stream: bool) -> None:
    for seed in range(3):
        message, reason = call(engine, stream=stream, seed=seed)
        if reason == "tool_calls":
            check_calls(message)
        elif reason == "stop":
            assert message.keys() == {"role", "content"}
            assert message["content"]
        else:
            assert reason == "length"


@STREAM
def test_a_conversation_goes_on_after_a_result(engine: EngineProcess, *, stream: bool) -> None:
    asked, _ = call(engine, tool_choice=NAMED)
    result = {"role": "tool", "tool_call_id": asked["tool_calls"][0]["id"], "content": '{"t": 7}'}
    messages = [ASKED, asked, result]
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {
        "type": "object", "properties": {"degrees": {"type": "integer", "maximum": 99}},
        "required": ["degrees"], "additionalProperties": False,
    }}}  # fmt: skip
    for more in ({}, {"response_format": wanted}, {"tool_choice": "none"}):
        message, reason = call(engine, stream=stream, messages=messages, **more)
        if reason == "tool_calls":
            check_calls(message)
        elif reason == "stop" and "response_format" in more:
            assert json.loads(message["content"]).keys() == {"degrees"}


@STREAM
def test_a_cut_call_is_not_shown_as_whole(engine: EngineProcess, *, stream: bool) -> None:
    for most in (5, 20, 25, 30):
        message, reason = call(engine, stream=stream, tool_choice=NAMED, max_tokens=most)
        made = message.get("tool_calls", [])
        if reason == "length" and stream:
            for begun in made:
                with pytest.raises(json.JSONDecodeError):
                    json.loads(begun["function"]["arguments"])
        elif reason == "length":
            assert message == {"role": "assistant", "content": None}
        else:
            assert check_calls(message) == ["get_weather"]
        assert (reason == "length") or most > 5


def test_the_older_sort(engine: EngineProcess) -> None:
    functions = [tool["function"] for tool in TOOLS]
    message, reason = call(
        engine, tools=None, functions=functions, function_call={"name": "get_weather"}
    )
    assert reason == "function_call"
    made = message["function_call"]
    jsonschema_rs.validate(SCHEMAS[made["name"]], json.loads(made["arguments"]))
