"""Thoughts and their seals come out, and go back unchanged when a client sends the message back."""

from typing import Any

import pytest

from wires.asked import OPENING, Item, ask_for_calls, ask_for_thought
from wires.dialect import DIALECTS
from wires.folding import read_message
from wires.stage import CLIENTS, Stage

ROLE = {"role": "assistant"}
LOOK: Item = {**ROLE, "text": "Let me measure."}
SAID: Item = {**ROLE, "text": "No: Rome is warmer."}
THOUGHT: Item = {**ROLE, "thought": "Two cities, two calls."}
OTHER_THOUGHT: Item = {**ROLE, "thought": "The south is warmer."}
SEALED: Item = {**THOUGHT, "seal": "EqQBCkYIBBgCKkDthought/+=="}
HIDDEN: Item = {**ROLE, "hidden": "EmwKAhgBEgxoaWRkZW7/774="}


def list_calls(oslo: str, rome: str, seal: str = "") -> list[Item]:
    """Both calls; of parallel ones only the first is sealed."""
    calls: list[Item] = [
        {**ROLE, "call": call_id, "name": "get_weather", "arguments": {"city": city}}
        for call_id, city in ((oslo, "Oslo"), (rome, "Rome"))
    ]
    if seal:
        calls[0]["seal"] = seal
    return calls


CALLED: dict[str, list[Item]] = {
    "openai": list_calls("call_a1", "call_a2"),
    "anthropic": [SEALED, HIDDEN, LOOK, *list_calls("toolu_01A", "toolu_01B")],
    "gemini": [THOUGHT, *list_calls("fc_a1", "fc_a2", "Q2FsbHM/b2Y+dHdv")],
    "bedrock": [SEALED, HIDDEN, LOOK, *list_calls("tooluse_a1", "tooluse_a2")],
    "cohere": [
        {**ROLE, "plan": "Let me measure."},
        *list_calls("get_weather_a1", "get_weather_a2"),
    ],
    "llm-engine": [THOUGHT, *list_calls("chatcmpl-tool-a1", "chatcmpl-tool-a2")],
}
"""What the vendor has to hear of its own turn, with which it called two tools."""

ANSWERED: dict[str, list[Item]] = {
    "openai": [SAID],
    "anthropic": [{**OTHER_THOUGHT, "seal": "ErUBthought=="}, SAID],
    "gemini": [OTHER_THOUGHT, {**SAID, "seal": "U2lnbmVkIHRleHQ+Pw=="}],
    "bedrock": [{**OTHER_THOUGHT, "seal": "ErUBthought=="}, SAID],
    "cohere": [SAID],
    "llm-engine": [OTHER_THOUGHT, SAID],
}
"""The same of a turn in which it thought and answered."""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("wire", DIALECTS)
def test_a_turn_with_calls_goes_back(stage: Stage, wire: str, client: str, *, stream: bool) -> None:
    dialect = DIALECTS[wire]
    given: dict[str, Any] = {"model": dialect.name, **ask_for_calls()}
    got = stage.ask(client, given, stream=stream, answer=dialect.answer("calls", stream=stream))
    message = read_message(got.objects, stream=stream)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": told}
        for call, told in zip(message["tool_calls"], ("4 °C", "19 °C"), strict=True)
    ]
    given["messages"] = [*given["messages"], message, *results]
    again = stage.ask(client, given, stream=stream, answer=dialect.answer("thought", stream=stream))

    heard = [item for item in dialect.hear(stage.asked_body) if "tool" not in item]
    turn = CALLED[wire]
    results_heard = [
        {"role": "tool", "answers": result["tool_call_id"], "text": result["content"]}
        for result in results
    ]
    assert heard == [*OPENING, *turn, *results_heard]
    assert "dropped" not in again.headers.get("x-trunkline-changes", "")
    assert "defaulted" not in again.headers.get("x-trunkline-changes", "")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("wire", DIALECTS)
def test_a_turn_with_an_answer_goes_back(
    stage: Stage, wire: str, client: str, *, stream: bool
) -> None:
    dialect = DIALECTS[wire]
    given: dict[str, Any] = {"model": dialect.name, **ask_for_thought()}
    answer = dialect.answer("thought", stream=stream)
    got = stage.ask(client, given, stream=stream, answer=answer)
    message = read_message(got.objects, stream=stream)
    given["messages"] = [*given["messages"], message, {"role": "user", "content": "Sure?"}]
    again = stage.ask(client, given, stream=stream, answer=answer)

    asked = {"role": "user", "text": "Sure?"}
    assert dialect.hear(stage.asked_body) == [*OPENING, *ANSWERED[wire], asked]
    told = again.headers.get("x-trunkline-changes", "").split(",")
    assert ("dropped:reasoning_content" in told) == (wire == "cohere")
