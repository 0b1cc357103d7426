from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import (
    Conversation,
    Media,
    OutputFormat,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from trunkline.errors import GatewayError
from trunkline.wire.anthropic_request import FANS_OUT, FETCHES_IMAGES, PARAMETERS, open_call
from trunkline.wire.change import Changes
from trunkline.wire.parameter import NAMES
from wire.anthropic_sample import FOLDER, HELLO, ask, write
from wire.sample import any_json, may_fail, some_examples

CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted((FOLDER / "request").glob("*.json"))
    for case in msgspec.json.decode(path.read_bytes())
]


@pytest.mark.parametrize("case", CASES)
def test_a_request_becomes_this_body_and_says_what_changed(case: Any) -> None:
    body, changes = write(case["request"], case["model"])
    assert body == case["body"]
    assert changes == case["changes"]


@pytest.mark.parametrize("case", CASES)
def test_strictness_allows_no_loss(case: Any) -> None:
    lost = any(word.startswith(("dropped:", "clamped:")) for word in case["changes"])
    if lost:
        with pytest.raises(GatewayError) as caught:
            write(case["request"], case["model"], strict=True)
        assert caught.value.code == "invalid_request"
    else:
        assert write(case["request"], case["model"], strict=True)[0] == case["body"]


def test_every_parameter_has_a_cell() -> None:
    assert set(PARAMETERS) == set(NAMES)
    assert FANS_OUT
    assert FETCHES_IMAGES


def test_the_operation_is_the_same_for_streams() -> None:
    streamed = msgspec.structs.replace(HELLO, stream=True)
    assert open_call(streamed, "m", Changes()).path == "/messages"
    assert open_call(HELLO, "m", Changes()).path == "/messages"


@pytest.mark.parametrize(
    ("fields", "body", "changes"),
    [
        ({"seed": 1, "frequency_penalty": 0.5}, {}, ["dropped:seed", "dropped:frequency_penalty"]),
        ({"frequency_penalty": 0, "logit_bias": {}, "store": False}, {}, []),
        ({"logprobs": True, "top_logprobs": 2}, {}, ["dropped:logprobs", "dropped:top_logprobs"]),
        ({"prediction": {"type": "content"}}, {}, ["dropped:prediction"]),
        ({"modalities": ["text"]}, {}, []),
        ({"made_up": 1}, {}, ["dropped:made_up"]),
        ({"top_k": 5}, {"top_k": 5}, []),
        ({"temperature": 1.5}, {"temperature": 1}, ["clamped:temperature=1"]),
        ({"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}, ["dropped:top_p"]),
        ({"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}, []),
        ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, []),
        (
            {"stop": ["\n", "END"]},
            {"stop_sequences": ["END"]},
            ["dropped:stop", "renamed:stop=stop_sequences"],
        ),
        ({"stop": "\n"}, {}, ["dropped:stop"]),
        (
            {"user": "u-1"},
            {"metadata": {"user_id": "u-1"}},
            ["renamed:user=metadata.user_id"],
        ),
        ({"user": "a@example.com"}, {}, ["dropped:user"]),
        ({"user": "+49 (30) 123-456"}, {}, ["dropped:user"]),
        ({"user": "u" * 257}, {}, ["dropped:user"]),
        (
            {"user": "u-1", "safety_identifier": "s-1"},
            {"metadata": {"user_id": "s-1"}},
            ["renamed:safety_identifier=metadata.user_id", "dropped:user"],
        ),
        ({"service_tier": "auto"}, {}, []),
        (
            {"service_tier": "default"},
            {"service_tier": "standard_only"},
            ["renamed:service_tier=standard_only"],
        ),
        (
            {"service_tier": "priority"},
            {"service_tier": "auto"},
            ["renamed:service_tier=auto"],
        ),
        ({"service_tier": "flex"}, {}, ["dropped:service_tier"]),
        ({"service_tier": ["x"]}, {}, ["dropped:service_tier"]),
        ({"metadata": {"a": "b"}}, {}, ["dropped:metadata"]),
        ({"n": 3}, {}, []),
        ({"reasoning_effort": "none"}, {}, []),
        ({"web_search_options": 5}, {}, ["dropped:web_search_options"]),
    ],
)
def test_what_becomes_of_a_parameter(
    fields: dict[str, Any], body: dict[str, Any], changes: list[str]
) -> None:
    written, words = write(ask(**fields))
    assert written == {**write(ask())[0], **body}
    assert words == changes


@pytest.mark.parametrize(
    ("model", "effort", "body", "changes"),
    [
        (
            "claude-opus-4-8",
            "xhigh",
            {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": "xhigh"},
            },
            ["renamed:reasoning_effort=output_config.effort"],
        ),
        (
            "claude-sonnet-5",
            "minimal",
            {
                "thinking": {"type": "adaptive", "display": "summarized"},
                "output_config": {"effort": "low"},
            },
            ["clamped:reasoning_effort=low", "renamed:reasoning_effort=output_config.effort"],
        ),
        ("claude-opus-4-8", "none", {}, []),
        (
            "claude-opus-5",
            "none",
            {"thinking": {"type": "disabled"}},
            ["renamed:reasoning_effort=thinking.type"],
        ),
        (
            "claude-sonnet-5-5",
            "none",
            {"thinking": {"type": "between_tools"}},
            ["renamed:reasoning_effort=thinking.type"],
        ),
        (
            "claude-opus-5-5",
            "none",
            {"output_config": {"effort": "low"}},
            ["clamped:reasoning_effort=low", "renamed:reasoning_effort=output_config.effort"],
        ),
        (
            "qwen3",
            "none",
            {"thinking": {"type": "disabled"}},
            ["renamed:reasoning_effort=thinking.type"],
        ),
        ("claude-2.1", "none", {}, []),
    ],
)
def test_how_a_model_is_told_to_think(
    model: str, effort: str, body: dict[str, Any], changes: list[str]
) -> None:
    written, words = write(ask(reasoning_effort=effort), model)
    assert written == {**write(ask(), model)[0], **body}
    assert words == changes


@pytest.mark.parametrize("model", ["claude-opus-4-7", "claude-haiku-5-5", "claude-next"])
def test_newer_models_choose_their_own_sampling(model: str) -> None:
    body, changes = write(ask(temperature=0.2, top_p=0.5, top_k=3), model)
    assert body == write(ask(), model)[0]
    assert changes == ["dropped:temperature", "dropped:top_p", "dropped:top_k"]
    assert write(ask(temperature=1, top_p=1), model, strict=True)[0] == body


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio",
          "input_audio": {"data": "QUJD", "format": "wav"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url",
          "image_url": {"url": "data:image/tiff;base64,QUJD"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "file",
          "file": {"file_data": "data:text/html;base64,QUJD"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "file",
          "file": {"file_data": "data:text/plain;base64,/w=="}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": [
            {"id": "a", "function": {"name": "f", "arguments": '{"cut'}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": [
            {"id": "a", "function": {"name": "f", "arguments": "[1]"}}]}]}, "messages"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        write(ask(**fields))
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)


def test_too_many_strict_tools_are_offered_without_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": 0}
    tools = [
        {"type": "function", "function": {"name": f"f{at}", "strict": True, "parameters": schema}}
        for at in range(25)
    ]
    body, changes = write(ask(tools=tools[:20]))
    assert all(tool["strict"] for tool in body["tools"])
    assert changes == []
    body, changes = write(ask(tools=tools))
    assert not any("strict" in tool for tool in body["tools"])
    assert changes == ["dropped:tools.strict"]


def test_a_schema_beyond_the_limits_is_a_tools() -> None:
    names = {f"p{at}": {"type": "string"} for at in range(25)}
    schema = {"type": "object", "properties": names}
    wanted = {"type": "json_schema", "json_schema": {"name": "big", "schema": schema}}
    body, changes = write(ask(response_format=wanted))
    assert body["tools"][0]["input_schema"] == schema
    assert changes == ["emulated:response_format"]


def test_arguments_are_kept_byte_for_byte() -> None:
    arguments = '{ "a": 123456789012345678901234567890.10, "a": "\\u00e9" }'
    turns = (*HELLO.turns, Turn("assistant", (ToolUse("t", "f", arguments),)))
    chat = msgspec.structs.replace(HELLO, turns=turns)
    assert arguments.encode() in open_call(chat, "m", Changes()).write_request()


def test_an_id_that_is_used_again_is_made_anew() -> None:
    turns = (
        *HELLO.turns,
        Turn("assistant", (ToolUse("t", "f", "{}"), ToolUse("", "f", "{}"))),
        Turn("user", (ToolResult("t", "f", ()), ToolResult("", "f", ()))),
        Turn("assistant", (ToolUse("t", "f", "{}"),)),
        Turn("user", (ToolResult("t", "f", ()),)),
    )
    call = open_call(msgspec.structs.replace(HELLO, turns=turns), "m", Changes())
    _, *messages = msgspec.json.decode(call.write_request())["messages"]
    ids = [
        [block.get("id") or block["tool_use_id"] for block in message["content"]]
        for message in messages
    ]
    assert ids == [["t", "call"], ["t", "call"], ["t_2"], ["t_2"]]


def test_a_document_may_have_an_address() -> None:
    turn = Turn("user", (Media("document", url="https://example.com/a.pdf"),))
    call = open_call(msgspec.structs.replace(HELLO, turns=(turn,)), "m", Changes())
    (message,) = msgspec.json.decode(call.write_request())["messages"]
    source = {"type": "url", "url": "https://example.com/a.pdf"}
    assert message["content"] == [{"type": "document", "source": source}]


def test_a_search_may_be_asked_without_options() -> None:
    body, changes = write(ask(web_search_options={}, tools=[]))
    assert body["tools"] == [{"type": "web_search_20250305", "name": "web_search"}]
    assert changes == ["renamed:web_search_options=tools.web_search"]


def test_deep_nesting_is_refused_not_a_crash() -> None:
    schema: Any = {"type": "string"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    for output in (OutputFormat(schema), None):
        tools = (Tool("f", schema=schema, strict=True),)
        chat = msgspec.structs.replace(HELLO, tools=tools, output=output)
        with may_fail("invalid_request"):
            open_call(chat, "claude-sonnet-4-5", Changes())


words = st.text(max_size=20)
names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
objects = st.dictionaries(words, any_json, max_size=3)
texts = st.builds(Text, words)
medias = st.builds(
    Media,
    st.sampled_from(["image", "document"]),
    media_type=st.sampled_from(["image/png", "application/pdf"]),
    data=st.just("QUJD"),
    detail=st.sampled_from(["", "low"]),
    name=words,
)
uses = st.builds(
    ToolUse, words, names, st.builds(lambda value: msgspec.json.encode(value).decode(), objects)
)
results = st.builds(ToolResult, words, names, st.lists(texts | medias, max_size=2).map(tuple))
thoughts = st.builds(Reasoning, words, words, st.sampled_from(["", "hidden"]))


@st.composite
def conversations(draw: Any) -> Conversation:
    said: Any = {"user": texts | medias | results, "assistant": texts | uses | thoughts}
    roles = ["user", "assistant"] * 2
    turns = [
        Turn(role, tuple(draw(st.lists(said[role], min_size=1, max_size=3))))  # type: ignore[arg-type]
        for role in roles[: draw(st.integers(1, 4))]
    ]
    tools = draw(st.lists(st.builds(Tool, names, words, st.none() | objects), max_size=2))
    choices = st.none() | st.builds(
        ToolChoice, st.sampled_from(["auto", "none", "required", "named"]), names
    )
    outputs = st.none() | st.builds(OutputFormat, st.none() | objects)
    return Conversation(
        "asked",
        tuple(draw(st.lists(texts, max_size=2))),
        tuple(turns),
        tuple(tools),
        draw(choices),
        draw(st.none() | st.booleans()),
        draw(outputs),
        draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "temperature": st.floats(0, 2),
                    "top_p": st.floats(0, 1),
                    "top_k": st.integers(0, 50),
                    "max_tokens": st.integers(0, 100_000),
                    "reasoning_effort": st.sampled_from(["none", "low", "high", "huge"]),
                    "stop": st.lists(words, max_size=3),
                    "user": words,
                    "service_tier": words,
                    "odd": any_json,
                },
            )
        ),
    )


models = st.sampled_from(
    ["claude-3-haiku-20240307", "claude-sonnet-4-5", "claude-opus-5-5", "claude-haiku-5-5", "qwen3"]
)


@some_examples
@given(conversations(), models)
def test_any_conversation_is_written_in_full_or_refused(chat: Conversation, model: str) -> None:
    changes = Changes()
    with may_fail("invalid_request"):
        body = msgspec.json.decode(open_call(chat, model, changes).write_request())
        said = [part for turn in chat.turns for part in turn.parts]
        assert list_written(body, "text") == list_texts(said)
        calls = [part for part in said if isinstance(part, ToolUse)]
        written = list_written(body, "tool_use")
        assert [(call["name"], call["input"]) for call in written] == [
            (call.name, msgspec.json.decode(call.arguments)) for call in calls
        ]
        assert len({call["id"] for call in written}) == len(calls)
        assert body["max_tokens"] is not None


def list_texts(parts: list[Part]) -> list[str]:
    """Every text that says something; results come before the other words of their turn."""
    return sorted(part.text for part in parts if isinstance(part, Text) and part.text.strip())


def list_written(body: Any, kind: str) -> list[Any]:
    """The blocks of a kind in all turns, but not those inside tool results."""
    blocks: list[Any] = []
    for message in body["messages"]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        blocks += [block for block in content if block["type"] == kind]
    return sorted(block["text"] for block in blocks) if kind == "text" else blocks
