"""An upstream of the benchmark whose calls take as long as their shape says.

- ``varied``: the first token after 50 ms, 10 % more or less, and the end after 250 ms in the mean,
  lognormal as the lengths of answers are, with about as much deviation as mean; the quiet account
  asks at random (Poisson).
- ``lockstep``: the first token after 50 ms and the end after 250 ms, always, so that all calls of
  the noisy account, which begin together, end together, and none in between. No model does this;
  it is the worst that can happen to a queue.
- ``whole``: all of the answer after 50 ms, 10 % more or less.
"""

import asyncio
import json
import math
import random
from dataclasses import dataclass
from typing import Final

TOKEN: Final = "Hi"
_CHUNK: Final = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@dataclass(frozen=True)
class Shape:
    """How long calls take: to the first token, and to the end in the mean."""

    first_s: float
    whole_s: float
    jitter: float = 0.0
    sigma: float = 0.0
    is_steady: bool = True

    def draw(self, chance: random.Random) -> tuple[float, float]:
        """The time to the first token of a call, and from there to its end."""
        first_s = self.first_s * chance.uniform(1 - self.jitter, 1 + self.jitter)
        rest_s = self.whole_s - self.first_s
        return first_s, rest_s * chance.lognormvariate(-(self.sigma**2) / 2, self.sigma)


SHAPES: Final = {
    "varied": Shape(0.05, 0.25, jitter=0.1, sigma=math.sqrt(math.log(2)), is_steady=False),
    "lockstep": Shape(0.05, 0.25),
    "whole": Shape(0.05, 0.05, jitter=0.1),
}


class Upstream(asyncio.Protocol):
    """Answers every request with a short stream in the time that its shape says."""

    def __init__(self, shape: Shape, chance: random.Random) -> None:
        self._shape = shape
        self._chance = chance
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read one request whole; there is never a second behind it."""
        self._data += data
        head, blank, body = self._data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if blank and len(body) >= length:
            self._data = b""
            is_stream = b'"stream":true' in body.replace(b" ", b"")
            loop = asyncio.get_running_loop()
            first_s, rest_s = self._shape.draw(self._chance)
            first, rest = _STREAM if is_stream else _WHOLE
            if rest_s:
                loop.call_later(first_s, self._write, first)
                loop.call_later(first_s + rest_s, self._write, rest)
            else:
                loop.call_later(first_s, self._write, first + rest)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def _build_answer(kind: str, first: bytes, rest: bytes) -> tuple[bytes, bytes]:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(first + rest)}"
    return head.encode() + b"\r\n\r\n" + first, rest


def _build_frame(choice: dict[str, object]) -> bytes:
    return b"data: %b\n\n" % json.dumps({**_CHUNK, "choices": [{"index": 0, **choice}]}).encode()


_STREAM: Final = _build_answer(
    "text/event-stream",
    _build_frame({"delta": {"role": "assistant", "content": TOKEN}}),
    _build_frame({"delta": {}, "finish_reason": "stop"}) + b"data: [DONE]\n\n",
)
_ANSWER: Final = {"message": {"role": "assistant", "content": TOKEN}, "finish_reason": "stop"}
_WHOLE: Final = _build_answer(
    "application/json",
    b"",
    json.dumps(
        {**_CHUNK, "object": "chat.completion", "choices": [{"index": 0, **_ANSWER}]}
    ).encode(),
)
