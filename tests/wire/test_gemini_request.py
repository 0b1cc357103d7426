from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import (
    ChatRequest,
    Conversation,
    Media,
    OutputFormat,
    Reasoning,
    Text,
    TextRequest,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from trunkline.errors import GatewayError
from trunkline.wire import gemini_request
from trunkline.wire.change import Changes
from trunkline.wire.openai_conversation import convert_prompt, read_conversation
from trunkline.wire.parameter import NAMES, How
from wire.sample import CASES, any_json, may_fail, some_examples

REQUESTS = sorted((CASES / "gemini" / "request").glob("*.json"))
NEW, OLD = "gemini-3.8-flash", "gemini-2.5-flash"


def write(
    chat: Conversation, model: str = NEW, *, strict: bool = False
) -> tuple[dict[str, Any], list[str]]:
    changes = Changes(strict=strict)
    body = gemini_request.open_call(chat, model, changes).write_request()
    value = msgspec.json.decode(body)
    assert isinstance(value, dict)
    return value, changes.words


def ask(*turns: Turn, **more: Any) -> Conversation:
    return Conversation("m", (), turns or (Turn("user", (Text("Hi"),)),), **more)


def refuse(chat: Conversation, model: str = NEW, *, strict: bool = False) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        write(chat, model, strict=strict)
    assert caught.value.code == "invalid_request"
    return caught.value


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_a_recorded_request_becomes_the_recorded_body(path: Path) -> None:
    case = msgspec.json.decode(path.read_bytes())
    stream = case["request"].get("stream", False)
    body = msgspec.json.encode(case["request"])
    request = ChatRequest(case["request"]["model"], body, stream=stream, include_usage=False)
    changes = Changes()
    call = gemini_request.open_call(read_conversation(request), case["model"], changes)
    assert msgspec.json.decode(call.write_request()) == case["body"]
    assert (call.path, changes.words) == (case["path"], case["changes"])


def test_every_parameter_has_its_cell() -> None:
    assert set(gemini_request.PARAMETERS) == set(NAMES)
    assert {cell.how for cell in gemini_request.PARAMETERS.values()} <= {*get_args(How)}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-3.8-flash", "/models/gemini-3.8-flash:generateContent"),
        ("models/gemma-4-31b-it", "/models/gemma-4-31b-it:generateContent"),
        ("a b/../c?d:e#f", "/models/a%20b%2F..%2Fc%3Fd%3Ae%23f:generateContent"),
        ("modèle", "/models/mod%C3%A8le:generateContent"),
    ],
)
def test_the_models_name_cannot_leave_its_place_in_the_path(model: str, path: str) -> None:
    assert gemini_request.open_call(ask(), model, Changes()).path == path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modalities", ["text", "audio"]),
        ("modalities", ["audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("stop", ["1", "2", "3", "4", "5", "6"]),
    ],
)
def test_what_would_change_the_answer_is_refused(name: str, value: object) -> None:
    assert refuse(ask(parameters={name: value})).param == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modalities", ["text"]),
        ("service_tier", "default"),
        ("frequency_penalty", 0),
        ("verbosity", "medium"),
        ("stop", []),
    ],
)
@pytest.mark.parametrize("model", [NEW, OLD])
def test_what_happens_anyway_is_left_out_without_a_word(
    model: str, name: str, value: object
) -> None:
    body, words = write(ask(parameters={name: value}), model, strict=True)
    assert (body, words) == ({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logprobs", True),
        ("top_k", 0),
        ("top_k", -1),
        ("presence_penalty", -1),
        ("service_tier", "scale"),
        ("service_tier", ["flex"]),
        ("reasoning_effort", "much"),
        ("reasoning_effort", 5),
        ("metadata", {"a": "b"}),
        ("store", True),
        ("prediction", {"type": "content", "content": "x"}),
        ("safety_settings", []),
    ],
)
def test_what_is_dropped_is_told_or_refused(name: str, value: object) -> None:
    body, words = write(ask(parameters={name: value}))
    assert (set(body), words) == ({"contents"}, [f"dropped:{name}"])
    assert refuse(ask(parameters={name: value}), strict=True).param == name


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "told"),
    [
        ("gemini-3.8-flash", "none", {"thinkingLevel": "LOW"}, "low"),
        ("gemini-3.8-flash", "minimal", {"thinkingLevel": "LOW"}, "low"),
        ("gemini-3.8-flash", "medium", {"thinkingLevel": "MEDIUM"}, None),
        ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW"}, "low"),
        ("gemini-3.1-flash-lite", "none", {"thinkingLevel": "MINIMAL"}, "minimal"),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL"}, None),
        ("gemini-flash-latest", "high", {"thinkingLevel": "HIGH"}, None),
        ("gemini-4-argon", "max", {"thinkingLevel": "HIGH"}, "high"),
        ("gemma-4-31b-it", "low", {"thinkingLevel": "MINIMAL"}, "minimal"),
        ("gemma-4-31b-it", "medium", {"thinkingLevel": "HIGH"}, "high"),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}, None),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1024}, None),
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024}, None),
        ("gemini-live-2.5-flash", "xhigh", {"thinkingBudget": 24576}, "high"),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}, "minimal"),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24576}, None),
    ],
)
def test_an_effort_becomes_what_the_model_can(
    model: str, effort: str, thinking: dict[str, object], told: str | None
) -> None:
    body, words = write(ask(parameters={"reasoning_effort": effort}), model)
    config = body["generationConfig"]["thinkingConfig"]
    assert config == {**thinking, "includeThoughts": effort != "none"}
    clamped = [] if told is None else [f"clamped:reasoning_effort={told}"]
    assert words == [*clamped, "renamed:reasoning_effort=generationConfig.thinkingConfig"]
    if told is not None:
        assert refuse(ask(parameters={"reasoning_effort": effort}), model, strict=True)


def test_an_image_by_address_is_refused_by_name() -> None:
    for kind in ("image", "document", "audio"):
        error = refuse(ask(Turn("user", (Media(kind, url="https://a.example/x"),))))
        assert kind in error.message
    assert gemini_request.FETCHES_IMAGES is False


def test_resolution_is_told_as_lost_before_gemini_3() -> None:
    image = Media("image", media_type="image/png", data="AA==", detail="high")
    body, words = write(ask(Turn("user", (image,))), OLD)
    assert "mediaResolution" not in body["contents"][0]["parts"][0]
    assert words == ["dropped:image_url.detail"]


@pytest.mark.parametrize("arguments", ["", "[]", "5", "{", '{"a":}', '"x"', "null", "[" * 5000])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    turn = Turn("assistant", (ToolUse("c", "f", arguments),))
    assert "'f'" in refuse(ask(turn)).message


def test_arguments_are_handed_on_as_they_are_written() -> None:
    arguments = '{"n": 12345678901234567890123, "x": 1.0, "y": 1e2, "é": "\\u00e9"}'
    call = gemini_request.open_call(
        ask(Turn("assistant", (ToolUse("c", "f", arguments, "c2ln"),))), NEW, Changes()
    )
    assert arguments.encode() in call.write_request()


def test_structure_beside_tools_needs_gemini_3() -> None:
    chat = ask(tools=(Tool("f"),), output=OutputFormat())
    assert refuse(chat, OLD).param == "response_format"
    assert write(chat)[0]["generationConfig"] == {"responseMimeType": "application/json"}


def test_a_choice_among_no_tools_is_refused_where_it_matters() -> None:
    assert "toolConfig" not in write(ask(tool_choice=ToolChoice("none")))[0]
    assert "toolConfig" not in write(ask(tool_choice=ToolChoice("auto")))[0]
    assert refuse(ask(tool_choice=ToolChoice("required"))).param == "tools"
    assert refuse(ask(tool_choice=ToolChoice("named", "f"))).param == "tools"


def test_searching_beside_functions_is_told_as_lost() -> None:
    chat = ask(tools=(Tool("f"),), parameters={"web_search_options": {}})
    body, words = write(chat)
    assert body["tools"] == [{"functionDeclarations": [{"name": "f"}]}]
    assert words == ["dropped:web_search_options"]
    assert refuse(chat, strict=True)


def test_a_completion_is_one_user_message() -> None:
    request = TextRequest("m", "Once", stream=True, temperature=0.2, max_tokens=5, stop=("x",))
    body, _ = write(convert_prompt(request))
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "Once"}]}],
        "generationConfig": {"temperature": 0.2, "maxOutputTokens": 5, "stopSequences": ["x"]},
    }


texts = st.builds(Text, st.text())
media = st.builds(
    Media,
    st.sampled_from(["image", "document", "audio"]),
    media_type=st.sampled_from(["image/png", "application/pdf", ""]),
    url=st.sampled_from(["", "", "", "https://a.example/x"]),
    data=st.text("AZaz09+/= \n", max_size=9),
    detail=st.sampled_from(["", "low", "high", "auto", "odd"]),
)
objects = st.dictionaries(st.text(), any_json, max_size=3)
arguments = objects.map(lambda value: msgspec.json.encode(value).decode()) | st.text(max_size=5)
signatures = st.sampled_from(["", "c2ln", "no!"])
calls = st.builds(ToolUse, st.text(max_size=3), st.text(), arguments, signatures)
results = st.builds(
    ToolResult, st.text(max_size=3), st.text(), st.lists(texts | media, max_size=2).map(tuple)
)
thoughts = st.builds(Reasoning, st.text(), signatures, st.text(max_size=3))
turns = st.builds(
    Turn,
    st.sampled_from(["user", "assistant"]),
    st.lists(texts | media | calls | results | thoughts, max_size=4).map(tuple),
)
conversations = st.builds(
    Conversation,
    st.just("m"),
    st.lists(texts, max_size=2).map(tuple),
    st.lists(turns, min_size=1, max_size=4).map(tuple),
    tools=st.lists(st.builds(Tool, st.text(), st.text(), st.none() | objects), max_size=2).map(
        tuple
    ),
    tool_choice=st.none()
    | st.builds(ToolChoice, st.sampled_from(["auto", "none", "required", "named"]), st.text()),
    parallel_tool_calls=st.none() | st.booleans(),
    output=st.none() | st.builds(OutputFormat, st.none() | objects),
    parameters=st.dictionaries(
        st.sampled_from([name for name in NAMES if name not in ("messages", "tools")]) | st.text(),
        st.none() | any_json,
        max_size=4,
    ),
    stream=st.booleans(),
)


@some_examples
@given(conversations, st.sampled_from([NEW, OLD, "gemini-2.5-pro", "gemma-4-31b-it"]) | st.text())
def test_any_conversation_is_written_or_refused(chat: Conversation, model: str) -> None:
    with may_fail("invalid_request"):
        call = gemini_request.open_call(chat, model, Changes())
        assert isinstance(msgspec.json.decode(call.write_request()), dict)
        assert call.path.startswith("/models/")


@some_examples
@given(st.text(min_size=1), st.text(), objects, st.text(), st.sampled_from([NEW, OLD]))
def test_words_names_and_arguments_are_kept_exactly(
    text: str, name: str, value: dict[str, Any], answer: str, model: str
) -> None:
    chat = Conversation(
        "m",
        (Text(text),),
        (
            Turn("user", (Text(text),)),
            Turn("assistant", (ToolUse("c", name, msgspec.json.encode(value).decode(), "c2ln"),)),
            Turn("user", (ToolResult("c", name, (Text(answer),)),)),
        ),
        tools=(Tool(name, text, value),),
    )
    body, words = write(chat, model, strict=True)
    said, called, answered = (content["parts"][0] for content in body["contents"])
    declared = body["tools"][0]["functionDeclarations"][0]
    assert (said, body["systemInstruction"]) == ({"text": text}, {"parts": [{"text": text}]})
    assert (called["functionCall"]["name"], called["functionCall"]["args"]) == (name, value)
    assert called["thoughtSignature"] == "c2ln"
    assert answered["functionResponse"]["response"] == {"output": answer}
    assert (declared["name"], declared["parametersJsonSchema"]) == (name, value)
    assert words == []
