import json
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocking import DIALECTS, write_request
from trunkline.mock import Asked, Behaviour
from trunkline.mock.answer import make_answer
from trunkline.mock.asking import read_asked
from trunkline.mock.behaviour import Dialect
from trunkline.mock.score import write_score


def ask(dialect: Dialect = "openai", *, stream: bool = False, **more: Any) -> Asked:
    path, body = write_request(dialect, stream=stream)
    asked = read_asked(1, "POST", path, {}, json.dumps(body | more).encode())
    assert asked is not None
    return asked


@given(
    text=st.text(max_size=60),
    chunks=st.none() | st.integers(1, 9),
    dialect=st.sampled_from(DIALECTS),
)
def test_no_byte_of_a_text_is_lost_however_it_is_cut(
    text: str, chunks: int | None, dialect: Dialect
) -> None:
    behaviour = Behaviour(text=text, chunks=chunks)
    answer = make_answer(ask(), behaviour, 0)
    assert answer.text == text
    assert chunks is None or len(answer.pieces[0]) <= chunks
    score = write_score(ask(dialect, stream=True, max_tokens=1000), behaviour, 0, 0)
    assert "".join(part.text for part in score.parts) == text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_request_gets_the_same_bytes(dialect: Dialect, *, stream: bool) -> None:
    path, body = write_request(dialect, stream=stream)
    asked = read_asked(1, "POST", path, {}, json.dumps(body).replace("echo", "say").encode())
    assert asked is not None
    one, same, other = (write_score(asked, Behaviour(), seed, 0) for seed in (1, 1, 2))
    assert one == same != other


def test_usage_counts_words_and_lies_only_when_told() -> None:
    assert make_answer(ask(), Behaviour(), 0).usage == (4, 3)
    assert make_answer(ask(max_tokens=2), Behaviour(), 0).usage == (4, 2)
    assert make_answer(ask(), Behaviour(usage=(1, 9)), 0).usage == (1, 9)


SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "object", "properties": {}},
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "warm": {"type": "boolean"},
            "unit": {"enum": ["C", "F"]},
            "where": {"type": "object", "properties": {"lat": {"type": ["number", "null"]}}},
            "tags": {"type": "array", "items": {"type": "string"}},
            "extra": {"type": "string"},
        },
        "required": ["city", "days", "warm", "unit", "where", "tags"],
    },
)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_arguments_fit_the_schema_of_the_tool(schema: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    answer = make_answer(ask(tools=tools, tool_choice="required"), Behaviour(), 0)
    assert answer.tool is not None
    jsonschema_rs.validate(schema, json.loads(answer.tool.arguments))
    assert answer.finish == "tool_calls"
    assert "".join(answer.split_arguments()) == answer.tool.arguments


@given(text=st.text(max_size=40), chunks=st.none() | st.integers(1, 9), at=st.integers(0, 40))
def test_what_was_said_already_is_not_said_again(text: str, chunks: int | None, at: int) -> None:
    asked = msgspec.structs.replace(ask(), said=text[:at])
    rest = make_answer(asked, Behaviour(text=text, chunks=chunks), 0)
    assert rest.text == text[at:]
    other = msgspec.structs.replace(ask(), said=f"{text}!")
    assert make_answer(other, Behaviour(text=text), 0).text == text
