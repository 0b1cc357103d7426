from typing import Any

import msgspec
import pytest
from hypothesis import given

from trunkline.chat import Conversation, Text, Tool, ToolResult, ToolUse, Turn
from trunkline.errors import GatewayError
from trunkline.wire import cohere_request
from trunkline.wire.cohere_request import PARAMETERS
from trunkline.wire.parameter import NAMES
from wire.sample import may_fail, some_examples
from wire.translated import (
    ASKED,
    conversations,
    list_cases,
    load_case,
    make_chat,
    objects,
    said_words,
    tool_names,
    translate,
)

FOLDER = "cohere/request"
MODEL = "command-a-03-2025"


def write(body: dict[str, Any], *, strict: bool = False) -> Any:
    call, _ = translate(cohere_request, make_chat(ASKED | body), MODEL, strict=strict)
    return msgspec.json.decode(call.write_request())


@pytest.mark.parametrize("name", list_cases(FOLDER))
def test_a_request_is_written_as_recorded(name: str) -> None:
    case = load_case(FOLDER, name)
    call, words = translate(cohere_request, make_chat(case["client"]), case["model"])
    assert msgspec.json.decode(call.write_request()) == case["body"]
    assert call.path == "/chat"
    assert words == case["changes"]


def test_every_parameter_has_its_cell() -> None:
    assert set(NAMES) <= set(PARAMETERS)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "AA=="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}},
    ],
)
def test_what_cohere_cannot_be_told_is_refused(content: Any) -> None:
    with pytest.raises(GatewayError, match="not known") as caught:
        write({"messages": [{"role": "user", "content": [content]}]})
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages")


def test_an_image_as_a_tools_result_is_refused() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.example/i.png"}}
    past = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    with pytest.raises(GatewayError, match="only text"):
        write(
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [past]},
                    {"role": "tool", "tool_call_id": "a", "content": [image]},
                ]
            }
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "alloy", "format": "mp3"}},
        {"reasoning_effort": "huge"},
        {
            "tool_choice": {"type": "function", "function": {"name": "g"}},
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
    ],
)
def test_what_would_be_another_answer_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        write(fields)
    assert (caught.value.code, caught.value.param) == ("invalid_request", next(iter(fields)))


def test_strictness_refuses_every_loss_and_nothing_else() -> None:
    kept = write({"temperature": 0.5, "top_p": 0.5, "reasoning_effort": "low"}, strict=True)
    assert kept["thinking"] == {"type": "enabled", "token_budget": 2048}
    for loss in ({"user": "u"}, {"top_p": 1}, {"frequency_penalty": -1}):
        with pytest.raises(GatewayError, match="strict"):
            write(loss, strict=True)


@some_examples
@given(conversations)
def test_any_conversation_is_written_or_refused(chat: Conversation) -> None:
    with may_fail("invalid_request"):
        call, _ = translate(cohere_request, chat, MODEL)
        body = msgspec.json.decode(call.write_request())
        roles = [message["role"] for message in body["messages"]]
        assert "system" not in roles[1:]
        assert not ("response_format" in body and "tools" in body)


@some_examples
@given(said_words, tool_names, objects, said_words)
def test_words_and_calls_arrive_as_they_are(
    text: str, name: str, arguments: dict[str, Any], result: str
) -> None:
    written = msgspec.json.encode(arguments).decode()
    turns = (
        Turn("user", (Text(text),)),
        Turn("assistant", (ToolUse("id", name, written),)),
        Turn("user", (ToolResult("id", name, (Text(result),)),)),
    )
    chat = Conversation("m", (Text(text),), turns, tools=(Tool(name, text),))
    call, _ = translate(cohere_request, chat, MODEL)
    body = msgspec.json.decode(call.write_request())
    system, said, called, told = body["messages"]
    assert (system["content"], said["content"]) == (text, text)
    assert called["tool_calls"][0]["function"] == {"name": name, "arguments": written}
    assert told["content"] == [{"type": "text", "text": result}]
    assert body["tools"][0]["function"]["name"] == name
