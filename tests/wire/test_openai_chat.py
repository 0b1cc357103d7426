import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import ChatRequest, ImageRef, TextRequest
from trunkline.errors import GatewayError
from trunkline.events import Finish, ReasoningDelta, TextDelta, Usage
from trunkline.wire import openai_chat
from trunkline.wire.body import read_fields
from trunkline.wire.openai_chat import ChatPair, read_request, write_request, write_text_request
from wire.sample import any_json, make_chunk, make_stamp, read_case, some_examples

MESSAGES = [{"role": "user", "content": "Hé"}]


def ask(**fields: object) -> bytes:
    return msgspec.json.encode({"model": "openai/m", "messages": MESSAGES, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        # What the reference pages and the official SDKs' own tests send.
        {"messages": [{"foo": "bar"}], "model": "model"},
        {"n": 0},
        {"max_tokens": 0},
        {"max_completion_tokens": 0},
        {"top_p": 0},
        {"tools": [{"foo": "bar"}]},
        {"response_format": {"foo": "bar"}},
        {"tool_choice": "string"},
        {"tool_choice": {"foo": "bar"}},
        {"function_call": {"foo": "bar"}},
        {"function_call": "auto"},
        {"functions": [{"foo": "bar"}]},
        {"logit_bias": {"foo": 0}},
        {"metadata": {"foo": "string"}},
        {"audio": {"foo": "bar"}, "modalities": ["string"], "prediction": {"foo": "bar"}},
        {"stop": "string"},
        {"stop": ["a", "b", "c", "d"]},
        {"stop": []},
        {"stream_options": {"foo": "bar"}},
        {"temperature": 0},
        {"temperature": 2},
        {"frequency_penalty": -2, "presence_penalty": 2},
        {"top_k": -1},
        {"seed": -(2**63)},
        {"reasoning_effort": "xhigh"},
        {"top_logprobs": 20, "logprobs": True},
        {"store": True, "parallel_tool_calls": False},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}},
        # What only OpenAI's own client or extra_body sends.
        {"user": "u", "service_tier": "auto", "verbosity": "low", "made_up": {"x": [1, None]}},
        dict.fromkeys(("stop", "tools", "n", "stream", "temperature", "stream_options")),
    ],
)
def test_what_the_contract_allows_is_accepted(fields: dict[str, object]) -> None:
    request = read_request(ask(**fields))
    kept = {"model": "openai/m", "messages": MESSAGES, **fields}
    assert {name: msgspec.json.decode(raw) for name, raw in read_fields(request.body).items()} == {
        name: value for name, value in kept.items() if value is not None
    }


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"messages": []}, "validation_error", "messages"),
        ({"messages": ["x"]}, "validation_error", "messages"),
        ({"messages": "x"}, "validation_error", "messages"),
        ({"messages": None}, "validation_error", "messages"),
        ({"model": ""}, "validation_error", "model"),
        ({"model": 5}, "validation_error", "model"),
        ({"temperature": 2.1}, "validation_error", "temperature"),
        ({"temperature": -0.1}, "validation_error", "temperature"),
        ({"temperature": "1"}, "validation_error", "temperature"),
        ({"top_p": 1.1}, "validation_error", "top_p"),
        ({"frequency_penalty": 2.5}, "validation_error", "frequency_penalty"),
        ({"presence_penalty": -2.5}, "validation_error", "presence_penalty"),
        ({"max_tokens": -1}, "validation_error", "max_tokens"),
        ({"max_tokens": 1.5}, "validation_error", "max_tokens"),
        ({"top_logprobs": 21}, "validation_error", "top_logprobs"),
        ({"logit_bias": {"1": 101}}, "validation_error", "logit_bias"),
        ({"metadata": {"a": 1}}, "validation_error", "metadata"),
        ({"stream": "yes"}, "validation_error", "stream"),
        ({"stop": 5}, "validation_error", "stop"),
        ({"tools": {}}, "validation_error", "tools"),
        ({"n": -1}, "validation_error", "n"),
        ({"stop": ["a"] * 5}, "invalid_request", "stop"),
        ({"tools": [{}] * 129}, "invalid_request", "tools"),
        ({"n": 129}, "invalid_request", "n"),
    ],
)
def test_what_the_contract_forbids_is_refused(
    fields: dict[str, object], code: str, param: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        read_request(ask(**fields))
    assert (caught.value.code, caught.value.param) == (code, param)


@some_examples
@given(st.dictionaries(st.text(), any_json), st.booleans())
def test_a_request_goes_on_as_the_client_wrote_it(more: dict[str, object], said: bool) -> None:
    fields = {f"x-{name}": value for name, value in more.items()}
    body = ask(**fields, **({"stream": False} if said else {}))
    request = read_request(body)
    assert not request.stream
    sent = msgspec.json.decode(write_request(request, "target"))
    assert sent == {
        name: value
        for name, value in (msgspec.json.decode(body) | {"model": "target"}).items()
        if value is not None
    }
    assert read_request(write_request(request, "openai/m")) == read_request(
        write_request(read_request(write_request(request, "openai/m")), "openai/m")
    )


@pytest.mark.parametrize(
    ("options", "sent", "wanted"),
    [
        (..., {"include_usage": True}, False),
        (None, {"include_usage": True}, False),
        ({}, {"include_usage": True}, False),
        ({"include_usage": False}, {"include_usage": True}, False),
        ({"include_usage": None}, {"include_usage": True}, False),
        ({"include_usage": True}, {"include_usage": True}, True),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}, 0),
        ({"include_usage": True, "x": 1}, {"include_usage": True, "x": 1}, True),
    ],
)
def test_a_stream_always_asks_for_usage(options: object, sent: object, *, wanted: bool) -> None:
    more = {} if options is ... else {"stream_options": options}
    request = read_request(ask(stream=True, **more))
    assert request.stream
    assert request.include_usage == wanted
    assert msgspec.json.decode(write_request(request, "m"))["stream_options"] == sent


def test_a_prompt_becomes_one_user_message() -> None:
    request = TextRequest("x", "Hé", stream=False, temperature=0.2)
    assert msgspec.json.decode(write_text_request(request, "m")) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hé"}],
        "temperature": 0.2,
    }


def test_a_completions_images_and_parameters_are_written() -> None:
    request = TextRequest(
        "x",
        "See",
        stream=True,
        temperature=0,
        images=(ImageRef("https://e.test/a.png"), ImageRef("data:image/png;base64,AA", "low")),
        max_tokens=0,
        stop=("a", "b"),
        top_p=0.5,
        top_k=3,
        frequency_penalty=-1,
        presence_penalty=0,
        reasoning_effort="low",
    )
    body = write_text_request(request, "m")
    assert msgspec.json.decode(body) == {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "See"},
                    {"type": "image_url", "image_url": {
                        "url": "https://e.test/a.png", "detail": "auto"
                    }},
                    {"type": "image_url", "image_url": {
                        "url": "data:image/png;base64,AA", "detail": "low"
                    }},
                ],
            }
        ],
        "temperature": 0,
        "max_tokens": 0,
        "stop": ["a", "b"],
        "top_p": 0.5,
        "top_k": 3,
        "frequency_penalty": -1,
        "presence_penalty": 0,
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert read_request(body).stream


def test_a_pair_reads_an_answer_and_its_usage() -> None:
    request = read_request(ask())
    pair = ChatPair(request, write_request(request, "m"), make_stamp(), done=False)
    assert pair.path == "/chat/completions"
    elsewhere = ChatPair(request, b"{}", make_stamp(), path="/deployments/m/chat", done=False)
    assert (elsewhere.path, elsewhere.write_request()) == ("/deployments/m/chat", b"{}")
    body = read_case("openai/chat.json")
    answer = pair.read_answer(body)
    assert answer.body is body
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (19, 29)
    assert msgspec.json.decode(pair.write_request())["model"] == "m"
    with pytest.raises(GatewayError, match="no choices"):
        pair.read_answer(msgspec.json.encode({**msgspec.json.decode(body), "choices": []}))


@pytest.mark.parametrize(
    ("chunk", "events"),
    [
        (make_chunk({"role": "assistant", "content": ""}), []),
        (make_chunk({"content": "Hé"}), [TextDelta("Hé")]),
        (make_chunk({"content": "."}, "eos"), [TextDelta("."), Finish("stop", "eos")]),
        (make_chunk({}, "length"), [Finish("length", "length")]),
        (make_chunk({"reasoning_content": "Hm"}), [ReasoningDelta("Hm")]),
        (
            {
                **make_chunk(),
                "choices": [],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2},
            },
            [Usage(1, 2, 3)],
        ),
    ],
)
def test_a_chunk_is_read_as_events(chunk: object, events: list[object]) -> None:
    assert openai_chat.read_events(msgspec.json.encode(chunk), make_stamp()) == events


def test_a_whole_answer_is_read_for_a_completion() -> None:
    answered = openai_chat.read_whole(read_case("llama_cpp/chat.json"), make_stamp())
    assert (answered.text, answered.finish_reason, answered.native_reason) == (
        "🌟🌟",
        "length",
        "length",
    )
    tool = openai_chat.read_whole(read_case("openai/tool.json"), make_stamp())
    assert (tool.text, tool.finish_reason) == ("", "tool_calls")
    body = msgspec.json.encode(
        {**msgspec.json.decode(read_case("openai/chat.json")), "choices": []}
    )
    with pytest.raises(GatewayError, match="no choices"):
        openai_chat.read_whole(body, make_stamp())


def test_limits_name_field_and_count() -> None:
    openai_chat.check_limit("stop", 4, 4)
    with pytest.raises(GatewayError, match="'stop' allows at most 4, got 5") as caught:
        openai_chat.check_limit("stop", 5, 4)
    assert (caught.value.status, caught.value.param) == (400, "stop")


def test_a_request_of_the_other_shape_is_the_same_value() -> None:
    assert read_request(ask()) == ChatRequest(
        "openai/m",
        ask(),
        stream=False,
        include_usage=False,
    )


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        # Another name in the same bytes, whatever the client's spacing and order.
        (
            b'{ "x" : 1.50, "model" :\n"a/b" , "messages": [{"content": "m"}] }',
            b'{ "x" : 1.50, "model" :\n"up" , "messages": [{"content": "m"}] }',
        ),
        (b'{"model":"a/b","messages":[{"a":"\\"model\\""}]}', None),
        (b'{"messages":[{"a":"a/b"}],"model":"a/b"}', b'{"messages":[{"a":"a/b"}],"model":"up"}'),
        # Read and written anew: the name stands twice, or is spelled with escapes, or a null is.
        (b'{"model":"a/b","messages":[{"model":"a/b"}]}', None),
        (b'{"mod\\u0065l":"x","model":"a/b","messages":[{}]}', None),
        (b'{"model":"a\\/b","messages":[{}]}', None),
        (b'{"model":"a/b","messages":[{}],"stop":null}', None),
    ],
)
def test_only_the_name_is_replaced(body: bytes, sent: bytes | None) -> None:
    written = write_request(read_request(body), "up")
    if sent is not None:
        assert written == sent
    wanted = {name: value for name, value in json.loads(body).items() if value is not None}
    assert json.loads(written) == {**wanted, "model": "up"}
    assert written.count(b'"up"') == 1


@some_examples
@given(any_json, st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_a_replaced_name_changes_nothing_else(extra: object, name: str, model: str) -> None:
    value = {"x": extra, "model": name, "messages": [{"content": name}], "y": {"model": extra}}
    for kept in (value, {key: value[key] for key in ("messages", "model", "x")}):
        body = msgspec.json.encode(kept)
        written = write_request(read_request(body), model)
        wanted = {**kept, "model": model}
        assert json.loads(written) == {k: v for k, v in wanted.items() if v is not None}
