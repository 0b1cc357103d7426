"""Tokens that come one by one: what a client gets is what it would get of them all at once."""

import asyncio
import json
from pathlib import Path

import pytest

from api.streaming import CHAT, NATIVE, ROUTES, STOP, ask_raw, frame, unchunk
from gateway import Door, run_gateway, run_upstream
from scripted import Peer, Script

TEXTS = [
    *(f" token {number}" for number in range(10)),
    'a "quoted" one',
    "back\\slash",
    "line\nbreak",
    "grün \u2028 \U0001f600",
    "",
    *(f" word {number}" for number in range(10)),
]
USAGE = {"usage": {"prompt_tokens": 1, "completion_tokens": 25, "total_tokens": 26}, "choices": []}


def token(text: str) -> bytes:
    return frame({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


TOKENS = [token(text) for text in TEXTS]
LAST = [frame(STOP), frame(USAGE), b"data: [DONE]\n\n"]


def sending(pieces: list[bytes], size: str = "%x") -> Script:
    """Sends each piece as a chunk, with a pause after it, so that it is read on its own."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        for piece in pieces:
            await peer.write(b"%b\r\n%b\r\n" % ((size % len(piece)).encode(), piece))
            await asyncio.sleep(0.005)
        await peer.end_chunked()

    return script


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(("path", "body"), ROUTES)
def test_tokens_one_by_one_are_the_tokens_all_at_once(
    tmp_path: Path, door: Door, path: str, body: dict[str, object], version: str
) -> None:
    if door == "asgi":
        version = "1.1"  # behind ASGI the framing is the server's
    answers = []
    for pieces in ([*TOKENS, *LAST], [b"".join([*TOKENS, *LAST])]):
        with (
            run_upstream(sending(pieces)) as upstream,
            run_gateway(tmp_path, upstream.port, door=door) as gateway,
        ):
            answer = ask_raw(gateway.port, path, body, version)
        if version == "1.1":
            content, ended = unchunk(answer)
            assert ended
        else:
            content = answer.partition(b"\r\n\r\n")[2]
        answers.append(content)
    assert answers[0] == answers[1]
    blocks = [block for block in answers[0].split(b"\n\n") if block.startswith(b"data: {")]
    said = "".join(read_text(json.loads(block[6:])) for block in blocks)
    assert said == "".join(TEXTS)


def read_text(chunk: dict[str, object]) -> str:
    match chunk:
        case {"completion": {"text": str(text)}}:
            return text
        case {"choices": [{"delta": {"content": str(text)}}]}:
            return text
    return ""


def test_a_chunk_that_fits_leaves_as_it_came(tmp_path: Path) -> None:
    """Shown by the capitals of its size, which the gateway itself does not write."""
    pieces = [token("x" * (60 + number)) for number in range(40)]
    sizes = [b"\r\n%X\r\n" % len(piece) for piece in pieces if not (b"%x" % len(piece)).isdigit()]
    assert len(sizes) > 10
    with (
        run_upstream(sending([*pieces, *LAST], "%X")) as upstream,
        run_gateway(tmp_path, upstream.port) as gateway,
    ):
        answer = ask_raw(gateway.port, "/v1/chat/completions", CHAT)
        native = ask_raw(gateway.port, "/v4/completions", NATIVE)
    # Not each one: on a busy machine some are read together.
    assert sum(size in answer for size in sizes) > 2
    content, ended = unchunk(answer)
    assert ended
    assert content == b"".join([*pieces, frame(STOP), b"data: [DONE]\n\n"])
    content, ended = unchunk(native)
    assert ended
    assert content.count(b'data: {"completion":') == len(pieces) + 1
