"""Rewrites a conversation with tool calls for a model whose template knows no tools.

Calls and results become plain turns, calls in the JSON form in which new ones are asked for.
Messages: OpenAI's API reference, "Create chat completion" (read 2026-11-22).
"""

from typing import Any, Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.wire.body import SHOWN_CHARACTERS, JsonObject
from trunkline.wire.emulate_form import CALLS, MESSAGE

RESULTS: Final = "tool_results"
_NOTHING: Final = msgspec.Raw(b"null")
_SYSTEM: Final = frozenset({"system", "developer"})
_RESULT: Final = frozenset({"tool", "function"})
_GAP: Final = "\n\n"
_ENCODER = msgspec.json.Encoder()
_CONTAINER = msgspec.json.Decoder(JsonObject | list[msgspec.Raw])

_Fields = dict[str, msgspec.Raw]


class _Function(msgspec.Struct):
    """A call's tool and arguments; some clients send the arguments unquoted."""

    name: str
    arguments: str | _Fields | None = None


class _Call(msgspec.Struct):
    """A past call."""

    function: _Function
    id: str = ""


class _Turn(msgspec.Struct):
    """What is read of a message; the rest stays as it is."""

    role: str = ""
    content: msgspec.Raw = _NOTHING
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    tool_call_id: str = ""
    name: str | None = None


class _Part(msgspec.Struct):
    """A part of a message's content."""

    text: str | None = None
    refusal: str | None = None


_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])
_FIELDS = msgspec.json.Decoder(_Fields)
_TURN = msgspec.json.Decoder(_Turn)
_CONTENT = msgspec.json.Decoder(str | list[_Part] | None)
_RAW_CONTENT = msgspec.json.Decoder(str | list[msgspec.Raw] | None)


def rewrite_turns(messages: msgspec.Raw, instructions: str) -> msgspec.Raw | None:
    """The messages with calls and results as plain turns; None where nothing had to change.

    Args:
        messages: the request's own.
        instructions: added to the system turn, if there are any.

    Raises:
        GatewayError: ``invalid_request`` for a message that has no plain form.
    """
    history = _History()
    try:
        for raw in _MESSAGES.decode(messages):
            history.add(raw)
        history.add_results()
        if instructions:
            history.instruct(instructions)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        said = str(error)[:SHOWN_CHARACTERS]
        raise _refuse(f"messages[{history.read}] cannot be rewritten: {said}") from None
    return msgspec.Raw(_ENCODER.encode(history.turns)) if history.changed else None


def compact_json(text: str) -> msgspec.Raw | None:
    """The same JSON without blanks, if the text is an object or a list; else None."""
    try:
        _CONTAINER.decode(text)
        return msgspec.Raw(msgspec.json.format(text.encode(), indent=-1))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


class _History:
    """A conversation on its way into plain turns."""

    def __init__(self) -> None:
        self.turns: list[msgspec.Raw] = []
        self.read = 0
        self.changed = False
        self._called: dict[str, tuple[int, str]] = {}
        self._results: list[tuple[int, dict[str, Any]]] = []

    def add(self, raw: msgspec.Raw) -> None:
        """Add a message; results wait for those beside them."""
        turn = _TURN.decode(raw)
        if turn.role in _RESULT:
            self._add_result(turn)
        elif self._results and turn.role == "user":
            self.turns.append(_extend(raw, self._take_results(), first=True))
        else:
            self.add_results()
            calls = turn.tool_calls or []
            if turn.function_call is not None:
                calls = [*calls, _Call(turn.function_call)]
            if calls and turn.role == "assistant":
                raw = self._write_calls(raw, turn, calls)
            self.turns.append(raw)
        self.read += 1

    def add_results(self) -> None:
        """Add the results that wait, as one turn of the user."""
        if self._results:
            turn = {"role": "user", "content": self._take_results()}
            self.turns.append(msgspec.Raw(_ENCODER.encode(turn)))

    def instruct(self, instructions: str) -> None:
        """Put instructions into the system turn at the beginning."""
        self.read = 0
        self.changed = True
        if self.turns and _TURN.decode(self.turns[0]).role in _SYSTEM:
            self.turns[0] = _extend(self.turns[0], instructions, first=False)
        else:
            turn = {"role": "system", "content": instructions}
            self.turns.insert(0, msgspec.Raw(_ENCODER.encode(turn)))

    def _write_calls(self, raw: msgspec.Raw, turn: _Turn, calls: list[_Call]) -> msgspec.Raw:
        self.changed = True
        answer: dict[str, Any] = {}
        if text := _read_text(turn.content):
            answer[MESSAGE] = text
        answer[CALLS] = []
        for call in calls:
            self._called[call.id] = (len(self._called), call.function.name)
            arguments: Any = call.function.arguments or {}
            if isinstance(arguments, str):
                arguments = compact_json(arguments) or arguments
            answer[CALLS].append({"name": call.function.name, "arguments": arguments})
        fields: dict[str, Any] = {
            **_FIELDS.decode(raw),
            "content": _ENCODER.encode(answer).decode(),
        }
        fields.pop("tool_calls", None)
        fields.pop("function_call", None)
        return msgspec.Raw(_ENCODER.encode(fields))

    def _add_result(self, turn: _Turn) -> None:
        self.changed = True
        order, name = self._called.get(turn.tool_call_id, (len(self._called), turn.name))
        text = _read_text(turn.content)
        result: dict[str, Any] = {} if name is None else {"name": name}
        result["content"] = compact_json(text) or text
        self._results.append((order, result))

    def _take_results(self) -> str:
        """The results that wait, in the order of their calls: nothing else tells them apart."""
        self._results.sort(key=lambda waiting: waiting[0])
        results = [result for _, result in self._results]
        self._results = []
        return _ENCODER.encode({RESULTS: results}).decode()


def _read_text(content: msgspec.Raw) -> str:
    value = _CONTENT.decode(content)
    if value is None or isinstance(value, str):
        return value or ""
    texts = [part.text if part.text is not None else part.refusal for part in value]
    if None in texts:
        raise msgspec.ValidationError("only text can stand beside tool calls and in their results")
    return "".join(text for text in texts if text)


def _extend(raw: msgspec.Raw, text: str, *, first: bool) -> msgspec.Raw:
    """A message with more text, before or behind its own content."""
    fields: dict[str, Any] = {**_FIELDS.decode(raw)}
    content = _RAW_CONTENT.decode(fields.get("content", _NOTHING))
    if isinstance(content, list):
        part: Any = {"type": "text", "text": text}
        fields["content"] = [part, *content] if first else [*content, part]
    elif content:
        fields["content"] = f"{text}{_GAP}{content}" if first else f"{content}{_GAP}{text}"
    else:
        fields["content"] = text
    return msgspec.Raw(_ENCODER.encode(fields))


def _refuse(message: str) -> GatewayError:
    return GatewayError("invalid_request", message, param="messages")
