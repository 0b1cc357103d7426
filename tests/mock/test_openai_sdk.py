"""The mock as OpenAI's own SDK reads it, without a gateway between."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from mocking import PROMPT, SAID, run_mock
from trunkline.mock import Behaviour, MockServer

ASKED: Any = [{"role": "user", "content": PROMPT}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
                "required": ["city", "unit"],
            },
        },
    }
]


@pytest.fixture
def mock() -> Iterator[MockServer]:
    with run_mock() as server:
        yield server


@pytest.fixture
def client(mock: MockServer) -> Iterator[openai.OpenAI]:
    url = mock.base_url("openai")
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0, timeout=10) as made:
        yield made


def test_a_whole_chat(client: openai.OpenAI, mock: MockServer) -> None:
    answer = client.chat.completions.create(model="m", messages=ASKED)
    assert answer.choices[0].message.content == SAID
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 3)
    (served,) = mock.served
    assert (served.text, served.finish, served.completed) == (SAID, "stop", True)
    assert (served.input_tokens, served.output_tokens) == (4, 3)


def test_a_streamed_chat_with_usage(client: openai.OpenAI, mock: MockServer) -> None:
    stream = client.chat.completions.create(
        model="m", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert [c.choices[0].delta.content for c in chunks if c.choices] == [
        "",
        "one",
        " two",
        "  three",
        None,
    ]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 7
    assert mock.served[0].output_tokens == 3


def test_a_limit_ends_an_answer_with_length(client: openai.OpenAI, mock: MockServer) -> None:
    answer = client.chat.completions.create(model="m", messages=ASKED, max_tokens=2)
    assert answer.choices[0].message.content == "one two"
    assert answer.choices[0].finish_reason == "length"
    list(client.chat.completions.create(model="m", messages=ASKED, stream=True))
    assert mock.served[1].input_tokens is None  # nobody asked for usage, so none was reported


def test_alternatives_differ(client: openai.OpenAI) -> None:
    asked: Any = [{"role": "user", "content": "speak"}]
    answer = client.chat.completions.create(model="m", messages=asked, n=3)
    assert len({choice.message.content for choice in answer.choices}) == 3
    texts = ["", "", ""]
    for chunk in client.chat.completions.create(model="m", messages=asked, n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in answer.choices]


def test_a_required_tool_is_called_with_arguments_that_fit(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="m", messages=ASKED, tools=TOOLS, tool_choice="required"
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == (
        "weather",
        '{"city":"Paris","unit":"C"}',
    )
    stream = client.chat.completions.create(
        model="m", messages=ASKED, tools=TOOLS, tool_choice="required", stream=True
    )
    pieces = [c.choices[0].delta.tool_calls for c in stream]
    said = "".join(
        each.function.arguments or "" for calls in pieces for each in calls or () if each.function
    )
    assert said == call.function.arguments


def test_completions_embeddings_and_models(client: openai.OpenAI) -> None:
    text = client.completions.create(model="m", prompt=PROMPT)
    assert text.choices[0].text == SAID
    pieces = client.completions.create(model="m", prompt=PROMPT, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == SAID
    vectors = client.embeddings.create(model="m", input=["a b", "c"])
    assert [len(each.embedding) for each in vectors.data] == [4, 4]
    assert vectors.usage.prompt_tokens == 3
    floats = client.embeddings.create(model="m", input="a", encoding_format="float")
    assert floats.data[0].embedding == vectors.data[0].embedding
    assert [model.id for model in client.models.list()] == ["mock"]


def test_the_same_seed_says_the_same(client: openai.OpenAI, mock: MockServer) -> None:
    def say(prompt: str) -> str | None:
        asked: Any = [{"role": "user", "content": prompt}]
        answer = client.chat.completions.create(model="m", messages=asked)
        return answer.choices[0].message.content

    assert say("a") == say("a") != say("b")
    before = say("a")
    mock.seed = 1
    assert say("a") != before


def test_a_behaviour_says_what_is_said(client: openai.OpenAI, mock: MockServer) -> None:
    mock.plan = lambda _asked: Behaviour(
        text="all of this", chunks=2, usage=(7, 9), finish="content_filter"
    )
    options: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model="m", messages=ASKED, stream=True, stream_options=options
        )
    )
    said = [c.choices[0].delta.content for c in chunks if c.choices]
    assert said == ["", "all o", "f this", None]
    assert chunks[-2].choices[0].finish_reason == "content_filter"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 9


def test_a_model_asks_for_a_fault_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="fault:status_429:retry_after=7", messages=ASKED)
    assert caught.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.BadRequestError, match="there is no fault 'nope'"):
        client.chat.completions.create(model="fault:nope", messages=ASKED)
