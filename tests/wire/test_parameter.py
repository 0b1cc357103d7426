from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire import llm_engine, openai_chat, openai_text
from trunkline.wire.change import Changes
from trunkline.wire.parameter import MEANINGLESS, NAMES, Cell, write_parameters
from wire.sample import any_json, some_examples

COLUMN: Mapping[str, Cell] = {
    "top_p": Cell("carried"),
    "seed": Cell("renamed", to="random_seed"),
    "stop": Cell("renamed", to="config.stopSequences"),
    "top_k": Cell("renamed", to="config.topK"),
    "user": Cell("renamed", to="user"),
    "temperature": Cell("clamped", low=0, high=1),
    "presence_penalty": Cell("clamped", to="penalties.presence", low=0),
    "top_logprobs": Cell("clamped", high=5.0),
    "max_tokens": Cell("defaulted", to="max_new_tokens", high=4096),
    "logit_bias": Cell("dropped"),
    "verbosity": Cell("dropped"),
    "modalities": Cell("refused"),
    "tools": Cell("carried", by_code=True),
    "audio": Cell("refused", by_code=True),
    "frequency_penalty": Cell("carried"),
}


def write(given_values: dict[str, Any], *, strict: bool = False) -> tuple[Any, list[str]]:
    changes = Changes(strict=strict)
    return write_parameters(COLUMN, given_values, changes), changes.words


@pytest.mark.parametrize(
    ("value", "fields", "words"),
    [
        ({}, {}, []),
        ({"top_p": 0.5}, {"top_p": 0.5}, []),
        ({"frequency_penalty": 0}, {"frequency_penalty": 0}, []),
        ({"seed": 7}, {"random_seed": 7}, ["renamed:seed=random_seed"]),
        (
            {"stop": ["a"], "top_k": 3},
            {"config": {"stopSequences": ["a"], "topK": 3}},
            ["renamed:stop=config.stopSequences", "renamed:top_k=config.topK"],
        ),
        ({"user": "u"}, {"user": "u"}, []),
        ({"temperature": 0.3}, {"temperature": 0.3}, []),
        ({"temperature": 1.5}, {"temperature": 1}, ["clamped:temperature=1"]),
        ({"temperature": -0.5}, {"temperature": 0}, ["clamped:temperature=0"]),
        ({"temperature": 0}, {"temperature": 0}, []),
        ({"top_logprobs": 20}, {"top_logprobs": 5}, ["clamped:top_logprobs=5"]),
        (
            {"presence_penalty": -1},
            {"penalties": {"presence": 0}},
            ["clamped:presence_penalty=0", "renamed:presence_penalty=penalties.presence"],
        ),
        ({"presence_penalty": 0}, {}, []),
        (
            {"max_tokens": 9999},
            {"max_new_tokens": 4096},
            ["clamped:max_tokens=4096", "renamed:max_tokens=max_new_tokens"],
        ),
        ({"logit_bias": {"1": 2}}, {}, ["dropped:logit_bias"]),
        ({"logit_bias": {}}, {}, []),
        ({"verbosity": "medium"}, {}, []),
        ({"verbosity": "low"}, {}, ["dropped:verbosity"]),
        ({"modalities": ["text"]}, {}, []),
        ({"tools": [1], "audio": {}}, {}, []),
        ({"vendor_field": None, "x": {"y": 1}}, {}, ["dropped:vendor_field", "dropped:x"]),
    ],
)
def test_a_cell_says_what_becomes_of_a_value(
    value: dict[str, Any], fields: dict[str, Any], words: list[str]
) -> None:
    assert write(value) == (fields, words)


def test_a_refused_parameter_is_named() -> None:
    with pytest.raises(GatewayError, match="'modalities' cannot be expressed") as caught:
        write({"modalities": ["text", "audio"]})
    assert (caught.value.code, caught.value.param) == ("invalid_request", "modalities")


@pytest.mark.parametrize("value", [{"temperature": 2}, {"logit_bias": {"1": 1}}, {"unknown": 1}])
def test_a_strict_client_loses_nothing(value: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        write(value, strict=True)
    assert caught.value.param == next(iter(value))
    assert write({"seed": 1, "verbosity": "medium"}, strict=True)[0] == {"random_seed": 1}


def list_values(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        return [value]
    return [leaf for inner in value.values() for leaf in list_values(inner)]


@some_examples
@given(st.dictionaries(st.sampled_from([*NAMES, "vendor_field"]), any_json))
def test_nothing_is_lost_without_a_word(value: dict[str, Any]) -> None:
    value.pop("modalities", None)
    fields, words = write(value)
    for name, asked in value.items():
        cell = COLUMN.get(name, Cell("dropped"))
        if cell.by_code or asked in MEANINGLESS.get(name, ()):
            continue
        told = [word for word in words if word.partition(":")[2].partition("=")[0] == name]
        assert (f"dropped:{name}" in told) == (cell.how == "dropped")
        if cell.how != "dropped":
            place = fields
            for step in (cell.to or name).split("."):
                place = place[step]
            assert place == asked or f"clamped:{name}={place}" in told


@pytest.mark.parametrize("column", [openai_chat.PARAMETERS, llm_engine.PARAMETERS])
def test_a_column_has_a_cell_for_every_name(column: Mapping[str, Cell]) -> None:
    assert set(column) == set(NAMES)


def test_the_names_are_those_that_requests_may_hold() -> None:
    assert len(set(NAMES)) == len(NAMES)
    checked = {*openai_chat.ChatBody.__struct_fields__, *openai_text.TextBody.__struct_fields__}
    # The rest are the model, and fields that only the legacy text format has.
    left = {"model", "max_completion_tokens", "best_of", "echo", "suffix"}
    assert checked - set(NAMES) == left
    assert set(MEANINGLESS) <= set(NAMES)
