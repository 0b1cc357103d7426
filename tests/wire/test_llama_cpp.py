"""The recorded streams are of two choices, with progress reports and a usage for each."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import TextRequest
from trunkline.errors import GatewayError
from trunkline.events import Usage
from trunkline.wire import openai_chat, openai_text
from trunkline.wire.llama_cpp import EnginePair, write_request
from trunkline.wire.openai_chat import ChatPair
from trunkline.wire.openai_text import TextPair
from trunkline.wire.sgp import CompletionPair
from wire.sample import (
    fail,
    make_chunk,
    make_stamp,
    play,
    read_case,
    read_frames,
    some_examples,
    split,
    write_frames,
)
from wire.strict import read_chat, read_chat_stream, read_text, read_text_stream

CHAT = read_case("engine/chat.sse")
TEXT = read_case("engine/text.sse")
PROGRESS = make_chunk({"role": "assistant"}, None, prompt_progress={"total": 9, "processed": 3})
CHAT_COUNTS = Usage(33, 6, 39)
TEXT_COUNTS = Usage(3, 6, 9)


def pair_chat(*, usage: bool = True) -> EnginePair:
    options = {"include_usage": usage}
    body = {"model": "m", "messages": [{}], "stream": True, "stream_options": options}
    request = openai_chat.read_request(msgspec.json.encode(body))
    return EnginePair(ChatPair(request, request.body, make_stamp(), done=False))


def pair_text() -> EnginePair:
    request = openai_text.read_request(b'{"model":"m","prompt":"p","stream":true}')
    return EnginePair(TextPair(request, request.body, make_stamp()))


def pair_native() -> EnginePair:
    request = TextRequest("m", "p", stream=True, temperature=0.2)
    body = openai_chat.write_text_request(request, "m")
    return EnginePair(CompletionPair(body, openai_chat.PATH, openai_chat, make_stamp(), {}))


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        ({}, {}),
        ({"stream": False}, {}),
        ({"stream": True, "stream_options": {"include_usage": False}}, {}),
        ({"logprobs": True}, {"logprobs": True, "top_logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 0}, {"logprobs": True, "top_logprobs": 0}),
        ({"logprobs": False}, {"logprobs": False}),
        ({"logprobs": 2}, {"logprobs": 2}),
    ],
)
def test_every_call_is_streamed_with_progress(asked: Any, more: Any) -> None:
    assert msgspec.json.decode(write_request(msgspec.json.encode({"model": "m", **asked}))) == {
        "model": "m",
        "stream": True,
        "return_progress": True,
        "stream_options": {"include_usage": True},
        **more,
    }


def test_a_pair_writes_what_the_inner_pair_writes_and_that() -> None:
    sent = msgspec.json.decode(pair_native().write_request())
    assert sent["messages"] == [{"role": "user", "content": "p"}]
    assert sent["return_progress"] is True
    assert (pair_native().path, pair_text().path) == ("/chat/completions", "/completions")


@pytest.mark.parametrize("usage", [True, False])
def test_a_chat_stream_has_no_progress_and_one_usage_at_the_end(*, usage: bool) -> None:
    reply = pair_chat(usage=usage).open_stream()
    out = play(reply, CHAT)
    frames = list(read_frames(out))
    assert b"prompt_progress" not in out
    assert reply.usage is not None
    assert msgspec.structs.replace(reply.usage, prompt_tokens_details=None) == CHAT_COUNTS
    assert reply.content_seen
    counted = [frame["usage"]["total_tokens"] for frame in frames if frame.get("usage")]
    assert counted == ([39] if usage else [])
    assert [frame["choices"] for frame in frames[-1:]] == (
        [[]] if usage else [frames[-1]["choices"]]
    )
    for chunks in read_chat_stream(out).values():
        texts = ["", ""]
        for chunk in chunks:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        assert texts == ["Hello there!"] * 2


def test_a_text_stream_has_no_progress_and_one_usage() -> None:
    reply = pair_text().open_stream()
    out = play(reply, TEXT)
    assert b"prompt_progress" not in out
    assert [choice.text for chunk in read_text_stream(out) for choice in chunk.choices] == [
        " a", " a", " canvas", " canvas", " of", "", " of", ""
    ]  # fmt: skip
    assert reply.usage is not None
    assert msgspec.structs.replace(reply.usage, prompt_tokens_details=None) == TEXT_COUNTS


def fold(pair: EnginePair, *pieces: bytes) -> bytes:
    return play(pair.open_fold(), *pieces)


def test_a_folded_chat_answer_passes_every_client() -> None:
    pair = pair_chat()
    answer = pair.read_answer(fold(pair, CHAT))
    assert answer.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 39
    for seen in read_chat(answer.body).values():
        assert [choice.index for choice in seen.choices] == [0, 1]
        for choice in seen.choices:
            assert choice.message.content == "Hello there!"
            assert choice.finish_reason == "length"
            tokens = [item.token for item in choice.logprobs.content]
            assert tokens == ["Hello", " there", "!"]


def test_a_folded_text_answer_passes_openais_client() -> None:
    pair = pair_text()
    seen = read_text(pair.read_answer(fold(pair, TEXT)).body)
    assert [(choice.index, choice.text) for choice in seen.choices] == [
        (0, " a canvas of"),
        (1, " a canvas of"),
    ]
    assert seen.usage.total_tokens == 9


def test_tool_calls_are_folded_piece_by_piece() -> None:
    def call(index: int, **more: Any) -> dict[str, Any]:
        return make_chunk({"tool_calls": [{"index": index, **more}]})

    stream = write_frames(
        PROGRESS,
        make_chunk({"role": "assistant", "content": None}),
        call(0, id="a", type="function", function={"name": "f", "arguments": "{"}),
        call(0, function={"arguments": '"x":1}'}),
        call(1, id="b", type="function", function={"name": "g", "arguments": "{}"}),
        make_chunk({}, "tool_calls"),
    )
    pair = pair_chat()
    [message] = {
        msgspec.json.encode(seen.choices[0].message.model_dump(include={"content", "tool_calls"}))
        for seen in read_chat(pair.read_answer(fold(pair, stream)).body).values()
    }
    assert msgspec.json.decode(message) == {
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


@some_examples
@given(st.data())
def test_no_way_of_cutting_matters(data: st.DataObject) -> None:
    for stream, pair in ((CHAT, pair_chat()), (TEXT, pair_text())):
        pieces = split(stream, *data.draw(st.lists(st.integers(0, len(stream)), max_size=9)))
        assert play(pair.open_stream(), *pieces) == play(pair.open_stream(), stream)
        assert fold(pair, *pieces) == fold(pair, stream)


@pytest.mark.parametrize(("stream", "pair"), [(CHAT, pair_chat()), (TEXT, pair_text())])
def test_an_end_before_the_last_finish_reason_is_an_error(stream: bytes, pair: EnginePair) -> None:
    last = stream.rfind(b'"finish_reason":"length"')
    for end in range(0, last, 5):
        _, error = fail(pair.open_stream(), stream[:end])
        assert error.code == "upstream_error"
        _, error = fail(pair.open_fold(), stream[:end])
        assert error.code == "upstream_error"


@pytest.mark.parametrize(
    "frame", [b'data: {"error":{"message":"x","code":500}}\n\n', b"event: error\ndata: x\n\n"]
)
def test_a_failure_inside_the_stream_is_an_error(frame: bytes) -> None:
    stream = write_frames(PROGRESS, make_chunk({"content": "a"})) + frame
    for reply in (pair_chat().open_stream(), pair_native().open_stream(), pair_chat().open_fold()):
        _, error = fail(reply, stream)
        assert error.code == "upstream_error"


def test_progress_commits_to_nothing() -> None:
    reply = pair_native().open_stream()
    assert reply.feed(write_frames(PROGRESS)) == b""
    assert not reply.content_seen


def test_text_that_looks_like_progress_or_usage_stays() -> None:
    text = '"prompt_progress":{} "usage":{"prompt_tokens":1}'
    stream = write_frames(make_chunk({"content": text}), make_chunk({}, "stop"))
    first, _ = read_frames(play(pair_native().open_stream(), stream))
    assert first["completion"]["text"] == text
    [choice] = msgspec.json.decode(fold(pair_chat(), stream))["choices"]
    assert choice["message"]["content"] == text


def test_an_answer_that_is_no_stream_is_an_error() -> None:
    for body in (b"", b"{}", b'{"error":{"message":"x"}}'):
        with pytest.raises(GatewayError):
            fold(pair_chat(), body)
