"""Many streams at once and silent upstreams: what clients get to see of either."""

import asyncio
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import scale_gp
import scale_gp_beta

from gateway import ACCOUNT, KEY, Door, RunningGateway, run_gateway, run_upstream, write_frames
from scripted import Peer, Script
from sdk.client import Line, call_async

PARALLEL = 200
SILENCE_S = 2.5
READ_TIMEOUT_S = 1
CHAT_PATH = "/v5/chat/completions"
NATIVE_PATH = "/v4/completions"


def cut_pieces(text: str) -> Iterator[str]:
    """The text in pieces of one to five characters, the same ones each time."""
    lengths = random.Random(text)
    while text:
        length = lengths.randint(1, 5)
        yield text[:length]
        text = text[length:]


def start_echo(together: int) -> Script:
    """An upstream that streams questions back, once so many of them are under way.

    The streams take turns, a piece each; none can end before all have begun.
    """
    barrier = asyncio.Barrier(together)

    async def script(peer: Peer) -> None:
        request = await peer.request()
        asked = json.loads(request.body)
        await peer.begin_sse()
        pieces = list(cut_pieces(asked["messages"][-1]["content"]))
        first, *rest = write_frames(request, asked, pieces)
        await peer.frames([first])
        await barrier.wait()
        for frame in rest:
            await peer.frames([frame])
            await asyncio.sleep(0)
        await peer.end_chunked()

    return script


def make_text(number: int) -> str:
    return " ".join([f"<{number}>"] * 20)


def ask_for(path: str, text: str) -> dict[str, Any]:
    if path == NATIVE_PATH:
        return {"model": "model", "stream": True, "prompt": text}
    return {"model": "model", "stream": True, "messages": [{"role": "user", "content": text}]}


def read_pieces(path: str, lines: Sequence[str]) -> list[str]:
    """What each frame says; every line that is not empty must be a frame's."""
    assert all(line.startswith("data: ") for line in lines if line)
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    if path == NATIVE_PATH:
        return [chunk["completion"]["text"] for chunk in chunks]
    return [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]


async def read_stream(client: httpx.AsyncClient, path: str, text: str) -> str:
    async with client.stream("POST", path, json=ask_for(path, text)) as response:
        assert response.status_code == 200
        return "".join(read_pieces(path, [line async for line in response.aiter_lines()]))


@pytest.mark.parametrize("path", [NATIVE_PATH, CHAT_PATH])
async def test_parallel_streams_never_mix(tmp_path: Path, door: Door, path: str) -> None:
    with (
        run_upstream(start_echo(PARALLEL)) as upstream,
        run_gateway(tmp_path, upstream.port, door=door) as gateway,
    ):
        limits = httpx.Limits(max_connections=PARALLEL)
        headers = gateway.headers
        async with httpx.AsyncClient(
            base_url=gateway.url, headers=headers, limits=limits, timeout=60
        ) as client:
            texts = [make_text(number) for number in range(PARALLEL)]
            got = await asyncio.gather(*(read_stream(client, path, text) for text in texts))
    assert got == texts


async def think(peer: Peer) -> None:
    """An upstream that is silent for longer than its client's patience, then answers."""
    while True:
        request = await peer.request()
        asked = json.loads(request.body)
        await asyncio.sleep(SILENCE_S)
        await peer.begin_sse()
        await peer.frames(write_frames(request, asked, ["Well", ", yes"]))
        await peer.end_chunked()


async def test_a_silent_upstream_keeps_impatient_sdks(tmp_path: Path, door: Door) -> None:
    """They say how long they wait, and are sent comments more often than that."""
    messages = [{"role": "user", "content": "hi"}]
    chat = {"model": "model", "messages": messages}
    with run_upstream(think) as upstream, run_gateway(tmp_path, upstream.port, door=door) as gate:
        line = Line(gate.url, KEY, ACCOUNT, timeout_s=READ_TIMEOUT_S)
        async with (
            scale_gp.AsyncSGPClient(**line.place_sgp("")) as v4,
            scale_gp_beta.AsyncSGPClient(**line.place_sgp("")) as v5,
            openai.AsyncOpenAI(**line.place_openai("/v1")) as other,
        ):
            native, *chats = await asyncio.gather(
                call_async(v4.completions.create, {"model": "model", "prompt": "hi"}, stream=True),
                call_async(v4.beta.chat.completions.create, chat, stream=True),
                call_async(v5.chat.completions.create, chat, stream=True),
                call_async(other.chat.completions.create, chat, stream=True),
            )
    assert [chunk.completion["text"] for chunk in native] == ["Well", ", yes", ""]
    for chunks in chats:
        said = [chunk.choices[0].delta.content or "" for chunk in chunks]
        assert "".join(said) == "Well, yes"


def open_raw(gateway: RunningGateway) -> httpx.AsyncClient:
    """A client that does not say how long it waits, which is not long."""
    return httpx.AsyncClient(base_url=gateway.url, headers=gateway.headers, timeout=READ_TIMEOUT_S)


async def ask_both(gateway: RunningGateway) -> list[tuple[str, str]]:
    """The same question on both routes at once: path and body of each answer."""
    paths = (NATIVE_PATH, CHAT_PATH)
    async with open_raw(gateway) as client:
        asked = [client.post(path, json=ask_for(path, "hi")) for path in paths]
        bodies = [response.text for response in await asyncio.gather(*asked)]
    return list(zip(paths, bodies, strict=True))


async def test_an_operator_can_keep_any_client(tmp_path: Path, door: Door) -> None:
    more = "[stream]\nhold_s = 0.2\nkeepalive_s = 0.3"
    with (
        run_upstream(think) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=more) as gateway,
    ):
        bodies = await ask_both(gateway)
    for path, body in bodies:
        comments, _, answer = body.rpartition(": ping\n\n")
        assert set(comments.split("\n\n")) == {": ping", ""}
        assert comments.count(": ping") > SILENCE_S
        assert "".join(read_pieces(path, answer.splitlines())) == "Well, yes"


TRICKLE = make_text(1) * 2


async def trickle(peer: Peer) -> None:
    """An upstream that talks on for much longer than a silence may last."""
    request = await peer.request()
    asked = json.loads(request.body)
    await peer.begin_sse()
    for frame in write_frames(request, asked, list(cut_pieces(TRICKLE))):
        await peer.frames([frame])
        await asyncio.sleep(0.05)
    await peer.end_chunked()


async def test_no_comment_comes_between_pieces(tmp_path: Path, door: Door) -> None:
    """Hand-written clients parse every line that is not empty."""
    more = "[stream]\nhold_s = 1\nkeepalive_s = 1"
    with (
        run_upstream(trickle) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=more) as gateway,
    ):
        began_s = time.monotonic()
        bodies = await ask_both(gateway)
        assert time.monotonic() - began_s > 2
    for path, body in bodies:
        assert "".join(read_pieces(path, body.splitlines())) == TRICKLE
