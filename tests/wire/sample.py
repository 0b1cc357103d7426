"""What tests of the formats share: recorded cases, and ways to play a stream in pieces."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from trunkline.chat import ChatRequest
from trunkline.errors import GatewayError
from trunkline.wire import openai_chat, openai_text
from trunkline.wire.mend import Stamp
from trunkline.wire.openai_chat import ChatPair
from trunkline.wire.openai_text import TextPair
from trunkline.wire.reply import StreamReply
from trunkline.wire.sgp import CompletionStream, UpstreamText

CASES = Path(__file__).parent / "cases"
_FOLDERS = ("llama_cpp", "openai", "provider")
_STREAMS = sorted(path for folder in _FOLDERS for path in (CASES / folder).glob("*.sse"))
CHAT_STREAMS = [str(path.relative_to(CASES)) for path in _STREAMS if path.stem != "text"]
TEXT_STREAMS = [str(path.relative_to(CASES)) for path in _STREAMS if path.stem == "text"]

some_examples = settings(max_examples=60)
"""For properties: enough to find what a small input can show; no clock decides."""

any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read_case(name: str) -> bytes:
    """A recorded answer, stream or failure."""
    return (CASES / name).read_bytes()


def make_stamp() -> Stamp:
    return Stamp("chatcmpl-stamped", "asked/model", 1_700_000_000)


def open_chat(*, done: bool = False, include_usage: bool = False) -> StreamReply:
    """A chat stream tapped for an SGP client, or with ``done`` for an OpenAI client."""
    request = ChatRequest("asked/model", b"{}", stream=True, include_usage=include_usage)
    return ChatPair(request, request.body, make_stamp(), done=done).open_stream()


def open_text(*, include_usage: bool = False) -> StreamReply:
    """A legacy text stream tapped for an OpenAI client."""
    request = ChatRequest("asked/model", b"{}", stream=True, include_usage=include_usage)
    return TextPair(request, request.body, make_stamp()).open_stream()


def open_native(upstream: str = "chat") -> StreamReply:
    """A native completion stream, translated from chat or from legacy text."""
    face: UpstreamText = openai_chat if upstream == "chat" else openai_text
    return CompletionStream(face, make_stamp(), {"model": "m", "provider": "lab"})


STREAMS: list[tuple[str, Callable[[], StreamReply]]] = [
    *((name, lambda: open_chat(include_usage=True)) for name in CHAT_STREAMS),
    *((name, lambda: open_chat(done=True)) for name in CHAT_STREAMS),
    *((name, lambda: open_text(include_usage=True)) for name in TEXT_STREAMS),
    *((name, lambda: open_native("chat")) for name in CHAT_STREAMS if "two" not in name),
    *((name, lambda: open_native("text")) for name in TEXT_STREAMS),
]
"""Every recorded stream with every way to read it; a completion never asks for two choices."""


def play(reply: StreamReply, *pieces: bytes) -> bytes:
    """The client's bytes for the upstream's, in the pieces in which they came."""
    out = [reply.feed(piece) for piece in pieces]
    return b"".join([*out, reply.finish()])


def fail(reply: StreamReply, *pieces: bytes) -> tuple[bytes, GatewayError]:
    """What the client has got when the reply fails, and the failure."""
    out = b""
    with pytest.raises(GatewayError) as caught:
        for piece in pieces:
            out += reply.feed(piece)
        reply.finish()
    return out, caught.value


@contextmanager
def may_fail(code: str) -> Iterator[None]:
    """What stands inside may raise this failure of the gateway, and no other exception."""
    try:
        yield
    except GatewayError as error:
        if error.code != code:
            raise


def split(data: bytes, *places: int) -> list[bytes]:
    """The bytes cut at these places."""
    edges = [0, *sorted(place for place in places if 0 < place < len(data)), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def read_frames(data: bytes) -> Iterator[Any]:
    """The JSON of a client's frames, read as a plain line reader would; ``[DONE]`` as a text."""
    assert data.isascii()
    *blocks, rest = data.split(b"\n\n")
    assert rest == b""
    for block in blocks:
        assert block.startswith(b"data: ")
        assert block.count(b"\n") == 0
        yield "[DONE]" if block == b"data: [DONE]" else msgspec.json.decode(block[6:])


def write_frames(*frames: Any) -> bytes:
    """An upstream's stream of these JSON values, each in a frame; bytes stand for themselves."""
    return b"".join(
        b"data: " + (frame if isinstance(frame, bytes) else msgspec.json.encode(frame)) + b"\n\n"
        for frame in frames
    )


def make_chunk(delta: Any = None, finish: Any = None, **changes: Any) -> dict[str, Any]:
    """A chat chunk that fits, with changes."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **changes,
    }


def patch(value: Any, path: str, new: Any) -> Any:
    """A copy of JSON with the value at ``a.0.b`` replaced, or removed where ``new`` is ``...``."""
    copy = msgspec.json.decode(msgspec.json.encode(value))
    *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
    place: Any = copy
    for step in way:
        place = place[step]
    if new is not ...:
        place[last] = new
    elif not isinstance(place, dict) or last in place:
        del place[last]
    return copy
