"""One conversation on every wire: it arrives wholly, and every client gets the same answer."""

import json
from typing import Any

import openai
import pytest

from wires.asked import (
    FORM,
    HISTORY,
    IMAGE,
    OFFERED,
    OPENING,
    Item,
    ask_for_calls,
    ask_for_structure,
    ask_for_thought,
)
from wires.dialect import DIALECTS, Dialect
from wires.folding import read_told
from wires.stage import CLIENTS, Stage

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
UNSIGNED = "skip_thought_signature_validator"


def make_given(dialect: Dialect, scenario: str) -> dict[str, Any]:
    if scenario == "structure":
        given = ask_for_structure(image=dialect.sees)
    else:
        given = {"calls": ask_for_calls, "thought": ask_for_thought}[scenario]()
    return {"model": dialect.name, **given}


def list_items(dialect: Dialect, scenario: str) -> list[Item]:
    if scenario == "thought":
        return OPENING
    if scenario == "calls":
        return [*OPENING, OFFERED]
    history = [dict(item) for item in HISTORY]
    if dialect.wire == "gemini":
        history[1]["seal"] = UNSIGNED
    return [*OPENING, *([IMAGE] if dialect.sees else []), *history, OFFERED, FORM]


def find(body: Any, path: str) -> Any:
    for step in path.split("."):
        body = body[step]
    return body


@STREAMED
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("scenario", ["structure", "calls", "thought"])
@pytest.mark.parametrize("wire", DIALECTS)
def test_a_conversation(
    stage: Stage, wire: str, scenario: str, client: str, *, stream: bool
) -> None:
    dialect = DIALECTS[wire]
    given = make_given(dialect, scenario)
    if stream:
        given["stream_options"] = {"include_usage": True}
    got = stage.ask(client, given, stream=stream, answer=dialect.answer(scenario, stream=stream))

    dialect.check_request(stage.asked, stream=stream)
    assert dialect.hear(stage.asked_body) == list_items(dialect, scenario)
    extras = dialect.extras[scenario]
    assert {path: find(stage.asked_body, path) for path in extras} == extras

    assert show(read_told(got.objects, stream=stream)) == show(dialect.told(scenario))
    assert got.headers["x-trunkline-target"] == dialect.name
    assert got.headers["x-trunkline-attempts"] == "1"
    told = got.headers.get("x-trunkline-changes", "")
    assert told.split(",") == (dialect.changes[scenario] or [""])
    assert {each.model for each in got.objects} == {TAPPED.get(wire, dialect.name)}


def show(told: dict[str, Any]) -> dict[str, Any]:
    """The same with arguments decoded: their blanks are the vendor's."""
    for call in told["message"].get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return told


TAPPED = {"openai": "gpt-5.1-2025-11-13", "llm-engine": "llama-3-3-70b-instruct"}
"""What the model is called by upstreams whose answers are handed on."""


@pytest.mark.parametrize("client", CLIENTS)
def test_an_image_for_a_blind_vendor_is_refused(stage: Stage, client: str) -> None:
    dialect = DIALECTS["llm-engine"]
    given = {"model": dialect.name, **ask_for_structure(image=True)}
    with pytest.raises(Exception, match="takes no images") as caught:
        stage.ask(client, given, stream=False, answer=dialect.answer("structure", stream=False))
    assert getattr(caught.value, "status_code", None) == 400
    assert stage.upstream.requests == []
    if isinstance(caught.value, openai.BadRequestError):
        assert caught.value.param == "messages"


@STREAMED
def test_usage_is_for_those_who_ask(stage: Stage, *, stream: bool) -> None:
    for dialect in DIALECTS.values():
        given = make_given(dialect, "thought")
        answer = dialect.answer("thought", stream=stream)
        got = stage.ask("openai", given, stream=stream, answer=answer)
        assert any(each.usage for each in got.objects) != stream
        assert all(each.choices for each in got.objects)


@STREAMED
@pytest.mark.parametrize("wire", ["anthropic", "bedrock", "cohere", "gemini"])
def test_two_alternatives_of_a_vendor_that_gives_one(
    stage: Stage, wire: str, *, stream: bool
) -> None:
    dialect = DIALECTS[wire]
    given = {**make_given(dialect, "thought"), "n": 2}
    if stream:
        given["stream_options"] = {"include_usage": True}
    answer = dialect.answer("thought", stream=stream)
    got = stage.ask("openai", given, stream=stream, answer=answer)
    first, second = stage.upstream.requests
    assert first.body == second.body
    texts = {0: "", 1: ""}
    for choice in [choice for each in got.objects for choice in each.choices]:
        texts[choice.index] += (choice.delta if stream else choice.message).content or ""
    assert texts == dict.fromkeys((0, 1), "No: Rome is warmer.")
    (usage,) = [each.usage for each in got.objects if each.usage]
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (80, 140, 220)


@pytest.mark.parametrize("client", CLIENTS)
def test_who_wants_no_loss_is_refused(stage: Stage, client: str) -> None:
    dialect = DIALECTS["anthropic"]
    given = {**make_given(dialect, "thought"), "seed": 7}
    answer = dialect.answer("thought", stream=False)
    got = stage.ask(client, given, stream=False, answer=answer)
    assert "dropped:seed" in got.headers["x-trunkline-changes"].split(",")
    given["extra_headers"] = {"x-trunkline-strict": "true"}
    with pytest.raises(Exception, match="'seed' is not known to this target") as caught:
        stage.ask(client, given, stream=False, answer=answer)
    assert getattr(caught.value, "status_code", None) == 400
    assert stage.upstream.requests == []
