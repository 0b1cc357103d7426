"""Properties of every request: understood, or refused with the path of what is not."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.chat import ChatRequest, Conversation, Media, Text, ToolResult, ToolUse
from trunkline.errors import GatewayError
from trunkline.wire.openai_chat import read_request
from trunkline.wire.openai_conversation import read_conversation
from wire.asked import HI, PNG, WEATHER, make_calls, read, write_call
from wire.sample import any_json, may_fail, patch

many = settings(max_examples=200)
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PATH = re.compile(r"body|messages|tool_choice|function_call|response_format")

words = st.text(max_size=6)
objects = st.dictionaries(words, any_json, max_size=2)
arguments = objects.map(lambda value: msgspec.json.encode(value).decode())

caches = {"cache_control": st.none() | objects}
text_parts = st.fixed_dictionaries({"type": st.just("text"), "text": words}, optional=caches)
image_urls = st.fixed_dictionaries(
    {"url": st.sampled_from([PNG, "https://e.test/a.png"])},
    optional={"detail": st.sampled_from(["auto", "low"])},
)
user_parts = (
    text_parts
    | st.fixed_dictionaries({"type": st.just("image_url"), "image_url": image_urls})
    | st.just({"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}})
    | st.just({"type": "file", "file": {"file_data": PNG, "filename": "a.png"}})
)
calls = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["c1", "c2"]),
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": st.just("f"), "arguments": arguments}),
    },
    optional={"extra_content": st.just({"google": {"thought_signature": "s"}})},
)
thoughts = st.sampled_from(
    [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
    ]
)
said = st.fixed_dictionaries(
    {"role": st.just("assistant")},
    optional={
        "content": st.none() | words | st.lists(text_parts, max_size=2),
        "refusal": st.none() | words,
        "tool_calls": st.none() | st.lists(calls, max_size=2),
        "function_call": st.none() | st.just({"name": "f", "arguments": "{}"}),
        "reasoning_content": st.none() | words,
        "thinking_blocks": st.none() | st.lists(thoughts, max_size=2),
        "audio": st.none() | st.just({"id": "audio_1"}),
        "name": words,
    },
)
asked = st.fixed_dictionaries(
    {"role": st.just("user"), "content": words | st.lists(user_parts, max_size=3)},
    optional={"name": words},
)
ordered = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "developer"]),
        "content": words | st.lists(text_parts, max_size=2),
    }
)
answered = st.fixed_dictionaries(
    {
        "role": st.just("tool"),
        "tool_call_id": st.sampled_from(["c1", "c2"]),
        "content": words | st.lists(user_parts, max_size=2),
    },
    optional=caches,
) | st.just({"role": "function", "name": "f", "content": "1"})
function = st.fixed_dictionaries(
    {"name": st.just("f")}, optional={"description": words, "parameters": objects}
)
OPENING = [
    HI,
    {
        **make_calls(write_call(of="c1"), write_call(of="c2")),
        "function_call": {"name": "f", "arguments": "{}"},
    },
]
talks = st.lists(asked | ordered | said | answered, max_size=5).map(lambda more: [*OPENING, *more])
bodies = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": talks | st.lists(asked | said, min_size=1)},
    optional={
        "tools": st.just([WEATHER]),
        "functions": st.lists(function, max_size=2),
        "tool_choice": st.sampled_from(["auto", "none", "required", WEATHER]),
        "function_call": st.sampled_from(["auto", "none", {"name": "f"}]),
        "response_format": st.sampled_from(
            [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": {}}}]
        ),
        "n": st.integers(0, 5),
        "stop": st.lists(words, max_size=4) | words,
        "made_up": any_json,
    },
)
odd = any_json | st.sampled_from([*ROLES, "text", "image_url", "file", "c1", "f", "{}", PNG])


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """A request as OpenAI's reference has it, but for something odd in a place or two."""
    body: Any = draw(bodies)
    for _ in range(draw(st.integers(0, 2))):
        body = patch(body, draw(st.sampled_from(list(list_paths(body)))), draw(odd))
    return {"model": "m", **body}


def list_paths(value: Any, prefix: str = "") -> Iterator[str]:
    items: Any = ()
    if isinstance(value, dict):
        items = [(key, item) for key, item in value.items() if "." not in key and key]
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        if not str(key).isdigit() or isinstance(value, list):
            yield f"{prefix}{key}"
            yield from list_paths(item, f"{prefix}{key}.")


@many
@given(spoiled())
def test_any_request_is_understood_or_refused_with_a_path(body: dict[str, Any]) -> None:
    with may_fail("validation_error"):
        request = read_request(msgspec.json.encode(body))
        understood = understand(request)
        if isinstance(understood, Conversation):
            check_turns(understood)
        else:
            assert (understood.code, understood.status) == ("invalid_request", 400)
            assert PATH.search(understood.message)


def understand(request: ChatRequest) -> Conversation | GatewayError:
    try:
        return read_conversation(request)
    except GatewayError as error:
        return error


def check_turns(chat: Conversation) -> None:
    """What every format may rely on."""
    assert chat.turns
    assert all(one.role != other.role for one, other in pairwise(chat.turns))
    made: dict[str, str] = {}
    for turn in chat.turns:
        assert turn.parts
        for part in turn.parts:
            assert isinstance(part, (Text, Media, ToolResult)) or turn.role == "assistant"
            if isinstance(part, ToolUse):
                assert isinstance(msgspec.json.decode(part.arguments), dict)
                made[part.id] = part.name
            if isinstance(part, ToolResult):
                assert turn.role == "user"
                assert made[part.id] == part.name
            if isinstance(part, Media):
                assert bool(part.url) != bool(part.media_type)
    assert None not in chat.parameters.values()
    assert chat.n >= 1


spoken = st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, words), min_size=1, max_size=3
)
user = st.builds(lambda content: {"role": "user", "content": content}, words | spoken)
system = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["system", "developer"]),
    words | spoken,
)
assistant = st.builds(
    lambda content, text: {"role": "assistant", "content": content, "reasoning_content": text},
    st.none() | words | spoken,
    st.none() | words,
)


def list_texts(message: dict[str, Any]) -> list[str]:
    content = message["content"]
    if isinstance(content, list):
        return [part["text"] for part in content]
    return [content] if content else []


@many
@given(st.lists(user | system | assistant, max_size=6))
def test_every_word_is_kept_in_its_order(messages: list[dict[str, Any]]) -> None:
    chat = read({"role": "user", "content": "Hi"}, *messages)
    check_turns(chat)
    for role in ("user", "assistant"):
        kept = [
            part.text
            for turn in chat.turns
            for part in turn.parts
            if turn.role == role and isinstance(part, Text) and part.text
        ]
        said = [text for each in messages if each["role"] == role for text in list_texts(each)]
        assert kept == (["Hi"] if role == "user" else []) + [text for text in said if text]
    told = [each for each in messages if each["role"] in ("system", "developer")]
    assert [text.text for text in chat.system] == [t for each in told for t in list_texts(each)]


@many
@given(st.lists(st.tuples(words, words, arguments, words), min_size=1, unique_by=lambda c: c[0]))
def test_calls_and_answers_are_kept_exactly(made: list[tuple[str, str, str, str]]) -> None:
    calls = [
        {"id": of, "type": "function", "function": {"name": name, "arguments": text}}
        for of, name, text, _ in made
    ]
    answers = [{"role": "tool", "tool_call_id": of, "content": said} for of, _, _, said in made]
    chat = read(
        {"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": calls}, *answers
    )
    _, used, told = chat.turns
    assert used.parts == tuple(ToolUse(of, name, text) for of, name, text, _ in made)
    assert told.parts == tuple(ToolResult(of, name, (Text(said),)) for of, name, _, said in made)


@many
@given(st.dictionaries(words.map("x_{}".format), any_json))
def test_what_nobody_knows_is_a_parameter(more: dict[str, Any]) -> None:
    assert read(**more).parameters == {
        name: value for name, value in more.items() if value is not None
    }
