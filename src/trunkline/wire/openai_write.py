"""OpenAI's chat format, client side: writes the events of a translated reply.

The shapes are those that the strict clients accept (docs/contract.md, Chat answers and chunks).
Thoughts travel as ``reasoning_content``, with their seals as ``thinking_blocks``; a call's seal
as ``extra_content.google.thought_signature``: what a client sends back in the next turn.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from trunkline.chat import Json
from trunkline.events import (
    Began,
    Citation,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolDelta,
    ToolStart,
    Usage,
)
from trunkline.wire.argument import Arguments, unreadable
from trunkline.wire.mend import Stamp
from trunkline.wire.reply import Answer, incomplete
from trunkline.wire.sse import DONE, escape_non_ascii, write_frame

_ENCODER = msgspec.json.Encoder()


class ChatWriter:
    """Writes one reply: streamed with ``write`` and ``end``, or whole with ``write_answer``.

    Args:
        stamp: id, model and time of the reply.
        legacy: calls are written as ``function_call``.
        done: the client's dialect ends streams with ``[DONE]``.
        include_usage: the client asked for the usage chunk.
    """

    def __init__(self, stamp: Stamp, *, legacy: bool, done: bool, include_usage: bool) -> None:
        self._stamp = stamp
        self._legacy = legacy
        self._done = done
        self._include_usage = include_usage
        self._before = _encode_head(stamp)
        self._begun: set[int] = set()
        self._called: set[int] = set()
        self._calls: Arguments | None = None
        self._thoughts: dict[int, list[str]] = {}
        self._ends: list[Finish] = []
        self.usage: Usage | None = None

    def write(self, event: Event) -> bytes:
        """The client's bytes for one event; finish reasons and usage wait for ``end``."""
        if type(event) is TextDelta and event.index in self._begun:
            text = _ENCODER.encode(event.text)
            if not text.isascii():
                text = escape_non_ascii(text)
            return (
                b'%b{"index":%d,"delta":{"content":%b},"logprobs":null,"finish_reason":null}]}\n\n'
                % (
                    self._before,
                    event.index,
                    text,
                )
            )
        if isinstance(event, Usage):
            self.usage = event
            return b""
        if isinstance(event, Finish):
            self._ends.append(event)
            return b""
        if isinstance(event, Began):
            return b""
        delta = self._write_delta(event)
        if not delta:
            return b""
        if event.index not in self._begun:
            self._begun.add(event.index)
            delta = {"role": "assistant", **delta}
        return self._write_choice(event.index, delta, None)

    def end(self) -> bytes:
        """The last chunks: a finish reason for each alternative, and the usage if asked for.

        Raises:
            GatewayError: ``upstream_error`` where an alternative has none, or calls a tool with
                arguments that are no JSON.
        """
        self._check_ends(self._begun)
        usage = self.usage and self.usage.believe()
        out = [
            self._write_choice(
                each.index,
                {} if each.index in self._begun else {"role": "assistant", "content": ""},
                self._reason(each),
            )
            for each in self._ends
        ]
        if self._include_usage and usage is not None:
            out.append(write_frame(_ENCODER.encode(self._chunk([]) | {"usage": usage})))
        if self._done:
            out.append(DONE)
        return b"".join(out)

    def write_answer(self, events: Iterable[Event]) -> Answer:
        """A whole answer; raises as ``end``."""
        choices: dict[int, Json] = {}
        for event in events:
            if isinstance(event, Usage):
                self.usage = event.believe()
            elif isinstance(event, Finish):
                self._ends.append(event)
                _open_choice(choices, event.index, "")
            elif not isinstance(event, Began):
                message = _open_choice(choices, event.index, None)["message"]
                _fold(message, self._write_delta(event))
        self._check_ends(choices)
        for each in self._ends:
            choices[each.index]["finish_reason"] = self._reason(each)
        answer = {
            "id": self._stamp.id,
            "object": "chat.completion",
            "created": self._stamp.created_s,
            "model": self._stamp.model,
            "choices": [choices[index] for index in sorted(choices)],
            "usage": self.usage,
        }
        return Answer(_ENCODER.encode(answer), self.usage, self._reason(self._ends[0]))

    def _check_ends(self, begun: Iterable[int]) -> None:
        ended = {each.index for each in self._ends}
        if not ended or not ended.issuperset(begun):
            raise incomplete()
        for each in self._ends if self._calls is not None else ():
            if self._calls is not None and self._calls.end(each.index, each.reason):
                raise unreadable()

    def _write_delta(self, event: Any) -> Json:
        match event:
            case TextDelta(text=text):
                return {"content": text}
            case RefusalDelta(text=text):
                return {"refusal": text}
            case ReasoningDelta(text=text, index=index):
                self._thoughts.setdefault(index, []).append(text)
                return {"reasoning_content": text}
            case ReasoningSeal():
                return {"thinking_blocks": [self._write_seal(event)]}
            case ToolStart():
                self._called.add(event.index)
                self._note_call(event.index, event.slot, "")
                return self._write_call(event)
            case ToolDelta(slot=slot, arguments=arguments):
                self._note_call(event.index, slot, arguments)
                if self._legacy:
                    return {} if slot else {"function_call": {"arguments": arguments}}
                return {"tool_calls": [{"index": slot, "function": {"arguments": arguments}}]}
            case Citation():
                return {"annotations": [_write_citation(event)]}
        raise TypeError(event)

    def _note_call(self, index: int, slot: int, arguments: str) -> None:
        self._calls = self._calls or Arguments()
        self._calls.add(index, slot, arguments)

    def _write_seal(self, seal: ReasoningSeal) -> Json:
        if seal.redacted:
            return {"type": "redacted_thinking", "data": seal.redacted}
        thought = "".join(self._thoughts.pop(seal.index, ()))
        return {"type": "thinking", "thinking": thought, "signature": seal.signature}

    def _write_call(self, start: ToolStart) -> Json:
        function = {"name": start.name, "arguments": ""}
        if self._legacy:
            # These clients know of one call a turn: there is no word for a second.
            return {} if start.slot else {"function_call": function}
        call: Json = {"index": start.slot, "id": start.id, "type": "function", "function": function}
        if start.signature:
            call["extra_content"] = {"google": {"thought_signature": start.signature}}
        return {"tool_calls": [call]}

    def _reason(self, end: Finish) -> FinishReason:
        """Some vendors say no more than stop where the model calls a tool."""
        if end.index not in self._called or end.reason not in ("stop", "tool_calls"):
            return end.reason
        return "function_call" if self._legacy else "tool_calls"

    def _chunk(self, choices: list[Json]) -> Json:
        return {
            "id": self._stamp.id,
            "object": "chat.completion.chunk",
            "created": self._stamp.created_s,
            "model": self._stamp.model,
            "choices": choices,
        }

    def _write_choice(self, index: int, delta: Json, reason: FinishReason | None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return write_frame(_ENCODER.encode(self._chunk([choice])))


def _encode_head(stamp: Stamp) -> bytes:
    """Everything of a chunk's frame that stands before its choice."""
    head = {
        "id": stamp.id,
        "object": "chat.completion.chunk",
        "created": stamp.created_s,
        "model": stamp.model,
        "choices": [],
    }
    return write_frame(_ENCODER.encode(head)).removesuffix(b"]}\n\n")


def _open_choice(choices: dict[int, Json], index: int, content: str | None) -> Json:
    return choices.setdefault(
        index,
        {
            "index": index,
            "message": {"role": "assistant", "content": content},
            "logprobs": None,
            "finish_reason": None,
        },
    )


def _fold(message: Json, delta: Json) -> None:
    """Add a delta to a whole message."""
    for name, value in delta.items():
        if isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        elif name == "tool_calls":
            _fold_call(message.setdefault("tool_calls", []), value[0])
        elif name == "function_call":
            call = message.setdefault("function_call", {"name": "", "arguments": ""})
            for key, text in value.items():
                call[key] += text
        else:
            message.setdefault(name, []).extend(value)


def _fold_call(calls: list[Json], piece: Json) -> None:
    slot = piece.pop("index")
    if slot == len(calls):
        calls.append(piece)
    else:
        calls[slot]["function"]["arguments"] += piece["function"]["arguments"]


def _write_citation(citation: Citation) -> Json:
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": citation.start,
            "end_index": citation.end,
            "title": citation.title,
            "url": citation.url,
        },
    }
