"""Small streams of an upstream, and what a client gets of them, byte for byte."""

import json
import socket
from collections.abc import Mapping

from scripted import Peer, Script

ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}
TEXT = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
ENVELOPE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
CHAT = {"model": "model", "messages": [{"role": "user", "content": "hi"}], "stream": True}
NATIVE = {"model": "model", "prompt": "hi", "stream": True}
ROUTES = [
    ("/v4/completions", NATIVE),
    ("/v5/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT),
]


def frame(chunk: Mapping[str, object]) -> bytes:
    return b"data: " + json.dumps({**ENVELOPE, **chunk}).encode() + b"\n\n"


def streaming(*pieces: bytes, ends: bool = True) -> Script:
    """Streams the pieces, then ends the body properly or cuts the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        for piece in pieces:
            await peer.chunk(piece)
        if ends:
            await peer.end_chunked()

    return script


def ask_raw(port: int, path: str, body: object, version: str = "1.1") -> bytes:
    """Every byte of the answer up to the end of the connection."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/{version}\r\nhost: x\r\nx-api-key: My API Key\r\n"
        f"connection: close\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head.encode() + content)
        received = b""
        while data := client.recv(65536):
            received += data
    return received


def unchunk(answer: bytes) -> tuple[bytes, bool]:
    """Body and whether it ended with the last chunk."""
    _, _, rest = answer.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return body, True
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body, False
