"""What a client heard of one call: its text, how it ended, and what broke the rules. Pure."""

import json
from typing import Any, Final, Literal

import msgspec

from trunkline.chaos.answer import AnswerReader

Door = Literal["openai", "beta", "sgp"]
"""The dialect in which the client asks; ``beta`` and ``sgp`` are SGP's."""
DOORS: Final[tuple[Door, ...]] = ("openai", "beta", "sgp")
PATHS: Final[dict[Door, str]] = {
    "openai": "/v1/chat/completions",
    "beta": "/v4/beta/chat/completions",
    "sgp": "/v4/completions",
}


class Heard(msgspec.Struct):
    """One call as its client saw it.

    Args:
        status: 0 when no answer came.
        headers: names in lower case.
        text: the content and the arguments of tool calls, pieces of a stream joined.
        finish_reason: why the model ended, None if the answer did not say.
        ended: the answer was ended as HTTP has it, not cut.
        done: how many ``[DONE]`` came.
        error: the object of a failure: the body's, or the stream's error frame.
        usage: input and output tokens, if told.
        fault: what no client should ever see, "" for nothing.
        elapsed_s: from the first byte sent until the end.
        hung: it had not ended when the client's patience had.
    """

    status: int = 0
    headers: dict[str, str] = {}
    text: str = ""
    finish_reason: str | None = None
    ended: bool = False
    done: int = 0
    error: dict[str, Any] | None = None
    usage: tuple[int, int] | None = None
    fault: str = ""
    elapsed_s: float = 0.0
    hung: bool = False

    @property
    def call_id(self) -> str:
        """The request id, "" if there is none."""
        return self.headers.get("x-request-id", "")

    @property
    def code(self) -> str:
        """The failure's code, "" without one."""
        inner = (self.error or {}).get("error")
        return str(inner.get("code", "")) if isinstance(inner, dict) else ""

    @property
    def is_stream(self) -> bool:
        """Whether it is an event stream."""
        return self.headers.get("content-type", "").startswith("text/event-stream")


def read_heard(reader: AnswerReader, door: Door) -> Heard:
    """What an answer says, in the dialect of the door it came through."""
    heard = Heard(reader.status, reader.headers, ended=reader.is_over, fault=reader.broken)
    if not reader.status or heard.fault:
        return heard
    try:
        if heard.is_stream:
            _read_stream(heard, reader.body.decode("utf-8"), door)
        elif reader.is_over:
            _read_whole(heard, json.loads(reader.body), door)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        heard.fault = f"what came is not of its dialect: {type(error).__name__}: {error}"[:200]
    return heard


def _read_whole(heard: Heard, body: dict[str, Any], door: Door) -> None:
    if heard.status != 200:
        heard.error = body
        return
    if door == "sgp":
        _take_completion(heard, body)
        return
    choice = body["choices"][0]
    heard.text = _read_said(choice["message"])
    heard.finish_reason = choice["finish_reason"]
    _take_usage(heard, body.get("usage"))


def _read_stream(heard: Heard, text: str, door: Door) -> None:
    blocks = text.split("\n\n")
    if blocks.pop() and heard.ended:
        heard.fault = "the last frame has no end"
    for block in blocks:
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        if heard.error is not None:
            raise ValueError("a frame after the error")
        if lines[0] == "event: error" and len(lines) == 2:
            heard.error = json.loads(_cut_data(lines[1]))
        elif len(lines) == 1:
            _take_frame(heard, _cut_data(lines[0]), door)
        else:
            raise ValueError(f"a frame of {len(lines)} lines")


def _cut_data(line: str) -> str:
    name, found, data = line.partition("data: ")
    if name or not found:
        raise ValueError(f"an unknown line: {line[:40]}")
    return data


def _take_frame(heard: Heard, data: str, door: Door) -> None:
    if data == "[DONE]":
        heard.done += 1
        return
    if heard.done:
        raise ValueError("a frame after [DONE]")
    chunk = json.loads(data)
    if "error" in chunk:
        raise ValueError("an error in a frame without its name")
    if door == "sgp":
        _take_completion(heard, chunk)
        return
    for choice in chunk["choices"]:
        heard.text += _read_said(choice["delta"])
        heard.finish_reason = choice["finish_reason"] or heard.finish_reason
    _take_usage(heard, chunk.get("usage"))


def _read_said(message: dict[str, Any]) -> str:
    """What a message or a piece of one says: its content, and the arguments of its calls."""
    calls = (call.get("function", {}) for call in message.get("tool_calls") or ())
    return (message.get("content") or "") + "".join(call.get("arguments") or "" for call in calls)


def _take_completion(heard: Heard, chunk: dict[str, Any]) -> None:
    completion = chunk["completion"]
    heard.text += completion["text"]
    heard.finish_reason = completion.get("finish_reason") or heard.finish_reason
    usage = chunk.get("token_usage")
    if usage:
        heard.usage = usage["prompt"], usage["completion"]


def _take_usage(heard: Heard, usage: dict[str, Any] | None) -> None:
    if usage:
        heard.usage = usage["prompt_tokens"], usage["completion_tokens"]
