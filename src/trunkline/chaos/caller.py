"""Asks the gateway as a client would, over a socket of its own."""

import asyncio
import json
import time
from typing import Final

import msgspec

from trunkline.chaos.answer import AnswerReader
from trunkline.chaos.heard import PATHS, Door, Heard, read_heard

_READ_BYTES: Final = 65536
_PARAMETERS: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


class Question(msgspec.Struct, frozen=True):
    """What a client asks: through which door, for which public name, streamed or not.

    ``tool`` offers one that must be called; SGP's native completions know none.
    """

    door: Door
    model: str
    stream: bool
    prompt: str = "Say what you were told to say."
    max_tokens: int = 200
    tool: bool = False

    def write_body(self) -> bytes:
        """The JSON body in the door's dialect."""
        asked: dict[str, object] = {"model": self.model, "stream": self.stream}
        if self.door == "sgp":
            parameters = {"max_tokens": self.max_tokens}
            return json.dumps(
                asked | {"prompt": self.prompt, "model_parameters": parameters}
            ).encode()
        asked["messages"] = [{"role": "user", "content": self.prompt}]
        asked["max_tokens"] = self.max_tokens
        if self.tool:
            function = {"name": "find_weather", "parameters": _PARAMETERS}
            asked["tools"] = [{"type": "function", "function": function}]
            asked["tool_choice"] = "required"
        if self.stream:
            asked["stream_options"] = {"include_usage": True}
        return json.dumps(asked).encode()


async def ask(port: int, key: str, question: Question, patience_s: float) -> Heard:
    """Ask once on a new connection and listen until the end; never raises for what comes."""
    reader = AnswerReader()
    started_s = time.perf_counter()
    hung = False
    try:
        async with asyncio.timeout(patience_s):
            await _listen(port, write_request(port, key, question), reader)
    except TimeoutError:
        hung = True
    except OSError:  # reset by the gateway: what came until then counts
        pass
    heard = read_heard(reader, question.door)
    heard.elapsed_s = time.perf_counter() - started_s
    heard.hung = hung
    return heard


def write_request(port: int, key: str, question: Question) -> bytes:
    """The whole request as it goes over the wire."""
    body = question.write_body()
    head = (
        f"POST {PATHS[question.door]} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nx-api-key: {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _listen(port: int, request: bytes, answer: AnswerReader) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        while not answer.is_over and not answer.broken:
            data = await reader.read(_READ_BYTES)
            if not data:
                answer.close()
                return
            answer.feed(data)
    finally:
        writer.transport.abort()
