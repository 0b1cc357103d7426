from typing import Any

import msgspec
import pytest

from trunkline.chat import (
    ChatRequest,
    Conversation,
    ImageRef,
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
from trunkline.wire.change import Changes
from trunkline.wire.openai_chat import read_request
from trunkline.wire.openai_conversation import convert_prompt, read_conversation
from wire.asked import (
    HI,
    PNG,
    WEATHER,
    answer_call,
    make_calls,
    make_image,
    read,
    write_call,
    write_image,
)

CACHE = {"type": "ephemeral"}


def test_a_plain_request_is_one_turn() -> None:
    assert read() == Conversation("m", (), (Turn("user", (Text("Hi"),)),))


def test_messages_of_system_and_developer_are_apart_from_the_turns() -> None:
    chat = read(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi", "name": "Ada"},
        {"role": "developer", "content": [{"type": "text", "text": "x", "cache_control": CACHE}]},
        {"role": "system", "content": ""},
        {"role": "assistant", "content": "Hello"},
    )
    assert chat.system == (Text("Be brief."), Text("x", CACHE))
    assert chat.turns == (Turn("user", (Text("Hi"),)), Turn("assistant", (Text("Hello"),)))


@pytest.mark.parametrize("text", [' {"a": 1}\n', '{"a":1.0}', '{"a":1,"a":2}', '{"\\u00e9":1}'])
def test_arguments_are_kept_byte_for_byte(text: str) -> None:
    chat = read(HI, make_calls(write_call(arguments=text)))
    assert chat.turns[1].parts == (ToolUse("c1", "weather", text),)
    blank = read(HI, make_calls(write_call(arguments=" ")))
    assert blank.turns[1].parts == (ToolUse("c1", "weather", "{}"),)


def test_messages_of_one_side_become_one_turn() -> None:
    chat = read(
        HI,
        {"role": "user", "content": [{"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "d"},
    )
    assert chat.turns == (
        Turn("user", (Text("Hi"), Text("there"))),
        Turn("assistant", (Text("a"), Text("b"))),
        Turn("user", (Text("c"), Text("d"))),
    )


def test_calls_and_their_results_are_turns_of_both_sides() -> None:
    signed = {"google": {"thought_signature": "sig"}}
    chat = read(
        HI,
        make_calls(
            write_call(arguments='{"city": "Oslo"}', extra_content=signed),
            write_call("time", "c2", ""),
        ),
        answer_call("c2", "noon"),
        answer_call("c1", [{"type": "text", "text": "mild"}, write_image()], cache_control=CACHE),
        {"role": "user", "content": "Thanks"},
    )
    assert chat.turns[1:] == (
        Turn(
            "assistant",
            (ToolUse("c1", "weather", '{"city": "Oslo"}', "sig"), ToolUse("c2", "time", "{}")),
        ),
        Turn(
            "user",
            (
                ToolResult("c2", "time", (Text("noon"),)),
                ToolResult("c1", "weather", (Text("mild"), make_image()), CACHE),
                Text("Thanks"),
            ),
        ),
    )


def test_thoughts_stand_before_words_and_calls() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "xyz"},
    ]
    said = make_calls(write_call(), content="Look", reasoning_content="Hm", thinking_blocks=blocks)
    assert read(HI, said).turns[1].parts == (
        Reasoning("Hm", "s"),
        Reasoning(redacted="xyz"),
        Text("Look"),
        ToolUse("c1", "weather", "{}"),
    )
    plain = {"role": "assistant", "content": "Yes", "reasoning_content": "Hm"}
    assert read(HI, plain).turns[1].parts == (Reasoning("Hm"), Text("Yes"))


def test_a_refusal_is_what_the_assistant_said() -> None:
    part = {"type": "refusal", "refusal": "No."}
    for said in ({"content": None, "refusal": "No."}, {"content": [part]}):
        chat = read(HI, {"role": "assistant", **said})
        assert chat.turns[1] == Turn("assistant", (Text("No."),))


def test_legacy_functions_are_tools_and_answered_in_their_words() -> None:
    def ask(name: str) -> Any:
        function = {"name": name, "arguments": '{"a":1}'}
        return {"role": "assistant", "content": None, "function_call": function}

    def tell(name: str, content: str | None) -> Any:
        return {"role": "function", "name": name, "content": content}

    chat = read(
        HI,
        ask("f"),
        tell("f", "1"),
        ask("f"),
        tell("f", None),
        ask("g"),
        tell("g", "3"),
        functions=[{"name": "f", "description": "F", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    assert chat.legacy
    assert chat.tools == (Tool("f", "F", {"type": "object"}),)
    assert chat.tool_choice == ToolChoice("named", "f")
    used = [part for turn in chat.turns for part in turn.parts if isinstance(part, ToolUse)]
    told = [part for turn in chat.turns for part in turn.parts if isinstance(part, ToolResult)]
    assert [part.id for part in used] == [part.id for part in told]
    assert len({part.id for part in used}) == 3
    assert [part.parts for part in told] == [(Text("1"),), (Text(""),), (Text("3"),)]
    assert not read(functions=[{"name": "f"}], tools=[WEATHER]).legacy


@pytest.mark.parametrize(
    ("url", "media"),
    [
        (PNG, make_image()),
        ("data:image/png;charset=x;base64,iVBORw0KGgo=", make_image()),
        ("https://e.test/a.png?b=c", Media("image", url="https://e.test/a.png?b=c")),
        ("http://e.test/a", Media("image", url="http://e.test/a")),
    ],
)
def test_an_image_is_an_address_or_data(url: str, media: Media) -> None:
    chat = read({"role": "user", "content": [write_image(url)]})
    assert chat.turns[0].parts == (media,)


def test_an_images_detail_and_cache_are_kept() -> None:
    parts = [
        write_image(detail="high"),
        write_image(detail="auto"),
        {**write_image(), "cache_control": CACHE},
    ]
    chat = read({"role": "user", "content": parts})
    assert chat.turns[0].parts == (make_image("high"), make_image(), make_image(cache=CACHE))


def test_files_and_sounds_are_media() -> None:
    pdf = {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}
    parts = [
        {"type": "file", "file": pdf, "cache_control": CACHE},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    assert read({"role": "user", "content": parts}).turns[0].parts == (
        Media("document", media_type="application/pdf", data="JVBERi0=", name="a.pdf", cache=CACHE),
        Media("audio", media_type="audio/wav", data="UklGRg=="),
    )


def test_tools_are_read_with_all_they_say() -> None:
    function = {"name": "f", "description": "F", "parameters": {"type": "object"}, "strict": True}
    offered = [{"type": "function", "function": function, "cache_control": CACHE}, WEATHER]
    assert read(tools=offered).tools == (
        Tool("f", "F", {"type": "object"}, strict=True, cache=CACHE),
        Tool("weather"),
    )


@pytest.mark.parametrize(
    ("choice", "fields", "read_as"),
    [
        ("auto", {"tools": [WEATHER]}, ToolChoice("auto")),
        ("none", {"tools": [WEATHER]}, ToolChoice("none")),
        ("required", {"tools": [WEATHER]}, ToolChoice("required")),
        (WEATHER, {"tools": [WEATHER]}, ToolChoice("named", "weather")),
        (None, {"tools": [WEATHER]}, None),
        ("auto", {}, None),
        ("none", {"tools": []}, None),
    ],
)
def test_the_choice_of_a_tool(choice: Any, fields: Any, read_as: ToolChoice | None) -> None:
    assert read(tool_choice=choice, **fields).tool_choice == read_as


@pytest.mark.parametrize(
    ("wanted", "output"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, OutputFormat()),
        (
            # What the v4 client sends for a pydantic class.
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            OutputFormat({"type": "object"}, "n"),
        ),
        (
            {
                "type": "json_schema",
                "json_schema": {"schema": {}, "description": "d", "strict": True},
            },
            OutputFormat({}, "answer", "d", strict=True),
        ),
    ],
)
def test_the_format_of_the_answer(wanted: Any, output: OutputFormat | None) -> None:
    assert read(response_format=wanted).output == output


def test_everything_else_is_a_parameter() -> None:
    chat = read(
        temperature=0,
        stop="END",
        max_tokens=5,
        max_completion_tokens=7,
        n=3,
        parallel_tool_calls=False,
        stream=True,
        stream_options={"include_usage": True},
        seed=None,
        made_up={"x": [None]},
        logit_bias={},
    )
    assert chat.parameters == {
        "temperature": 0,
        "stop": ["END"],
        "max_tokens": 7,
        "made_up": {"x": [None]},
        "logit_bias": {},
    }
    assert (chat.n, chat.parallel_tool_calls) == (3, False)
    assert (chat.stream, chat.include_usage) == (True, True)
    assert read(n=0).n == 1
    assert "stop" not in read(stop=[]).parameters
    assert read(stop=["a", "b"]).parameters["stop"] == ["a", "b"]


@pytest.mark.parametrize("place", [b'"x":1e999', b'"metadata":null,"user":-1e999'])
def test_a_number_beyond_all_ranges_is_refused(place: bytes) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],%b}' % place
    with pytest.raises(GatewayError, match="body: Number out of range") as caught:
        read_conversation(ChatRequest("m", body, stream=False, include_usage=False))
    assert caught.value.code == "invalid_request"


def test_what_a_conversation_has_no_place_for_is_told() -> None:
    messages = [
        {**HI, "name": "Ada"},
        {"role": "assistant", "content": "a", "audio": {"id": "audio_1"}},
        {**HI, "name": "Bob"},
    ]
    body = msgspec.json.encode({"model": "m", "messages": messages})
    changes = Changes()
    read_conversation(read_request(body), changes)
    assert changes.words == ["dropped:messages.name", "dropped:messages.audio"]
    with pytest.raises(GatewayError, match=r"'messages\.name' is not known"):
        read_conversation(read_request(body), Changes(strict=True))


def test_a_prompt_is_one_user_turn() -> None:
    request = TextRequest(
        "m",
        "See",
        stream=True,
        temperature=0.2,
        images=(ImageRef("https://e.test/a.png"), ImageRef(PNG, "low")),
        max_tokens=0,
        stop=("a",),
        top_p=0.5,
        top_k=3,
        frequency_penalty=-1,
        reasoning_effort="low",
    )
    chat = convert_prompt(request)
    parts = (Text("See"), Media("image", url="https://e.test/a.png"), make_image("low"))
    assert chat.turns == (Turn("user", parts),)
    assert chat.parameters == {
        "stop": ["a"],
        "temperature": 0.2,
        "max_tokens": 0,
        "top_p": 0.5,
        "top_k": 3,
        "frequency_penalty": -1,
        "reasoning_effort": "low",
    }
    assert (chat.stream, chat.include_usage, chat.n) == (True, True, 1)
    bare = TextRequest("m", "p", stream=False, temperature=None)
    assert convert_prompt(bare).parameters == {}


def test_a_prompts_broken_image_is_named() -> None:
    images = (ImageRef(PNG), ImageRef("image_url"))
    request = TextRequest("m", "p", stream=False, temperature=0, images=images)
    with pytest.raises(GatewayError, match=r"images\[1\]\.image_url: expected") as caught:
        convert_prompt(request)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "images")
