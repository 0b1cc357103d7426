"""Requests for the rest of an answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import ChatRequest, ImageRef, TextRequest
from trunkline.errors import GatewayError
from trunkline.wire.continuation import (
    Way,
    asks_for_thoughts,
    asks_plain_text,
    split_text,
    write_continuation,
)
from trunkline.wire.openai_chat import read_request
from trunkline.wire.transcript import Said

MESSAGES = [{"role": "user", "content": "Hi"}]
SAID = Said("Once upon ", output_tokens=30)


def ask(**more: Any) -> ChatRequest:
    return read_request(json.dumps({"model": "m", "messages": MESSAGES, **more}).encode())


def write(way: Way, **more: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": MESSAGES, **more}
    written = json.loads(write_continuation(json.dumps(body).encode(), way, SAID))
    assert isinstance(written, dict)
    return written


def test_the_text_so_far_is_the_last_message() -> None:
    said = {"role": "assistant", "content": "Once upon"}
    assert write("assistant")["messages"] == [*MESSAGES, said]
    assert write("prefix")["messages"][-1] == said | {"prefix": True}
    assert write("blocks")["messages"][-1] == said | {"content": [{"text": "Once upon"}]}
    told = write("continue_final_message", temperature=0)
    assert told["messages"][-1] == said
    assert (told["continue_final_message"], told["add_generation_prompt"]) == (True, False)
    assert told["temperature"] == 0


def test_a_raw_prompt_keeps_its_blanks() -> None:
    body = json.dumps({"prompt": "Tell me: ", "max_new_tokens": 31}).encode()
    written = json.loads(write_continuation(body, "prompt", SAID))
    assert written == {"prompt": "Tell me: Once upon ", "max_new_tokens": 1}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("limit", "left"), [(100, 70), (31, 1), (30, 1), (5, 1)])
def test_the_limit_is_what_is_left(name: str, limit: int, left: int) -> None:
    assert write("assistant", **{name: limit})[name] == left


def test_bedrocks_limit_stands_deeper() -> None:
    written = write("blocks", inferenceConfig={"maxTokens": 50, "temperature": 1})
    assert written["inferenceConfig"] == {"maxTokens": 20, "temperature": 1}


def test_a_request_without_limit_gets_none() -> None:
    assert set(write("assistant")) == {"model", "messages"}


@pytest.mark.parametrize("kind", ["enabled", "adaptive"])
def test_a_model_that_thinks_is_not_asked(kind: str) -> None:
    with pytest.raises(GatewayError):
        write("assistant", thinking={"type": kind})
    assert write("assistant", thinking={"type": "disabled"})["messages"]


@given(text=st.text())
def test_nothing_of_the_text_is_lost(text: str) -> None:
    ways: tuple[Way, ...] = ("assistant", "prompt")
    for way in ways:
        sent, kept = split_text(text, way)
        assert sent + kept == text
        assert way == "prompt" or sent == sent.rstrip()
        assert not kept.strip()


PLAIN: list[dict[str, Any]] = [
    {},
    {"tools": [], "logprobs": False, "n": 1, "response_format": {"type": "text"}},
    {"response_format": None, "modalities": ["text"], "stop": "x", "seed": 1},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    {"messages": [*MESSAGES, {"role": "assistant", "content": "Yes?"}, *MESSAGES]},
]
MORE: list[dict[str, Any]] = [
    {"tools": [{"type": "function"}]},
    {"functions": [{"name": "f"}]},
    {"logprobs": True},
    {"top_logprobs": 2},
    {"n": 2},
    {"audio": {"voice": "x"}},
    {"modalities": ["text", "audio"]},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {}}},
    {"web_search_options": {"x": 1}},
    {"continue_final_message": True},
    {"messages": [*MESSAGES, {"role": "assistant", "content": "Yes"}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
    {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}, *MESSAGES]},
]


@pytest.mark.parametrize("more", PLAIN)
def test_plain_text(more: dict[str, Any]) -> None:
    assert asks_plain_text(ask(**more))


@pytest.mark.parametrize("more", MORE)
def test_more_than_plain_text(more: dict[str, Any]) -> None:
    assert not asks_plain_text(ask(**more))


def test_completions_are_plain_without_images() -> None:
    request = TextRequest("m", "Hi", True, 0.2)
    assert asks_plain_text(request)
    assert not asks_plain_text(TextRequest("m", "Hi", True, 0.2, images=(ImageRef("x"),)))
    assert not asks_for_thoughts(request)
    assert asks_for_thoughts(TextRequest("m", "Hi", True, 0.2, reasoning_effort="low"))


def test_a_request_for_thoughts() -> None:
    assert not asks_for_thoughts(ask())
    assert not asks_for_thoughts(ask(reasoning_effort="none"))
    assert asks_for_thoughts(ask(reasoning_effort="low"))
    assert asks_for_thoughts(ask(thinking={"type": "enabled"}))
