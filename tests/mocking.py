"""A mock upstream in a thread, and raw requests to it.

with run_mock(always(Fault("cut"))) as mock:
    heard = ask(mock, "openai", stream=True)
"""

import json
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

from gateway import run_apart
from trunkline.mock import MockServer
from trunkline.mock.behaviour import Dialect, Planned

Json = dict[str, Any]
PROMPT = "echo one two  three"
SAID = "one two  three"
DIALECTS: Sequence[Dialect] = ("openai", "anthropic", "gemini", "bedrock", "cohere", "llm-engine")


def run_mock(
    plan: Planned | None = None, *, seed: int = 0, pace_s: float = 0
) -> AbstractContextManager[MockServer]:
    """A mock with a loop and thread of its own."""
    return run_apart(MockServer(plan, seed=seed, pace_s=pace_s))


@dataclass(frozen=True)
class Heard:
    """What came over a socket until it ended, or until nothing came for a while.

    Attributes:
        end: "fin", "rst", or "silence".
    """

    data: bytes
    end: str

    @property
    def head(self) -> str:
        return self.data.partition(b"\r\n\r\n")[0].decode("latin-1").lower()

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    @property
    def rest(self) -> bytes:
        """What stands behind the head, as it came."""
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def body(self) -> bytes:
        """The same without the framing of chunks."""
        if "transfer-encoding: chunked" not in self.head:
            return self.rest
        out, rest = b"", self.rest
        while rest:
            line, _, rest = rest.partition(b"\r\n")
            size = int(line, 16)
            if size == 0:
                break
            out, rest = out + rest[:size], rest[size + 2 :]
        return out

    @property
    def is_ended(self) -> bool:
        """The last chunk came, or as many bytes as were promised."""
        if "transfer-encoding: chunked" in self.head:
            return self.rest.endswith(b"0\r\n\r\n")
        promised = self.head.partition("content-length: ")[2].partition("\r")[0]
        return len(self.rest) == int(promised)


def write_request(dialect: Dialect, model: str = "m", *, stream: bool = False) -> tuple[str, Json]:
    """Path and body of a small request in a dialect."""
    messages = [{"role": "user", "content": PROMPT}]
    plain = {"model": model, "messages": messages, "stream": stream}
    parts = [{"role": "user", "parts": [{"text": PROMPT}]}]
    blocks = [{"role": "user", "content": [{"text": PROMPT}]}]
    if dialect == "openai":
        return "/v1/chat/completions", plain
    if dialect == "anthropic":
        return "/v1/messages", plain | {"max_tokens": 100}
    if dialect == "gemini":
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{verb}", {"contents": parts}
    if dialect == "bedrock":
        return f"/model/{model}/converse{'-stream' if stream else ''}", {"messages": blocks}
    if dialect == "cohere":
        return "/v2/chat", plain
    name = "stream" if stream else "sync"
    path = f"/v1/llm/completions-{name}?model_endpoint_name={model}"
    return path, {"prompt": PROMPT, "max_new_tokens": 100}


def ask(
    mock: MockServer,
    dialect: Dialect = "openai",
    model: str = "m",
    *,
    stream: bool = False,
    quiet_s: float = 0.3,
    more: Json | None = None,
) -> Heard:
    """Send a request over a socket of its own, and hear all that comes."""
    path, body = write_request(dialect, model, stream=stream)
    data = json.dumps(body | (more or {})).encode()
    with socket.create_connection((mock.host, mock.port), 10) as sock:
        with suppress(ConnectionError):
            lines = (
                f"POST {path} HTTP/1.1",
                "host: mock",
                "connection: close",
                f"content-length: {len(data)}",
            )
            sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        return hear(sock, quiet_s)


def hear(sock: socket.socket, quiet_s: float = 0.3) -> Heard:
    """Read until the connection ends, or nothing has come for a while."""
    sock.settimeout(quiet_s)
    data = b""
    while True:
        try:
            more = sock.recv(65536)
        except TimeoutError:
            return Heard(data, "silence")
        except ConnectionResetError:
            return Heard(data, "rst")
        if not more:
            return Heard(data, "fin")
        data += more
