"""Every official client reads whole answers and streams, strictly, through both doors."""

import json
from typing import Any

import pytest

from gateway import PIECES, USAGE
from scripted import ScriptedServer
from sdk.client import CHAT, NATIVE, Line, call, open_v4, read_chat, read_native

TEXT = "".join(PIECES)
COUNTS = (7, 3, 10)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", NATIVE)
def test_native(line: Line, upstream: ScriptedServer, client: str, stream: bool) -> None:
    given = {"model": "gpt-oss-120b", "prompt": "Say hello."}
    reply = read_native(NATIVE[client](line, given, stream))
    assert (reply.text, reply.finish_reason, reply.usage) == (TEXT, "stop", COUNTS)
    assert reply.pieces == (len(PIECES) + 1 if stream else 1)
    asked = json.loads(upstream.requests[-1].body)
    assert asked["messages"] == [{"role": "user", "content": "Say hello."}]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CHAT)
def test_chat(line: Line, upstream: ScriptedServer, client: str, stream: bool) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}]
    reply = read_chat(CHAT[client](line, {"model": "model", "messages": messages}, stream), stream)
    assert (reply.text, reply.finish_reason) == (TEXT, "stop")
    assert reply.usage == (None if stream else COUNTS)
    assert json.loads(upstream.requests[-1].body)["messages"] == messages


@pytest.mark.parametrize("client", CHAT)
def test_usage_of_a_stream_comes_when_it_is_asked_for(line: Line, client: str) -> None:
    given: dict[str, Any] = {
        "model": "model",
        "messages": [{"role": "user", "content": "Hello?"}],
        "stream_options": {"include_usage": True},
    }
    chunks = CHAT[client](line, given, True)
    assert read_chat(chunks, True).usage == tuple(USAGE.values())
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_a_streamed_completion_reads_both_ways(line: Line) -> None:
    """The v4 SDK types chunks with another class: documented fields are plain values in it."""
    given = {"model": "model", "prompt": "Say hello."}
    with open_v4(line) as client:
        chunks = call(client.completions.create, given, stream=True)
    assert [chunk.completions[0][0] for chunk in chunks] == [*PIECES, ""]
    assert [chunk.completion["text"] for chunk in chunks] == [*PIECES, ""]
    assert [chunk.finish_reason for chunk in chunks] == [None] * len(PIECES) + ["stop"]
    assert [chunk.token_usage for chunk in chunks[:-1]] == [None] * len(PIECES)


def test_both_spellings_of_a_parameter_arrive(line: Line, upstream: ScriptedServer) -> None:
    with open_v4(line) as client:
        for top_k, top_p in (("top_k", "top_p"), ("topK", "topP")):
            parameters = {top_k: 3, top_p: 0.5}
            given = {"model": "model", "prompt": "Say hello.", "model_parameters": parameters}
            call(client.completions.create, given, stream=False)
            asked = json.loads(upstream.requests[-1].body)
            assert (asked["top_k"], asked["top_p"]) == (3, 0.5)
