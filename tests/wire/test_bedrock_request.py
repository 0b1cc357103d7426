import itertools
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import Conversation, Text, Tool, ToolResult, ToolUse, Turn
from trunkline.errors import GatewayError
from trunkline.wire import bedrock_request
from trunkline.wire.bedrock_model import find_model
from trunkline.wire.bedrock_request import PARAMETERS
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

FOLDER = "bedrock/request"
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
MODELS = [
    CLAUDE,
    NOVA,
    "anthropic.claude-opus-4-7",
    "anthropic.claude-3-haiku-20240307-v1:0",
    "us.anthropic.claude-opus-5-5",
    "us.amazon.nova-2-lite-v1:0",
    "openai.gpt-5.5",
    "meta.llama3-3-70b-instruct-v1:0",
    "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123",
]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def write(body: dict[str, Any], model: str = CLAUDE, *, strict: bool = False) -> Any:
    call, _ = translate(bedrock_request, make_chat(ASKED | body), model, strict=strict)
    return msgspec.json.decode(call.write_request())


def ask(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


@pytest.mark.parametrize("name", list_cases(FOLDER))
def test_a_request_is_written_as_recorded(name: str) -> None:
    case = load_case(FOLDER, name)
    call, words = translate(bedrock_request, make_chat(case["client"]), case["model"])
    assert msgspec.json.decode(call.write_request()) == case["body"]
    assert call.path == case["path"]
    assert words == case["changes"]


def test_every_parameter_has_its_cell() -> None:
    assert set(NAMES) <= set(PARAMETERS)


def test_arguments_go_byte_for_byte() -> None:
    arguments = '{ "n": 1.50, "big": 123456789012345678901234567890 }'
    turns = (Turn("assistant", (ToolUse("a", "f", arguments),)),)
    chat = Conversation("m", (), turns, tools=(Tool("f"),))
    call, _ = translate(bedrock_request, chat, CLAUDE)
    assert f'"input":{arguments}'.encode() in call.write_request()


def test_results_stand_before_words_and_cache_points_behind_their_block() -> None:
    turn = Turn(
        "user",
        (
            Text("And?", {"type": "ephemeral"}),
            ToolResult("a", "f", (Text("1", {"type": "x"}), Text("2")), None),
            ToolResult("b", "f", (), {"type": "ephemeral", "ttl": "5m"}),
        ),
    )
    call, _ = translate(bedrock_request, Conversation("m", (), (turn,)), CLAUDE)
    (message,) = msgspec.json.decode(call.write_request())["messages"]
    assert message["content"] == [
        {"toolResult": {"toolUseId": "a", "content": [{"text": "1"}, {"text": "2"}]}},
        {"cachePoint": {"type": "default"}},
        {"toolResult": {"toolUseId": "b", "content": []}},
        {"cachePoint": {"type": "default", "ttl": "5m"}},
        {"text": "And?"},
        {"cachePoint": {"type": "default"}},
    ]


def test_a_turn_that_says_nothing_is_left_out_and_its_neighbours_become_one() -> None:
    turns = (
        Turn("user", (Text("a"),)),
        Turn("assistant", (Text(" \n"),)),
        Turn("user", (Text("b"),)),
    )
    call, _ = translate(bedrock_request, Conversation("m", (), turns), CLAUDE)
    assert msgspec.json.decode(call.write_request())["messages"] == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]}
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"type": "image_url", "image_url": {"url": "https://a.example/i.png"}}, "data URLs only"),
        ({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}}, "image/tiff"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, "no data"),
        ({"type": "input_audio", "input_audio": {"format": "midi", "data": "AA=="}}, "audio/midi"),
        ({"type": "file", "file": {"file_data": "data:application/zip;base64,AA=="}}, "zip"),
        ({"type": "text", "text": " "}, "no empty message"),
    ],
)
def test_what_converse_cannot_be_told_is_refused(content: Any, told: str) -> None:
    with pytest.raises(GatewayError, match=told) as caught:
        write(ask(content))
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages")


@pytest.mark.parametrize(
    "fields",
    [
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "alloy", "format": "mp3"}},
        {"reasoning_effort": "huge"},
    ],
)
def test_what_would_be_another_answer_is_refused(fields: dict[str, Any]) -> None:
    for model in (CLAUDE, "openai.gpt-5.5"):
        with pytest.raises(GatewayError) as caught:
            write(fields, model)
        assert (caught.value.code, caught.value.param) == ("invalid_request", *fields)


def test_strictness_refuses_every_loss_and_nothing_else() -> None:
    kept = write({"temperature": 0.5, "max_tokens": 9, "top_k": 3}, strict=True)
    assert kept["additionalModelRequestFields"] == {"top_k": 3}
    for loss in ({"seed": 1}, {"temperature": 2}, {"reasoning_effort": "low", "top_k": 1}):
        with pytest.raises(GatewayError, match="strict"):
            write(loss, strict=True)


def test_what_asks_for_nothing_is_not_told() -> None:
    quiet = {"frequency_penalty": 0, "logprobs": False, "n": 1, "service_tier": "auto", "stop": []}
    call, words = translate(bedrock_request, make_chat(ASKED | quiet), CLAUDE)
    assert words == []
    assert set(msgspec.json.decode(call.write_request())) == {"messages"}


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        ("openai.gpt-5.5", "none", {"reasoning": {"effort": "none"}}),
        ("openai.gpt-6-luna", "minimal", {"reasoning": {"effort": "low"}}),
        ("moonshotai.kimi-k2.5", "medium", {"reasoning_effort": "low"}),
        ("us.zai.glm-5.3", "xhigh", {"reasoning_effort": "xhigh"}),
        ("us.zai.glm-4.7", "high", None),
        ("us.amazon.nova-2-lite-v1:0", "none", None),
        (
            "us.amazon.nova-2-lite-v1:0",
            "max",
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
        ),
        ("us.amazon.nova-pro-v1:0", "high", None),
        ("anthropic.claude-3-haiku-20240307-v1:0", "high", None),
        ("anthropic.claude-opus-4-6-v1", "none", None),
    ],
)
def test_an_effort_goes_where_the_model_takes_it(model: str, effort: str, fields: Any) -> None:
    assert write({"reasoning_effort": effort}, model).get("additionalModelRequestFields") == fields


def test_a_claude_that_thinks_by_budget_needs_no_limit() -> None:
    body = write({"reasoning_effort": "low"}, "anthropic.claude-3-7-sonnet-20250219-v1:0")
    assert body["additionalModelRequestFields"]["thinking"]["type"] == "enabled"
    assert "inferenceConfig" not in body


def test_a_model_is_found_in_every_sort_of_id() -> None:
    for before in ("", "us.", "global.", "arn:aws:bedrock:us-east-1::foundation-model/"):
        assert find_model(f"{before}amazon.nova-2-lite-v1:0").lone == "high"
        assert find_model(f"{before}{CLAUDE}").claude.version == (4, 5)
    assert find_model("abc123").top_k == ""


@pytest.mark.parametrize("mode", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_claude_that_cannot_be_made_to_call_a_tool_is_not(mode: Any) -> None:
    fields = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": mode}
    call, words = translate(
        bedrock_request, make_chat(ASKED | fields), "us.anthropic.claude-opus-5-5"
    )
    assert msgspec.json.decode(call.write_request())["toolConfig"]["toolChoice"] == {"auto": {}}
    assert words == ["dropped:tool_choice"]


@some_examples
@given(conversations, st.sampled_from(MODELS))
def test_any_conversation_is_written_or_refused(chat: Conversation, model: str) -> None:
    with may_fail("invalid_request"):
        call, _ = translate(bedrock_request, chat, model)
        body = msgspec.json.decode(call.write_request())
        assert unquote(call.path).startswith(f"/model/{model}/converse")
        roles = [message["role"] for message in body["messages"]]
        assert all(one != two for one, two in itertools.pairwise(roles))


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
    call, _ = translate(bedrock_request, chat, CLAUDE)
    body = msgspec.json.decode(call.write_request())
    assert body["system"] == [{"text": text}]
    said, called, told = (message["content"][0] for message in body["messages"])
    assert said == {"text": text}
    assert called["toolUse"] == {"toolUseId": "id", "name": name, "input": arguments}
    assert told["toolResult"]["content"] == [{"text": result}]
    assert body["toolConfig"]["tools"][0]["toolSpec"]["name"] == name
