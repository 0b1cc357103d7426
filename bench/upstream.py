"""The mock upstream's streamed side: every tick it writes one SSE chunk to every open stream.

That is how an engine with continuous batching behaves: one step, one token for each running
sequence. nginx cannot play it, because it sends a ready file in one go. Each chunk is one write on
its own, so the proxy reads it on its own as long as it keeps up.
"""

import argparse
import asyncio
import json
from dataclasses import dataclass, field
from typing import cast

import uvloop

CHUNKS = 100
MARK = b"quickbrownfox"
TEXT = f" {MARK.decode()}"
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


def write_frame(value: str) -> bytes:
    """Return one SSE frame as one HTTP chunk."""
    data = f"data: {value}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def build_chat_chunk(delta: dict[str, str], finish: str | None) -> str:
    """Return one chunk of the OpenAI chat stream, about 200 bytes of JSON."""
    return json.dumps(
        {
            "id": "chatcmpl-benchbenchbenchbenchbench",
            "object": "chat.completion.chunk",
            "created": 1790000000,
            "model": "bench",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        },
        separators=(",", ":"),
    )


def build_text_chunk(text: str, finish: str | None) -> str:
    """Return one chunk of the OpenAI text completion stream."""
    return json.dumps(
        {
            "id": "cmpl-benchbenchbenchbenchbenchbenchb",
            "object": "text_completion",
            "created": 1790000000,
            "model": "bench",
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}],
        },
        separators=(",", ":"),
    )


USAGE = (
    '{"id":"chatcmpl-benchbenchbenchbenchbench","object":"chat.completion.chunk",'
    '"created":1790000000,"model":"bench","choices":[],'
    '"usage":{"prompt_tokens":40,"completion_tokens":100,"total_tokens":140}}'
)
CHAT_FRAME = write_frame(build_chat_chunk({"content": TEXT}, None))
CHAT_END = write_frame(build_chat_chunk({}, "stop"))
TEXT_FRAME = write_frame(build_text_chunk(TEXT, None))
TEXT_END = write_frame(build_text_chunk("", "stop"))
DONE = write_frame("[DONE]") + b"0\r\n\r\n"


@dataclass(eq=False)
class Stream:
    """One running answer: what is still to be written on which connection."""

    transport: asyncio.Transport
    frame: bytes
    end: bytes
    left: int = CHUNKS


@dataclass
class Ticker:
    """The streams that are open, and the step that moves all of them by one chunk."""

    streams: set[Stream] = field(default_factory=set)

    def step(self) -> None:
        """Write the next chunk to every stream."""
        for stream in tuple(self.streams):
            if stream.transport.is_closing():
                self.streams.discard(stream)
            elif stream.left:
                stream.left -= 1
                stream.transport.write(stream.frame)
            else:
                self.streams.discard(stream)
                stream.transport.write(stream.end)

    async def run(self, tick_s: float) -> None:
        """Step at even times for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + tick_s, loop.time())
            await asyncio.sleep(due - loop.time())
            self.step()


class Connection(asyncio.Protocol):
    """The smallest HTTP/1.1 server that a proxy's keep-alive pool accepts."""

    def __init__(self, ticker: Ticker) -> None:
        self.ticker = ticker
        self.pending = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.pending += data
        head, found, rest = self.pending.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if len(rest) < length:
            return
        self.pending = rest[length:]
        self.answer(head, rest[:length])

    def answer(self, head: bytes, body: bytes) -> None:
        """Begin the stream that was asked for, or answer a health check."""
        if b'"stream"' not in body:
            self.transport.write(PLAIN)
            return
        usage = write_frame(USAGE) if b'"include_usage"' in body else b""
        is_chat = b"/chat/completions" in head.split(b"\r\n", 1)[0]
        frame, end = (CHAT_FRAME, CHAT_END) if is_chat else (TEXT_FRAME, TEXT_END)
        self.transport.write(HEAD)
        self.ticker.streams.add(Stream(self.transport, frame, end + usage + DONE))


async def serve(port: int, tick_s: float) -> None:
    """Serve on loopback until the process is stopped."""
    ticker = Ticker()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(ticker), "127.0.0.1", port, backlog=1024)
    async with server:
        await ticker.run(tick_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tick-ms", type=float, default=5.0)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.tick_ms / 1000))


if __name__ == "__main__":
    main()
