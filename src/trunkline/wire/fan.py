"""Joins the replies of several requests into one: ``n`` alternatives where the upstream has no n.

Works on the client's side, on OpenAI's chat shape, whatever format each reply came in.
"""

from typing import Any

import msgspec

from trunkline.chat import Json
from trunkline.errors import GatewayError
from trunkline.events import CompletionDetails, PromptDetails, Usage
from trunkline.wire.mend import Stamp
from trunkline.wire.reply import Answer, decode_object, encode_object
from trunkline.wire.sse import DONE, SseReader, write_frame


def join_answers(answers: list[Answer]) -> Answer:
    """One whole answer with a choice of each, and the sum of what they cost."""
    bodies = [decode_object(answer.body) for answer in answers]
    choices = [
        {**choice, "index": index}
        for index, body in enumerate(bodies)
        for choice in body["choices"][:1]
    ]
    usage = add_usages([answer.usage for answer in answers])
    summed = msgspec.to_builtins(usage)
    joined = {**bodies[0], "choices": choices, "usage": summed}
    return Answer(encode_object(joined), usage, answers[0].finish_reason)


def add_usages(usages: list[Usage | None]) -> Usage | None:
    """The sum of all; None where one is not known, for a part is not the whole."""
    known = [usage for usage in usages if usage is not None]
    if not known or len(known) < len(usages):
        return None
    return Usage(
        sum(usage.prompt_tokens for usage in known),
        sum(usage.completion_tokens for usage in known),
        sum(usage.total_tokens for usage in known),
        _add_details(PromptDetails, [usage.prompt_tokens_details for usage in known]),
        _add_details(CompletionDetails, [usage.completion_tokens_details for usage in known]),
    )


def _add_details(kind: Any, details: list[Any]) -> Any:
    given = [each for each in details if each is not None]
    if not given:
        return None
    sums = {}
    for name in kind.__struct_fields__:
        counts = [count for each in given if isinstance(count := getattr(each, name), int)]
        if counts:
            sums[name] = sum(counts)
    return kind(**sums)


class FanStream:
    """Joins streamed replies as their frames come.

    Args:
        stamp: id, model and time that all chunks carry.
        count: how many replies there are.
        done: the client's dialect ends streams with ``[DONE]``.
        include_usage: the client asked for the usage chunk.
    """

    def __init__(self, stamp: Stamp, count: int, *, done: bool, include_usage: bool) -> None:
        self._stamp = stamp
        self._readers = [SseReader() for _ in range(count)]
        self._done = done
        self._include_usage = include_usage

    def add(self, copy: int, data: bytes) -> bytes:
        """The client's bytes for those of one reply: its choice gets the reply's number."""
        out = []
        for frame in self._readers[copy].feed(data):
            if frame.data == b"[DONE]":
                continue
            chunk = decode_object(frame.data)
            if not chunk.get("choices"):
                continue
            chunk.update(self._head())
            chunk.pop("usage", None)
            for choice in chunk["choices"]:
                choice["index"] = copy
            out.append(write_frame(encode_object(chunk)))
        return b"".join(out)

    def end(self, usages: list[Usage | None]) -> bytes:
        """The last bytes: the summed usage if asked for, and the dialect's end.

        Raises:
            GatewayError: ``internal_error`` if a reply left half a frame behind.
        """
        if any(reader.rest for reader in self._readers):
            raise GatewayError("internal_error", "A reply ended in the middle of a frame.")
        usage = add_usages(usages)
        out = b""
        if self._include_usage and usage is not None:
            kind = {"object": "chat.completion.chunk"}
            last = {**self._head(), **kind, "choices": [], "usage": usage}
            out = write_frame(msgspec.json.encode(last))
        return out + (DONE if self._done else b"")

    def _head(self) -> Json:
        return {
            "id": self._stamp.id,
            "created": self._stamp.created_s,
            "model": self._stamp.model,
        }
