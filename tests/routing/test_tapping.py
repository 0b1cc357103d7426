"""Requests for targets that speak OpenAI's formats: the row's words, tools, alternatives, paths."""

import json
from typing import Any, get_args

import msgspec
import pytest

from routing.fitting import CHAT, ENGINE, MESSAGES, ROWS, TOOL, at, fit, read_sent, row
from trunkline.chat import ChatRequest
from trunkline.errors import GatewayError
from trunkline.routing.fit import (
    OPENAI_CHAT,
    OPENAI_EMBEDDING,
    OPENAI_TEXT,
    SGP_CHAT,
    SGP_COMPLETION,
    ClientFormat,
)
from trunkline.routing.table import Target, Wire
from trunkline.routing.tapping import TAPPED
from trunkline.wire.rewrite import Rewrite

TEXT = {"model": "m", "prompt": "Hi"}
STREAM = {"stream": True}
USAGE = {"stream_options": {"include_usage": True}}


def test_two_wires_are_tapped() -> None:
    assert [wire for wire in get_args(Wire) if wire in TAPPED] == ["openai", "llm-engine"]


@pytest.mark.parametrize("form", [SGP_CHAT, OPENAI_CHAT])
def test_what_a_row_has_nothing_against_goes_as_it_came(form: ClientFormat) -> None:
    body = '{ "messages": [{"role":"user","content":"ü"}],"new": 1.50, "model" : "m" }'.encode()
    fitted = fit(form, form.read(body))
    assert fitted.pair.write_request() == body.replace(b'"m"', b'"upstream/model"')
    assert fitted.words == []


@pytest.mark.parametrize(
    ("rewrite", "asked", "sent", "word"),
    [
        ("max_tokens", {"max_completion_tokens": 5}, {"max_tokens": 5}, "renamed:"),
        ("max_completion_tokens", {"max_tokens": 5}, {"max_completion_tokens": 5}, "renamed:"),
        ("random_seed", {"seed": 5}, {"random_seed": 5}, "renamed:seed=random_seed"),
        (
            "developer_as_system",
            {"messages": [{"role": "developer", "content": "x"}, *MESSAGES]},
            {"messages": [{"role": "system", "content": "x"}, *MESSAGES]},
            "renamed:developer=system",
        ),
        (
            "no_message_names",
            {"messages": [{"role": "user", "content": "Hi", "name": "Ann"}]},
            {"messages": MESSAGES},
            "dropped:messages.name",
        ),
        (
            "plain_messages",
            {"messages": [{"role": "user", "content": "Hi", "thinking_blocks": []}]},
            {"messages": MESSAGES},
            "dropped:messages.extra",
        ),
        (
            "reasoning_field",
            {"messages": [{"role": "assistant", "reasoning_content": "hm"}, *MESSAGES]},
            {"messages": [{"role": "assistant", "reasoning": "hm"}, *MESSAGES]},
            "renamed:reasoning_content=reasoning",
        ),
        ("stop_list", {"stop": "x"}, {"stop": ["x"]}, ""),
        (
            "tool_choice_words",
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "now"}}},
            {"tools": [TOOL], "tool_choice": "required"},
            "renamed:tool_choice=required",
        ),
        (
            "object_as_schema",
            {"response_format": {"type": "json_object"}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}},
                }
            },
            "renamed:response_format=json_schema",
        ),
        (
            "schema_as_grammar",
            {"response_format": {"type": "json_object"}},
            {"response_format": {"type": "json", "value": {"type": "object"}}},
            "renamed:response_format=json",
        ),
        (
            "schema_as_text",
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}},
            {
                "response_format": {"type": "json_object"},
                "messages": [
                    {
                        "role": "system",
                        "content": 'Answer with a JSON object of this schema: {"a":1}',
                    },
                    *MESSAGES,
                ],
            },
            "clamped:response_format=json_object",
        ),
        ("no_stream_options", STREAM | USAGE, STREAM, ""),
        ("context_error", {}, {"context_length_exceeded_behavior": "error"}, ""),
    ],
)
def test_a_rows_rewrites_are_applied_and_told(
    rewrite: Rewrite, asked: dict[str, Any], sent: dict[str, Any], word: str
) -> None:
    target = row(rewrites=(rewrite,))
    fitted = fit(OPENAI_CHAT, CHAT | asked, target)
    assert fitted.sent == CHAT | {"model": "upstream/model"} | sent
    assert [told for told in fitted.words if not told.startswith(word or "?")] == []
    assert len(fitted.words) == bool(word)
    if word.startswith(("dropped:", "clamped:")):
        param = word.partition(":")[2].partition("=")[0]
        with pytest.raises(GatewayError) as caught:
            fit(OPENAI_CHAT, CHAT | asked, target, strict=True)
        assert (caught.value.status, caught.value.param) == (400, param)
    else:
        assert fit(OPENAI_CHAT, CHAT | asked, target, strict=True).words == fitted.words
    # Without anything to rewrite there is nothing to tell.
    assert fit(OPENAI_CHAT, CHAT, target).words == []


def ask(body: dict[str, Any], *names: str) -> ChatRequest:
    """A request that also has these fields, whatever their types."""
    content = msgspec.json.encode(body | dict.fromkeys(names, "x"))
    return ChatRequest("m", content, stream=False, include_usage=False)


@pytest.mark.parametrize("name", [name for name, each in ROWS.items() if each.wire in TAPPED])
def test_what_a_row_drops_is_never_sent_and_always_told(name: str) -> None:
    target = at(name)
    fitted = fit(OPENAI_CHAT, ask(CHAT, *target.row.drops), target)
    assert not {*target.row.drops} & fitted.sent.keys()
    assert fitted.words == [f"dropped:{drop}" for drop in target.row.drops]
    for drop in target.row.drops:
        with pytest.raises(GatewayError, match="x-trunkline-strict") as caught:
            fit(OPENAI_CHAT, ask(CHAT, drop), target, strict=True)
        assert caught.value.param == drop
    assert fit(OPENAI_CHAT, CHAT, target, strict=True).words == []


def test_a_drop_of_what_means_nothing_is_not_told() -> None:
    target = row(drops=("frequency_penalty", "logprobs", "stop"))
    asked: dict[str, Any] = CHAT | {
        "frequency_penalty": 0,
        "logprobs": False,
        "stop": [],
        "seed": None,
    }
    fitted = fit(OPENAI_CHAT, asked, target, strict=True)
    assert fitted.sent == CHAT | {"model": "upstream/model"}
    assert fitted.words == []


# Legacy text, embeddings and native completions through the same rows.


@pytest.mark.parametrize("name", [name for name, each in ROWS.items() if "text" in each.serves])
def test_text_passes_every_row_that_serves_it(name: str) -> None:
    drops = ROWS[name].drops
    fitted = fit(OPENAI_TEXT, ask(TEXT | {"stop": "END", "max_tokens": 5}, *drops), at(name))
    sent = fitted.sent
    assert sent.keys() - {"context_length_exceeded_behavior"} == {
        "model",
        "prompt",
        "stop",
        "max_tokens",  # the legacy format knows no other word
    }
    assert fitted.words == [f"dropped:{drop}" for drop in drops]


@pytest.mark.parametrize("name", [name for name, each in ROWS.items() if "text" in each.serves])
@pytest.mark.parametrize("stream", [False, True])
def test_raw_prompts_pass_every_row_that_serves_text(name: str, stream: bool) -> None:
    parameters = {"stop_sequences": ["END"], "max_tokens": 5}
    asked = {"model": "m", "prompt": "Hi", "model_parameters": parameters, "stream": stream}
    sent = fit(SGP_COMPLETION, asked, at(name), prompt_mode="raw").sent
    assert sent["prompt"] == "Hi"
    assert sent.get("max_tokens", sent.get("max_new_tokens")) == 5
    assert sent.get("stop", sent.get("stop_sequences")) == ["END"]


def test_a_text_stream_asks_for_usage_only_where_that_is_known() -> None:
    asked = TEXT | STREAM
    assert fit(OPENAI_TEXT, asked).sent["stream_options"] == {"include_usage": True}
    shy = row(rewrites=("no_stream_options",))
    assert "stream_options" not in fit(OPENAI_TEXT, asked | USAGE, shy).sent
    assert "stream_options" not in fit(OPENAI_TEXT, asked, shy).sent
    raw = {"model": "m", "prompt": "Hi", "stream": True}
    for mode in ("raw", "user_message"):
        assert "stream_options" not in fit(SGP_COMPLETION, raw, shy, prompt_mode=mode).sent
        assert fit(SGP_COMPLETION, raw, prompt_mode=mode).sent["stream_options"]


def test_alternatives_of_a_text_are_refused_where_there_is_one_only() -> None:
    single = row(rewrites=("n_fan_out",))
    with pytest.raises(GatewayError) as caught:
        fit(OPENAI_TEXT, TEXT | {"n": 2}, single)
    assert (caught.value.status, caught.value.param) == (400, "n")
    assert "n" not in fit(OPENAI_TEXT, TEXT | {"n": 1}, single).sent
    assert fit(OPENAI_TEXT, TEXT | {"n": 2}).sent["n"] == 2


def test_embeddings_are_passed_on_without_what_the_row_drops() -> None:
    asked = {"model": "m", "input": ["a", "b"], "dimensions": 3, "user": "u"}
    fitted = fit(OPENAI_EMBEDDING, asked)
    assert fitted.pair.path == "/embeddings"
    assert fitted.sent == asked | {"model": "upstream/model"}
    dropping = fit(OPENAI_EMBEDDING, asked, at("mistral"))
    assert "user" not in dropping.sent
    assert dropping.words == ["dropped:user"]


@pytest.mark.parametrize(
    ("form", "asked", "target"),
    [
        (OPENAI_TEXT, TEXT, row(serves=("chat",))),
        (OPENAI_TEXT, TEXT, at("anthropic")),
        (OPENAI_TEXT, TEXT, row(wire="gemini")),
        (OPENAI_EMBEDDING, {"model": "m", "input": "x"}, row(serves=("chat", "text"))),
        (OPENAI_EMBEDDING, {"model": "m", "input": "x"}, at("gemini")),
        (OPENAI_EMBEDDING, {"model": "m", "input": "x"}, at("llm-engine")),
        (OPENAI_EMBEDDING, {"model": "m", "input": "x"}, row(wire="llm-engine")),
        (OPENAI_CHAT, CHAT, row(serves=("text", "embeddings"))),
    ],
)
def test_what_a_row_does_not_serve_is_refused(
    form: ClientFormat, asked: dict[str, Any], target: Target
) -> None:
    with pytest.raises(GatewayError, match="Model 'm' serves no") as caught:
        fit(form, asked, target)
    assert (caught.value.status, caught.value.param) == (400, "model")


# Paths.


@pytest.mark.parametrize(
    ("name", "form", "path"),
    [
        ("openai", OPENAI_CHAT, "/chat/completions"),
        ("openai", OPENAI_TEXT, "/completions"),
        ("openai", OPENAI_EMBEDDING, "/embeddings"),
        ("azure", OPENAI_CHAT, "/deployments/a%2Fb%20c/chat/completions?api-version=2024-10-21"),
        ("azure", OPENAI_TEXT, "/deployments/a%2Fb%20c/completions?api-version=2024-10-21"),
        ("azure", OPENAI_EMBEDDING, "/deployments/a%2Fb%20c/embeddings?api-version=2024-10-21"),
        ("llm-engine", OPENAI_CHAT, "/v2/chat/completions"),
        ("llm-engine", OPENAI_TEXT, "/v2/completions"),
    ],
)
def test_the_path_is_the_wires_or_the_rows_own(name: str, form: ClientFormat, path: str) -> None:
    asked: dict[str, dict[str, Any]] = {
        OPENAI_CHAT.name: CHAT,
        OPENAI_TEXT.name: TEXT,
        OPENAI_EMBEDDING.name: {"model": "m", "input": "Hi"},
    }
    assert fit(form, asked[form.name], at(name, "a/b c")).pair.path == path


# Alternatives.


def test_alternatives_are_requests_of_their_own_where_there_is_no_n() -> None:
    target = row(rewrites=("n_fan_out",))
    fitted = fit(OPENAI_CHAT, CHAT | {"n": 3}, target)
    assert [read_sent(pair) for pair in fitted.pairs] == [CHAT | {"model": "upstream/model"}] * 3
    assert fitted.words == []
    for n in (1, None):
        assert fit(OPENAI_CHAT, CHAT | {"n": n}, target).sent == CHAT | {"model": "upstream/model"}
    assert fit(OPENAI_CHAT, CHAT | {"n": 3}).sent["n"] == 3
    assert len(fit(OPENAI_CHAT, CHAT | {"n": 16}, target).pairs) == 16
    with pytest.raises(GatewayError, match="at most 16") as caught:
        fit(OPENAI_CHAT, CHAT | {"n": 17}, target)
    assert (caught.value.status, caught.value.param) == (400, "n")


def test_each_alternative_reads_a_reply_of_its_own() -> None:
    pairs = fit(OPENAI_CHAT, CHAT | STREAM | {"n": 2}, row(rewrites=("n_fan_out",))).pairs
    replies = [pair.open_stream() for pair in pairs]
    chunk = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
    replies[0].feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert replies[0].finish()
    with pytest.raises(GatewayError):
        replies[1].finish()


# Tools.

WITH_TOOLS = CHAT | {"tools": [TOOL], "parallel_tool_calls": True}


@pytest.mark.parametrize("form", [SGP_CHAT, OPENAI_CHAT])
@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_tools_are_dropped_for_a_model_without_and_that_is_told(
    form: ClientFormat, choice: str | None
) -> None:
    asked = WITH_TOOLS | {"tool_choice": choice}
    assert fit(form, asked).words == []
    fitted = fit(form, asked, tools=False)
    assert fitted.sent == CHAT | {"model": "upstream/model"}
    assert fitted.words == ["dropped:tools"]
    assert fit(form, CHAT, tools=False).words == []
    with pytest.raises(GatewayError) as caught:
        fit(form, asked, tools=False, strict=True)
    assert caught.value.param == "tools"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"function": {"name": "now"}}}, "tool_choice"),
        ({"functions": [TOOL["function"]], "function_call": {"name": "now"}}, "function_call"),
    ],
)
def test_a_call_that_must_be_is_refused_for_a_model_without_tools(
    asked: dict[str, Any], param: str
) -> None:
    with pytest.raises(GatewayError, match="cannot call tools") as caught:
        fit(OPENAI_CHAT, CHAT | asked, tools=False)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_old_functions_are_dropped_likewise() -> None:
    asked = CHAT | {"functions": [TOOL["function"]], "function_call": "auto"}
    fitted = fit(OPENAI_CHAT, asked, tools=False)
    assert fitted.sent == CHAT | {"model": "upstream/model"}
    assert fitted.words == ["dropped:functions"]


def test_tools_are_seen_however_their_key_is_spelt() -> None:
    body = msgspec.json.encode(WITH_TOOLS).replace(b'"tools"', rb'"\u0074ools"')
    assert fit(OPENAI_CHAT, OPENAI_CHAT.read(body), tools=False).words == ["dropped:tools"]


@pytest.mark.parametrize("choice", [None, "auto", "required", {"function": {"name": "now"}}])
@pytest.mark.parametrize("target", [row(constrains=True), at("vllm"), ENGINE])
def test_tools_are_emulated_where_answers_can_be_held_to_a_schema(
    target: Target, choice: object
) -> None:
    if target is ENGINE:
        target = msgspec.structs.replace(ENGINE, row=row(constrains=True).row)
    fitted = fit(OPENAI_CHAT, WITH_TOOLS | {"tool_choice": choice}, target, tools=False)
    sent = fitted.sent
    assert fitted.words == ["emulated:tools"]
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & sent.keys()
    assert sent["response_format"]["type"] == "json_schema"
    assert sent["messages"][0]["role"] == "system"
    assert fit(OPENAI_CHAT, CHAT, target, tools=False).words == []
    assert fit(OPENAI_CHAT, WITH_TOOLS, target, tools=True).words == [
        f"dropped:{name}" for name in WITH_TOOLS if name in target.row.drops
    ]


def test_an_emulated_schema_is_spelt_as_the_row_wants_it() -> None:
    target = row(constrains=True, rewrites=("schema_as_grammar",))
    fitted = fit(OPENAI_CHAT, WITH_TOOLS, target, tools=False)
    assert fitted.sent["response_format"]["type"] == "json"
    assert fitted.words == ["emulated:tools", "renamed:response_format=json"]


def test_emulated_tools_and_alternatives_go_together() -> None:
    target = row(constrains=True, rewrites=("n_fan_out",))
    fitted = fit(OPENAI_CHAT, WITH_TOOLS | {"n": 2}, target, tools=False)
    assert [read_sent(pair).keys() for pair in fitted.pairs] == [
        {"model", "messages", "response_format"}
    ] * 2


def test_an_engine_is_asked_for_progress_whatever_the_format() -> None:
    for form, asked in ((OPENAI_CHAT, CHAT), (OPENAI_TEXT, TEXT), (SGP_COMPLETION, TEXT)):
        sent = fit(form, asked, ENGINE).sent
        assert sent["return_progress"] is True
        assert sent["stream"] is True
        assert "return_progress" not in fit(form, asked).sent
