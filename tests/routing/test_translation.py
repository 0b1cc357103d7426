"""Requests for targets of other formats: the module of the wire, the columns, the row's words."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from routing.fitting import CHAT, ROWS, TOOL, at, fit, read_sent
from scripted import Request
from speaking import write_stream, write_whole
from trunkline.errors import GatewayError
from trunkline.routing.fit import OPENAI_CHAT, SGP_CHAT, SGP_COMPLETION, ClientFormat
from trunkline.routing.table import Target, Wire
from trunkline.routing.tapping import TAPPED
from trunkline.routing.translation import find_format, list_columns
from trunkline.wire.parameter import NAMES

PROVIDERS: dict[str, Wire] = {
    "anthropic": "anthropic",
    "gemini": "gemini",
    "vertex_ai": "gemini",
    "bedrock": "bedrock",
    "cohere": "cohere",
}
WIRES = sorted({*PROVIDERS.values()})
TEXT = {"model": "m", "prompt": "Hi"}
LIMITS = {
    "anthropic": "max_tokens",
    "gemini": "generationConfig.maxOutputTokens",
    "bedrock": "inferenceConfig.maxTokens",
    "cohere": "max_tokens",
}
TEMPERATURES = {
    "anthropic": "temperature",
    "gemini": "generationConfig.temperature",
    "bedrock": "inferenceConfig.temperature",
    "cohere": "temperature",
}


def find(sent: Any, path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    for step in path.split("."):
        sent = sent.get(step) if isinstance(sent, dict) else None
    return sent


def target_of(wire: str, **words: Any) -> Target:
    target = at(wire, "claude-sonnet-4-5" if wire == "anthropic" else "m1")
    return msgspec.structs.replace(target, row=msgspec.structs.replace(target.row, **words))


def test_the_catalog_names_the_wires_that_are_translated() -> None:
    translated = {name: row.wire for name, row in ROWS.items() if row.wire not in TAPPED}
    assert translated == PROVIDERS


@pytest.mark.parametrize("wire", WIRES)
def test_a_format_is_found_by_the_name_of_its_wire(wire: Wire) -> None:
    upstream = find_format(wire)
    assert find_format(wire) is upstream
    assert upstream.PARAMETERS.keys() >= {*NAMES}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_row_says_of_images_what_its_format_does(name: str) -> None:
    fetches = find_format(PROVIDERS[name]).__dict__["FETCHES_IMAGES"]
    assert ROWS[name].images == ("url" if fetches else "data")


def test_the_table_of_parameters_has_a_column_for_each_wire() -> None:
    columns = list_columns()
    assert columns.keys() == {*WIRES, "openai", "llm-engine"}
    for column in columns.values():
        assert column.keys() >= {*NAMES}


@pytest.mark.parametrize(
    ("name", "whole", "streamed"),
    [
        ("anthropic", "/messages", "/messages"),
        ("gemini", "/models/a:generateContent", "/models/a:streamGenerateContent?alt=sse"),
        ("vertex_ai", "/models/a:generateContent", "/models/a:streamGenerateContent?alt=sse"),
        ("bedrock", "/model/a%3A0%2Fb/converse", "/model/a%3A0%2Fb/converse-stream"),
        ("cohere", "/chat", "/chat"),
    ],
)
@pytest.mark.parametrize("form", [OPENAI_CHAT, SGP_CHAT, SGP_COMPLETION])
def test_the_path_is_the_operations(
    name: str, whole: str, streamed: str, form: ClientFormat
) -> None:
    asked = TEXT if form is SGP_COMPLETION else CHAT
    target = at(name, "a:0/b" if name == "bedrock" else "a")
    assert fit(form, asked, target).pair.path == whole
    assert fit(form, asked | {"stream": True}, target).pair.path == streamed


def test_a_row_may_have_a_path_of_its_own() -> None:
    target = target_of("anthropic", paths={"chat": "/{model}/ask"})
    assert fit(OPENAI_CHAT, CHAT, target).pair.path == "/claude-sonnet-4-5/ask"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_comes_back_in_the_clients_words(wire: Wire, stream: bool) -> None:
    answers = {}
    for form, asked in ((OPENAI_CHAT, CHAT), (SGP_CHAT, CHAT), (SGP_COMPLETION, TEXT)):
        pair = fit(form, asked | {"stream": stream}, target_of(wire)).pair
        request = Request("POST", pair.path, {}, pair.write_request(), b"")
        if stream:
            reply = pair.open_stream()
            out = b"".join(map(reply.feed, write_stream(wire, request))) + reply.finish()
            assert reply.usage is not None
            assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (7, 3)
            answers[form.name] = out.decode()
        else:
            answer = pair.read_answer(write_whole(wire, request))
            assert answer.usage is not None
            assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
            answers[form.name] = answer.body.decode()
    for text in answers.values():
        assert "Hello" in text
        assert '"finish_reason":"stop"' in text
    assert answers[OPENAI_CHAT.name].endswith("data: [DONE]\n\n") == stream
    assert "[DONE]" not in answers[SGP_CHAT.name] + answers[SGP_COMPLETION.name]


@pytest.mark.parametrize("wire", WIRES)
def test_alternatives_are_as_many_requests(wire: Wire) -> None:
    fitted = fit(OPENAI_CHAT, CHAT | {"n": 3}, target_of(wire))
    bodies = [read_sent(pair) for pair in fitted.pairs]
    assert len(bodies) == (3 if find_format(wire).FANS_OUT else 1)
    assert all(body == bodies[0] for body in bodies)
    assert "n" not in bodies[0]
    with pytest.raises(GatewayError, match="at most 16") as caught:
        fit(OPENAI_CHAT, CHAT | {"n": 17}, target_of(wire))
    assert caught.value.param == "n"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("asked", "columns", "sent", "words"),
    [
        (500, {}, 500, []),
        (500, {"max_output": 500}, 500, []),
        (501, {"max_output": 500}, 500, ["clamped:max_tokens=500"]),
        (500, {"default_max_tokens": 9}, 500, []),
    ],
)
def test_an_answer_is_no_longer_than_the_model_can_write(
    wire: Wire, asked: int, columns: dict[str, Any], sent: int, words: list[str]
) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        fitted = fit(OPENAI_CHAT, CHAT | {name: asked}, target_of(wire), **columns)
        assert find(fitted.sent, LIMITS[wire]) == sent
        assert [word for word in fitted.words if not word.startswith("renamed:")] == words
    asking: Mapping[str, Any] = TEXT | {"model_parameters": {"max_tokens": asked}}
    assert find(
        fit(SGP_COMPLETION, dict(asking), target_of(wire), **columns).sent, LIMITS[wire]
    ) == (sent)
    if words:
        with pytest.raises(GatewayError) as caught:
            fit(OPENAI_CHAT, CHAT | {"max_tokens": asked}, target_of(wire), strict=True, **columns)
        assert (caught.value.status, caught.value.param) == (400, "max_tokens")


@pytest.mark.parametrize(
    ("columns", "sent"),
    [({"default_max_tokens": 9, "max_output": 500}, 9), ({"max_output": 500}, 500)],
)
def test_a_format_that_needs_a_limit_gets_the_models(columns: dict[str, Any], sent: int) -> None:
    for wire in WIRES:
        needed = find_format(wire).PARAMETERS["max_tokens"].how == "defaulted"
        fitted = fit(OPENAI_CHAT, CHAT, target_of(wire), strict=True, **columns)
        assert find(fitted.sent, LIMITS[wire]) == (sent if needed else None)
        assert (f"defaulted:max_tokens={sent}" in fitted.words) == needed
    assert find_format("anthropic").PARAMETERS["max_tokens"].how == "defaulted"


@pytest.mark.parametrize("wire", WIRES)
def test_a_model_of_fixed_sampling_is_sent_none(wire: Wire) -> None:
    asked = CHAT | {"temperature": 0.5, "top_p": 0.5, "presence_penalty": None}
    fitted = fit(OPENAI_CHAT, asked, target_of(wire), fixed_sampling=True)
    assert fitted.words[:2] == ["dropped:temperature", "dropped:top_p"]
    assert find(fitted.sent, TEMPERATURES[wire]) is None
    assert find(fit(OPENAI_CHAT, asked, target_of(wire)).sent, TEMPERATURES[wire]) == 0.5
    with pytest.raises(GatewayError) as caught:
        fit(OPENAI_CHAT, asked, target_of(wire), strict=True, fixed_sampling=True)
    assert caught.value.param == "temperature"
    # A completion's default temperature was nobody's wish.
    native = fit(SGP_COMPLETION, TEXT, target_of(wire), strict=True, fixed_sampling=True)
    assert find(native.sent, TEMPERATURES[wire]) is None


@pytest.mark.parametrize("wire", WIRES)
def test_what_the_row_drops_is_never_sent(wire: Wire) -> None:
    asked = CHAT | {"temperature": 0.5, "store": False}
    dropping = target_of(wire, drops=("temperature", "store", "seed"))
    fitted = fit(OPENAI_CHAT, asked, dropping)
    assert find(fitted.sent, TEMPERATURES[wire]) is None
    assert [word for word in fitted.words if word.startswith("dropped:")] == ["dropped:temperature"]
    with pytest.raises(GatewayError) as caught:
        fit(OPENAI_CHAT, asked, dropping, strict=True)
    assert caught.value.param == "temperature"


@pytest.mark.parametrize("wire", WIRES)
def test_tools_are_dropped_for_a_model_without(wire: Wire) -> None:
    asked = CHAT | {"tools": [TOOL], "tool_choice": "auto"}
    with_tools = fit(OPENAI_CHAT, asked, target_of(wire))
    assert b'"now"' in with_tools.pair.write_request()
    fitted = fit(OPENAI_CHAT, asked, target_of(wire), tools=False)
    assert b'"now"' not in fitted.pair.write_request()
    assert "dropped:tools" in fitted.words
    assert fit(OPENAI_CHAT, CHAT, target_of(wire), tools=False, strict=True).words == (
        fit(OPENAI_CHAT, CHAT, target_of(wire), strict=True).words
    )
    for choice in ("required", {"type": "function", "function": {"name": "now"}}):
        with pytest.raises(GatewayError, match="cannot call tools") as caught:
            fit(OPENAI_CHAT, asked | {"tool_choice": choice}, target_of(wire), tools=False)
        assert (caught.value.status, caught.value.param) == (400, "tool_choice")


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "nobody", "content": "x"}],
        [{"role": "user", "content": [{"type": "hologram"}]}],
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}],
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_place(
    wire: Wire, messages: list[dict[str, Any]]
) -> None:
    with pytest.raises(GatewayError, match="messages") as caught:
        fit(OPENAI_CHAT, {"model": "m", "messages": messages}, target_of(wire))
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)


# LLM Engine's own format, for raw prompts.


@pytest.mark.parametrize("name", ["llm-engine", "launch", "llmengine", "model_zoo"])
@pytest.mark.parametrize(("stream", "word"), [(False, "sync"), (True, "stream")])
def test_a_raw_prompt_goes_to_llm_engines_first_version(name: str, stream: bool, word: str) -> None:
    asked = TEXT | {"stream": stream}
    fitted = fit(SGP_COMPLETION, asked, at(name, "a b"), prompt_mode="raw")
    assert fitted.pair.path == f"/v1/llm/completions-{word}?model_endpoint_name=a%20b"
    assert fitted.sent == {"prompt": "Hi", "temperature": 0.2, "max_new_tokens": 100}
    assert fitted.words == ["defaulted:max_tokens=100", "renamed:max_tokens=max_new_tokens"]


def test_penalties_below_zero_are_clamped_there() -> None:
    asked = TEXT | {"model_parameters": {"frequency_penalty": -1, "max_tokens": 5}}
    target = at("llm-engine")
    fitted = fit(SGP_COMPLETION, asked, target, prompt_mode="raw")
    assert fitted.sent["frequency_penalty"] == 0
    assert "clamped:frequency_penalty=0" in fitted.words
    with pytest.raises(GatewayError) as caught:
        fit(SGP_COMPLETION, asked, target, strict=True, prompt_mode="raw")
    assert caught.value.param == "frequency_penalty"


def test_a_prompt_for_a_chat_model_goes_to_its_second_version() -> None:
    fitted = fit(SGP_COMPLETION, TEXT, at("llm-engine"))
    assert fitted.pair.path == "/v2/chat/completions"
    assert fitted.sent["messages"] == [{"role": "user", "content": "Hi"}]
