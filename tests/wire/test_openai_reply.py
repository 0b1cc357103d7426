"""The strict shapes are no looser than the official clients: what fits passes all of them."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.wire import openai_chat, openai_text
from trunkline.wire.openai_reply import CHAT_ANSWER, CHAT_CHUNK, TEXT_ANSWER, Delta
from trunkline.wire.sse import write_frame
from wire.sample import any_json, make_chunk, make_stamp, may_fail, patch, read_case
from wire.strict import SSE, ask_chat, find_refusers, read_text

FULL = msgspec.json.decode(read_case("openai/full.json"))
TOOL = msgspec.json.decode(read_case("openai/tool.json"))
TEXT = msgspec.json.decode(read_case("openai/text_logprobs.json"))
CHUNK = make_chunk(
    {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "function_call": {"name": "f", "arguments": ""},
        "tool_calls": [
            {"index": 0, "id": "i", "type": "function", "function": {"name": "f", "arguments": ""}}
        ],
    },
    "stop",
    usage=FULL["usage"],
    service_tier="default",
    system_fingerprint="fp",
)
CHUNK["choices"][0]["logprobs"] = FULL["choices"][0]["logprobs"]
words = st.sampled_from(["", "stop", "eos", "assistant", "function", "standard", "auto", "5"])
odd = st.just(...) | words | any_json


def list_paths(value: Any, prefix: str = "") -> Iterator[str]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield f"{prefix}{key}"
        yield from list_paths(item, f"{prefix}{key}.")


def change(good: Any) -> st.SearchStrategy[bytes]:
    """The answer with one or two places changed to something odd."""
    places = st.tuples(st.sampled_from(list(list_paths(good))), odd)

    def apply(changes: list[tuple[str, Any]]) -> bytes:
        value = good
        for path, new in sorted(changes, reverse=True):  # inner places before outer ones
            value = patch(value, path, new)
        return msgspec.json.encode(value)

    one_or_two = st.lists(places, min_size=1, max_size=2, unique_by=lambda place: place[0])
    return one_or_two.filter(
        lambda changes: len({path.split(".")[0] for path, _ in changes}) == len(changes)
    ).map(apply)


many = settings(max_examples=150)


@many
@given(change(FULL) | change(TOOL))
def test_a_whole_answer_that_comes_out_passes_every_client(body: bytes) -> None:
    with may_fail("upstream_error"):
        _, payload = openai_chat.read_answer(body, make_stamp())
        assert find_refusers(ask_chat(payload)) == set()
        assert msgspec.json.encode(CHAT_ANSWER.decode(payload))


@many
@given(change(CHUNK))
def test_a_chunk_that_comes_out_passes_every_client(body: bytes) -> None:
    with may_fail("upstream_error"):
        _, payload = openai_chat.read_chunk(body, make_stamp())
        asked = ask_chat(write_frame(payload), SSE, stream=True)
        assert find_refusers(asked) == set()
        assert msgspec.json.encode(CHAT_CHUNK.decode(payload))


# The first token of an echoed prompt has no probability, though the client's types want one.
@many
@given(change(patch(TEXT, "choices.0.logprobs", None)))
def test_a_text_answer_that_comes_out_passes_openais_client(body: bytes) -> None:
    with may_fail("upstream_error"):
        _, payload = openai_text.read_answer(body, make_stamp())
        assert read_text(payload).object == "text_completion"
        assert msgspec.json.encode(TEXT_ANSWER.decode(payload))


@pytest.mark.parametrize("value", [FULL, TOOL])
def test_what_the_clients_accept_fits(value: Any) -> None:
    body = msgspec.json.encode(value)
    assert find_refusers(ask_chat(body)) == set()
    assert CHAT_ANSWER.decode(body).id == value["id"]


def test_a_role_alone_says_nothing() -> None:
    assert not Delta(role="assistant", content="").says_something()
    assert Delta(content="a").says_something()
