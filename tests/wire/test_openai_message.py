from typing import Any

import msgspec
import pytest

from trunkline.wire.openai_message import INSIDE, AssistantMessage, ChatInside, UserMessage
from wire.asked import HI, WEATHER, answer_call, make_calls, refuse, write_call, write_image


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        # The reference pages' own example: fine for a tapped call, not to be understood here.
        ([{"foo": "bar"}], "body.messages.0.role: Field required"),
        ([{"role": "robot", "content": "x"}], "body.messages.0.role: Invalid value 'robot'"),
        ([HI, {"role": "user"}], "body.messages.1.content: Field required"),
        ([{"role": "user", "content": 5}], "body.messages.0.content: Expected"),
        ([{"role": "user", "content": [{"type": "video"}]}], "body.messages.0.content.0.type:"),
        ([{"role": "system", "content": [write_image()]}], "body.messages.0.content.0.type:"),
        ([HI, make_calls({"id": "c"})], "body.messages.1.tool_calls.0.function: Field required"),
        (
            [HI, make_calls({**write_call(), "type": "custom"})],
            "body.messages.1.tool_calls.0.type: Invalid",
        ),
        (
            [HI, make_calls(write_call(arguments="[1]"))],
            "messages[1].tool_calls[0].function.arguments:",
        ),
        (
            [HI, make_calls(write_call(arguments="{"))],
            "messages[1].tool_calls[0].function.arguments:",
        ),
        ([HI, answer_call()], "messages[1].tool_call_id: no earlier assistant message"),
        ([HI, answer_call(), make_calls(write_call())], "messages[1].tool_call_id: no earlier"),
        ([{"role": "function", "name": "f", "content": "1"}], "messages[0].name: no earlier"),
        (
            [{"role": "user", "content": [write_image("ftp://x")]}],
            "messages[0].content[0].image_url.url",
        ),
        (
            [{"role": "user", "content": [write_image("data:,x")]}],
            "messages[0].content[0].image_url.url",
        ),
        (
            [HI, {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}],
            "messages[1].content[0].file.file_data: expected a data URL",
        ),
        ([{"role": "system", "content": "x"}], "'messages' needs one of role user or assistant"),
        ([{"role": "assistant", "content": ""}], "'messages' needs one of role user"),
    ],
)
def test_what_cannot_be_understood_is_named(messages: list[Any], said: str) -> None:
    assert said in refuse(*messages).message


@pytest.mark.parametrize(
    ("fields", "said", "param"),
    [
        ({"tools": [{"foo": "bar"}]}, "body.tools.0.function: Field required", "function"),
        ({"tools": [{"type": "web_search"}]}, "body.tools.0.", None),
        ({"tool_choice": "required"}, "tool_choice: no such tool", "tool_choice"),
        ({"tool_choice": WEATHER}, "tool_choice: no such tool", "tool_choice"),
        ({"tool_choice": "string"}, "body.tool_choice: Invalid", "tool_choice"),
        (
            {"functions": [{"name": "f"}], "function_call": {"name": "g"}},
            "no such",
            "function_call",
        ),
        ({"response_format": {"foo": "bar"}}, "body.response_format.type", "type"),
        ({"response_format": {"type": "json_schema"}}, ".json_schema.schema", "response_format"),
    ],
)
def test_a_field_that_cannot_be_understood_is_named(fields: Any, said: str, param: Any) -> None:
    error = refuse(**fields)
    assert said in error.message
    assert param is None or error.param == param


def test_fields_that_nobody_knows_are_passed_over() -> None:
    part = {"type": "text", "text": "Hi", "future": [1]}
    said = {"role": "assistant", "content": None, "annotations": None, "future": {"a": 1}}
    body = {"model": "m", "messages": [{**HI, "content": [part], "x": 1}, said], "y": None}
    inside = INSIDE.decode(msgspec.json.encode(body))
    assert isinstance(inside, ChatInside)
    assert [type(message) for message in inside.messages] == [UserMessage, AssistantMessage]


def test_null_means_absent_wherever_clients_write_it() -> None:
    nulls = dict.fromkeys(
        ("refusal", "tool_calls", "function_call", "reasoning_content", "thinking_blocks", "audio")
    )
    fields = dict.fromkeys(
        ("tools", "functions", "tool_choice", "function_call", "response_format", "n", "stop")
    )
    said = {"role": "assistant", "content": "a"}
    plain = INSIDE.decode(msgspec.json.encode({"model": "m", "messages": [HI, said]}))
    body = {"model": "m", "messages": [{**HI, "name": None}, {**said, **nulls}], **fields}
    assert INSIDE.decode(msgspec.json.encode(body)) == plain
