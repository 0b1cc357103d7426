"""A crowd of HTTP clients on one event loop, cheap enough for a thousand at once."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHAT_PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Reply:
    """A whole answer, and when it was asked for and had; seconds of ``time.perf_counter``."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_at_s: float
    had_at_s: float

    @property
    def id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def took_s(self) -> float:
        return self.had_at_s - self.asked_at_s

    @property
    def code(self) -> str:
        """The error's code, "" for an answer that is none."""
        return "" if self.status == 200 else str(json.loads(self.body)["error"]["code"])


@dataclass
class Client:
    """A connection of its own, for one call."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, body: bytes, key: str, **headers: str) -> Reply:
        """Send a call, read the answer to the connection's end, and close."""
        asked_at_s = time.perf_counter()
        try:
            self.send(body, key, **headers)
            data = await self.reader.read()
        finally:
            self.writer.close()
        return _read_reply(data, asked_at_s)

    def send(self, body: bytes, key: str, **headers: str) -> None:
        """Send a call; names of headers have ``_`` for ``-``."""
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
        head = (
            f"POST {CHAT_PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\n"
            f"{''.join(lines)}content-length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)


async def ask(port: int, body: bytes, key: str, **headers: str) -> Reply:
    """One call on a connection of its own."""
    client = await Client.connect(port)
    return await client.ask(body, key, **headers)


def write_chat(model: str, max_tokens: int, content: str = "Hi", **more: Any) -> bytes:
    """The body of a chat call."""
    messages = [{"role": "user", "content": content}]
    asked = {"model": model, "messages": messages, "max_tokens": max_tokens, **more}
    return json.dumps(asked).encode()


def _read_reply(data: bytes, asked_at_s: float) -> Reply:
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {}
    for each in fields:
        name, _, value = each.partition(":")
        headers[name.lower()] = value.strip()
    assert line.startswith("HTTP/1.1 "), data
    if "content-length" in headers:
        assert len(body) == int(headers["content-length"]), "the answer was cut short"
    return Reply(int(line.split()[1]), headers, body, asked_at_s, time.perf_counter())
