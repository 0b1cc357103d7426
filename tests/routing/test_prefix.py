"""The beginning of a conversation is the same for each of its turns, and for no other."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import ChatRequest, TextRequest
from trunkline.routing.prefix import find_prefix


def chat(*turns: tuple[str, Any], model: str = "m", account: str = "a") -> bytes:
    messages = [{"role": role, "content": content} for role, content in turns]
    body = json.dumps({"model": model, "messages": messages}).encode()
    request = ChatRequest(model, body, stream=False, include_usage=False)
    return find_prefix(account, request)


SYSTEM = ("system", "You are kind.")
FIRST = ("user", [{"type": "text", "text": "Hi"}])


def test_later_turns_do_not_change_it() -> None:
    start = chat(SYSTEM, FIRST)
    assert start == chat(SYSTEM, FIRST, ("assistant", "Hello"), ("user", "More"))


def test_another_beginning_account_or_model_does() -> None:
    others = [
        chat(SYSTEM, FIRST),
        chat(FIRST),
        chat(("system", "Be brief."), FIRST),
        chat(SYSTEM, ("user", "Hi")),
        chat(SYSTEM, FIRST, model="n"),
        chat(SYSTEM, FIRST, account="b"),
    ]
    assert len(set(others)) == len(others)


def text(prompt: str) -> bytes:
    return find_prefix("a", TextRequest("m", prompt, stream=False, temperature=0.2))


def test_a_prompt_counts_by_its_beginning() -> None:
    long = "x" * 2000
    assert text(long) == text(long + "y")
    assert text("x") != text("y")


@given(st.binary())
def test_a_body_that_is_no_chat_has_one_too(body: bytes) -> None:
    request = ChatRequest("m", body, stream=False, include_usage=False)
    assert len(find_prefix("a", request)) == 32
