"""Which targets can go on with an answer, and how they are asked to."""

import json
from typing import Any

import pytest

from routing.fitting import CHAT, LAB, ROWS
from trunkline.app import ENGINE_ROW
from trunkline.call import Deadlines
from trunkline.chat import TextRequest
from trunkline.errors import GatewayError
from trunkline.routing.ask import Ask, Request
from trunkline.routing.fit import OPENAI_CHAT, SGP_COMPLETION
from trunkline.routing.prefill import continue_streams, find_way, list_able, record_streams
from trunkline.routing.table import Columns, Route, Target
from trunkline.wire.change import Changes
from trunkline.wire.mend import Stamp
from trunkline.wire.openai_chat import read_request
from trunkline.wire.splice import ContinuedReply
from trunkline.wire.transcript import RecordedReply, Said

CLAUDE = "claude-sonnet-4-5"
ENGINE = Target("local", "small", ENGINE_ROW, upstream="local/small")
STREAM = read_request(json.dumps(CHAT | {"stream": True}).encode())
NATIVE = TextRequest("m", "Hi", True, 0.2)
SAID = Said("Once", {"id": "a"}, 3, 2, 1)


def at(name: str, model: str = "m") -> Target:
    return Target(name, model, ROWS[name])


def route(*targets: Target, **columns: Any) -> Route:
    return Route("m", targets, Columns(**columns), Deadlines())


@pytest.mark.parametrize(
    ("target", "way"),
    [
        (at("vllm"), "continue_final_message"),
        (at("sglang"), "continue_final_message"),
        (at("tgi"), "continue_final_message"),
        (at("llama_cpp"), "continue_final_message"),
        (ENGINE, "continue_final_message"),
        (at("anthropic", CLAUDE), "assistant"),
        (at("anthropic", "claude-3-5-haiku-20241022"), "assistant"),
        (at("anthropic", "claude-opus-4-6"), None),
        (at("anthropic", "claude-sonnet-5"), None),
        (at("bedrock", f"us.anthropic.{CLAUDE}-20250929-v1:0"), "blocks"),
        (at("bedrock", "anthropic.claude-opus-4-6-v1"), None),
        (at("bedrock", "amazon.nova-pro-v1:0"), None),
        (at("openai"), None),
        (at("azure"), None),
        (at("gemini"), None),
        (at("cohere"), None),
        (at("mistral"), None),
        (at("deepseek"), None),
        (at("llm-engine"), None),
        (LAB, None),
    ],
    ids=lambda value: value.label if isinstance(value, Target) else str(value),
)
def test_who_can_go_on(target: Target, way: str | None) -> None:
    for request in (STREAM, NATIVE):
        assert find_way(request, route(target), target) == way


def test_every_raw_prompt_can_be_made_longer() -> None:
    for name in ("openai", "vllm", "llm-engine"):
        assert find_way(NATIVE, route(at(name), prompt_mode="raw"), at(name)) == "prompt"
    assert find_way(STREAM, route(at("openai"), prompt_mode="raw"), at("openai")) is None


def test_a_model_that_thinks_is_not_asked() -> None:
    target = at("vllm")
    assert find_way(STREAM, route(target, reasoning=True), target) is None
    effort = read_request(json.dumps(CHAT | {"reasoning_effort": "low"}).encode())
    for each in (target, at("anthropic", CLAUDE)):
        assert find_way(effort, route(each), each) is None


def test_the_one_that_broke_is_the_last() -> None:
    kept = Target("vllm", "kept", ROWS["vllm"], on=("context",))
    targets = at("vllm", "a"), at("openai"), kept, at("vllm", "b"), at("anthropic", CLAUDE)
    for broken, order in (
        ("vllm/a", ["vllm/b", f"anthropic/{CLAUDE}", "vllm/a"]),
        ("vllm/b", ["vllm/a", f"anthropic/{CLAUDE}", "vllm/b"]),
        ("openai/m", ["vllm/a", "vllm/b", f"anthropic/{CLAUDE}"]),
    ):
        assert [each.label for each in list_able(STREAM, route(*targets), broken)] == order


@pytest.mark.parametrize(("form", "request_"), [(OPENAI_CHAT, STREAM), (SGP_COMPLETION, NATIVE)])
def test_a_stream_is_kept_along_and_gone_on_with(form: Any, request_: Request) -> None:
    target = at("anthropic", CLAUDE)
    ask = Ask(Stamp("id", "m", 1), Changes())
    (pair,) = record_streams(form).fit(request_, route(target), target, ask).pairs
    (plain,) = form.fit(request_, route(target), target, ask).pairs
    assert (pair.path, pair.write_request()) == (plain.path, plain.write_request())
    assert isinstance(pair.open_stream(), RecordedReply)
    ask = Ask(Stamp("id", "m", 1), Changes())
    (rest,) = continue_streams(form, SAID).fit(request_, route(target), target, ask).pairs
    assert json.loads(rest.write_request())["messages"][-1]["content"] == "Once"
    assert f"resumed:anthropic/{CLAUDE}" in ask.changes.words
    reply = rest.open_stream()
    assert isinstance(reply, RecordedReply)
    assert isinstance(reply._inner, ContinuedReply)


def test_nobody_else_is_asked_as_if_nothing_had_been_said() -> None:
    ask = Ask(Stamp("id", "m", 1), Changes())
    with pytest.raises(GatewayError):
        continue_streams(OPENAI_CHAT, SAID).fit(STREAM, route(at("openai")), at("openai"), ask)
