from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import ImageRef, TextRequest
from trunkline.errors import GatewayError
from trunkline.events import (
    Began,
    Event,
    Finish,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    Usage,
)
from trunkline.wire import openai_chat, openai_text
from trunkline.wire.sgp import CompletionPair, CompletionWriter, read_request
from wire.sample import (
    CHAT_STREAMS,
    TEXT_STREAMS,
    fail,
    make_chunk,
    make_stamp,
    open_native,
    play,
    read_case,
    read_frames,
    some_examples,
    write_frames,
)
from wire.strict import read_native, read_native_stream

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
METADATA = {"model": "m", "provider": "lab", "stand_in": True}


def ask(**fields: object) -> bytes:
    return msgspec.json.encode({"model": "gpt-oss-120b", "prompt": "Hé", **fields})


def pair_up(upstream: ModuleType, metadata: dict[str, Any]) -> CompletionPair:
    body = upstream.write_text_request(read_request(ask()), "m")
    return CompletionPair(body, upstream.PATH, upstream, make_stamp(), metadata)


def test_defaults_are_sgps_own() -> None:
    assert read_request(ask()) == TextRequest("gpt-oss-120b", "Hé", stream=False, temperature=0.2)


def test_nulls_mean_absent() -> None:
    # What the first official client sends with every request.
    body = ask(images=None, model_parameters=None, stream=False, account_id=None)
    assert read_request(body) == read_request(ask())
    names = ("temperature", "max_tokens", "stop_sequences", "topP", "top_p", "topK", "top_k")
    assert read_request(ask(model_parameters=dict.fromkeys(names))) == read_request(ask())


@pytest.mark.parametrize(("camel", "snake"), [("topK", "top_k"), ("topP", "top_p")])
def test_both_spellings_are_taken(camel: str, snake: str) -> None:
    for given_names in ({camel: 1}, {snake: 1}, {camel: 1, snake: 1}, {camel: None, snake: 1}):
        assert getattr(read_request(ask(model_parameters=given_names)), snake) == 1
    with pytest.raises(GatewayError, match=f"body.model_parameters.{camel}") as caught:
        read_request(ask(model_parameters={camel: 1, snake: 0}))
    assert (caught.value.code, caught.value.param) == ("validation_error", camel)
    assert caught.value.faults[0].loc == ("body", "model_parameters", camel)


def test_every_field_is_read() -> None:
    body = ask(
        account_id="account_id",
        stream=True,
        images=[{"image_url": "image_url"}, {"image_url": "u", "detail": "detail"}],
        model_parameters={
            "temperature": 0,
            "max_tokens": 0,
            "stop_sequences": ["a"] * 4,
            "topK": 3,
            "topP": 0.5,
            "frequency_penalty": 7,
            "presence_penalty": -7,
            "reasoning_effort": "low",
        },
        unknown={"is": "ignored"},
    )
    assert read_request(body) == TextRequest(
        "gpt-oss-120b",
        "Hé",
        stream=True,
        temperature=0,
        account_id="account_id",
        images=(ImageRef("image_url", "auto"), ImageRef("u", "detail")),
        max_tokens=0,
        stop=("a",) * 4,
        top_p=0.5,
        top_k=3,
        frequency_penalty=7,
        presence_penalty=-7,
        reasoning_effort="low",
        tempered=True,
    )


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"model": None}, ("body", "model")),
        ({"model": ""}, ("body", "model")),
        ({"prompt": None}, ("body", "prompt")),
        ({"prompt": ["a"]}, ("body", "prompt")),
        ({"images": [{"detail": "auto"}]}, ("body", "images", 0, "image_url")),
        ({"stream": 1}, ("body", "stream")),
        ({"model_parameters": []}, ("body", "model_parameters")),
        (
            {"model_parameters": {"temperature": 1.1}},
            ("body", "model_parameters", "temperature"),
        ),
        (
            {"model_parameters": {"stop_sequences": ["a"] * 5}},
            ("body", "model_parameters", "stop_sequences"),
        ),
        (
            {"model_parameters": {"stop_sequences": "a"}},
            ("body", "model_parameters", "stop_sequences"),
        ),
        ({"model_parameters": {"max_tokens": -1}}, ("body", "model_parameters", "max_tokens")),
        (
            {"model_parameters": {"reasoning_effort": "xhigh"}},
            ("body", "model_parameters", "reasoning_effort"),
        ),
    ],
)
def test_what_the_schema_forbids_is_refused(
    fields: dict[str, object], loc: tuple[str | int, ...]
) -> None:
    with pytest.raises(GatewayError) as caught:
        read_request(ask(**fields))
    assert caught.value.code == "validation_error"
    assert [fault.loc for fault in caught.value.faults] == [loc]


requests = st.builds(
    TextRequest,
    model=st.text(min_size=1),
    prompt=st.text(),
    stream=st.booleans(),
    temperature=st.floats(0, 1),
    max_tokens=st.none() | st.integers(0, 2**53),
    stop=st.lists(st.text(), max_size=4).map(tuple),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(0, 1000),
    frequency_penalty=st.none() | st.floats(-2, 2),
    presence_penalty=st.none() | st.floats(-2, 2),
    tempered=st.just(value=True),
)


@some_examples
@given(requests)
def test_a_request_survives_the_way_to_either_upstream(request: TextRequest) -> None:
    names = ("temperature", "max_tokens", "top_p", "top_k", "frequency_penalty", "presence_penalty")
    numbers = {name: getattr(request, name) for name in names}
    parameters = {**numbers, "stop_sequences": list(request.stop)}
    asked = {"model": request.model, "prompt": request.prompt, "stream": request.stream}
    assert read_request(msgspec.json.encode({**asked, "model_parameters": parameters})) == request
    for upstream in (openai_chat, openai_text):
        body = upstream.write_text_request(request, "target")
        pair = CompletionPair(body, upstream.PATH, upstream, make_stamp(), {})
        sent = msgspec.json.decode(pair.write_request())
        assert {name: sent.get(name) for name in names} == numbers
        assert tuple(sent.get("stop", ())) == request.stop
        assert sent["model"] == "target"
        assert sent.get("stream", False) == request.stream
        assert upstream.read_request(pair.write_request()).stream == request.stream
        prompt = sent["prompt"] if upstream is openai_text else sent["messages"][0]["content"]
        assert prompt == request.prompt


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("openai/chat.json", "stop"),
        ("openai/tool.json", "tool_calls"),
        ("llama_cpp/chat.json", "length"),
        ("openai/text.json", "length"),
        ("llama_cpp/text.json", "length"),
    ],
)
def test_a_whole_answer_passes_the_client(case: str, reason: str) -> None:
    upstream = openai_text if "text" in case else openai_chat
    pair = pair_up(upstream, METADATA)
    assert pair.path == upstream.PATH
    answer = pair.read_answer(read_case(case))
    seen = read_native(answer.body)
    assert answer.finish_reason == seen.completion.finish_reason == reason
    assert answer.usage is not None
    assert seen.token_usage is not None
    assert seen.token_usage.total == answer.usage.total_tokens
    assert seen.token_usage.prompt == answer.usage.prompt_tokens
    metadata = seen.completion.response_metadata
    assert metadata == {
        "id": msgspec.json.decode(read_case(case))["id"],
        **METADATA,
        "native_finish_reason": reason,
    }


def test_an_answer_without_usage_says_null() -> None:
    body = msgspec.json.decode(read_case("openai/chat.json"))
    body["usage"] = None
    body["choices"][0]["finish_reason"] = "end_turn"
    pair = pair_up(openai_chat, {})
    answer = msgspec.json.decode(pair.read_answer(msgspec.json.encode(body)).body)
    assert answer["token_usage"] is None
    assert answer["completion"]["finish_reason"] == "stop"
    assert answer["completion"]["response_metadata"]["native_finish_reason"] == "end_turn"
    assert read_native(pair.read_answer(msgspec.json.encode(body)).body)


@pytest.mark.parametrize(
    "body", [b"", b"<html></html>", b"{}", b'{"error":{"message":"x"}}', b'{"choices":[]}']
)
def test_what_is_no_answer_is_an_upstream_error(body: bytes) -> None:
    for upstream in (openai_chat, openai_text):
        pair = pair_up(upstream, {})
        with pytest.raises(GatewayError) as caught:
            pair.read_answer(body)
        assert caught.value.code == "upstream_error"


@pytest.mark.parametrize(
    ("name", "upstream"),
    [(name, "chat") for name in CHAT_STREAMS] + [(name, "text") for name in TEXT_STREAMS],
)
def test_a_stream_passes_the_client_in_both_readings(name: str, upstream: str) -> None:
    reply = open_native(upstream)
    chunks = read_native_stream(play(reply, read_case(name)))
    *pieces, last = chunks
    assert all(piece.token_usage is None for piece in pieces)
    assert all(piece.completion.finish_reason is None for piece in pieces)
    assert all(piece.completion.text for piece in pieces)
    assert last.completion.finish_reason in {"stop", "length", "tool_calls"}
    assert (last.token_usage is None) == (reply.usage is None)


def test_the_superset_chunks_have_these_fields_and_no_others() -> None:
    stop = make_chunk({}, "end_turn", usage=USAGE)
    out = play(open_native(), write_frames(make_chunk({"content": "Hé"}), stop))
    text, last = read_frames(out)
    assert text == {
        "completion": {"text": "Hé", "finish_reason": None},
        "token_usage": None,
        "completions": [["Hé", []]],
        "finish_reason": None,
        "prompt_tokens": None,
        "response_tokens": None,
    }
    assert last == {
        "completion": {
            "text": "",
            "finish_reason": "stop",
            "response_metadata": {
                "model": "m",
                "provider": "lab",
                "native_finish_reason": "end_turn",
            },
        },
        "token_usage": {"prompt": 3, "completion": 2, "total": 5},
        "completions": [["", []]],
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "response_tokens": 2,
    }


@pytest.mark.parametrize("tail", [b"data: [DONE]\n\n", b"data: [DONE]\n", b"data: [DONE]", b""])
def test_no_end_mark_ever_reaches_the_client(tail: bytes) -> None:
    frames = write_frames(make_chunk({"content": "a"}), make_chunk({}, "stop"))
    assert len(list(read_frames(play(open_native(), frames + tail)))) == 2


def test_usage_after_the_finish_reason_is_in_the_last_chunk() -> None:
    count = {**make_chunk(), "choices": [], "usage": USAGE}
    reply = open_native()
    out = play(reply, write_frames(make_chunk({"content": "a"}, "length"), count, b"[DONE]"))
    assert [frame["token_usage"] for frame in read_frames(out)] == [
        None,
        {"prompt": 3, "completion": 2, "total": 5},
    ]
    assert reply.usage == Usage(3, 2, 5)


@pytest.mark.parametrize(
    "frame",
    [
        b"event: error\ndata: {}\n\n",
        b"event: error\ndata: {}",
        b'data: {"error":{"message":"x"}}\n\n',
        b"data: rubbish",
    ],
)
def test_a_failure_in_the_stream_is_never_a_short_answer(frame: bytes) -> None:
    out, error = fail(open_native(), write_frames(make_chunk({"content": "a"})) + frame)
    assert [chunk["completion"]["text"] for chunk in read_frames(out)] == ["a"]
    assert error.code == "upstream_error"


def test_only_text_or_the_finish_commits_to_an_answer() -> None:
    reply = open_native()
    assert reply.feed(write_frames(make_chunk({"role": "assistant", "content": ""}))) == b""
    seen = [reply.content_seen]
    reply.feed(write_frames(make_chunk({"content": "a"})))
    seen.append(reply.content_seen)
    assert seen == [False, True]
    reply = open_native()
    reply.feed(write_frames(make_chunk({}, "stop")))
    assert reply.content_seen


@some_examples
@given(st.lists(st.text(min_size=1), max_size=5))
def test_the_text_arrives_unchanged(texts: list[str]) -> None:
    frames = [make_chunk({"content": text}) for text in texts]
    out = play(open_native(), write_frames(*frames, make_chunk({}, "stop")))
    assert [frame["completion"]["text"] for frame in read_frames(out)] == [*texts, ""]


EVENTS: list[Event] = [
    Began("up-1", "up"),
    ReasoningDelta("Hm"),
    ReasoningSeal("sig"),
    TextDelta("Grüße"),
    RefusalDelta("!"),
    Usage(1, 1, 2),
    Usage(3, 2, 5),
    Finish("length", "MAX_TOKENS"),
]


def test_events_are_written_as_a_whole_answer() -> None:
    written = CompletionWriter(make_stamp(), dict(METADATA)).write_answer(EVENTS)
    assert (written.usage, written.finish_reason) == (Usage(3, 2, 5), "length")
    seen = read_native(written.body)
    assert (seen.completion.text, seen.completion.finish_reason) == ("Grüße!", "length")
    assert seen.completion.response_metadata == {
        "id": "up-1",
        **METADATA,
        "native_finish_reason": "MAX_TOKENS",
    }
    assert seen.token_usage is not None
    assert seen.token_usage.total == 5
    unnamed = CompletionWriter(make_stamp(), {}).write_answer([Began(), Finish("stop", "")])
    metadata = msgspec.json.decode(unnamed.body)["completion"]["response_metadata"]
    assert metadata["id"] == "chatcmpl-stamped"


def test_events_are_written_as_the_same_stream_that_a_tapped_upstream_gives() -> None:
    writer = CompletionWriter(make_stamp(), {"model": "m", "provider": "lab"})
    out = b"".join([*(writer.write(event) for event in EVENTS), writer.end()])
    chunks = [make_chunk({"content": text}) for text in ("Grüße", "!")]
    last = make_chunk({}, "MAX_TOKENS", usage=USAGE)
    assert out == play(open_native(), write_frames(*chunks, last))
    assert writer.usage == Usage(3, 2, 5)
    assert [chunk.completion.text for chunk in read_native_stream(out)] == ["Grüße", "!", ""]


def test_events_without_a_finish_reason_are_no_answer() -> None:
    with pytest.raises(GatewayError) as whole:
        CompletionWriter(make_stamp(), {}).write_answer(EVENTS[:-1])
    with pytest.raises(GatewayError) as streamed:
        CompletionWriter(make_stamp(), {}).end()
    assert whole.value.code == streamed.value.code == "upstream_error"


def test_a_refusal_is_the_text_of_a_completion() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    body = msgspec.json.decode(read_case("openai/chat.json"))
    body["choices"][0]["message"] = refused
    answer = pair_up(openai_chat, {}).read_answer(msgspec.json.encode(body))
    assert read_native(answer.body).completion.text == "No."
    stream = write_frames(
        make_chunk({"refusal": "N"}), make_chunk({"refusal": "o."}), make_chunk({}, "stop")
    )
    chunks = read_native_stream(play(open_native(), stream))
    assert [chunk.completion.text for chunk in chunks] == ["N", "o.", ""]
