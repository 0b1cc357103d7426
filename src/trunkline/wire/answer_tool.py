"""A tool whose arguments are the answer: JSON from upstreams that cannot be asked for it.

The upstream is made to call the tool; its arguments are then given out as the answer's text.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from trunkline.chat import OutputFormat, Text, Tool
from trunkline.events import Event, Finish, TextDelta, ToolDelta, ToolStart
from trunkline.wire.translate import EventReader

EMULATED: Final = "emulated:response_format"
"""The word that tells a client of it."""
_NAME: Final = "final_answer"
_DOING: Final = "Hands the answer to the user. Call it exactly once, with the complete answer."
_WORDS: Final = (
    "Your answer must be a single JSON object, without a code fence and without any text around it."
)


def make_answer_tool(output: OutputFormat, offered: Iterable[Tool]) -> Tool:
    """The tool for a form of answer, under a name that no offered tool has."""
    names = {tool.name for tool in offered}
    name = _NAME
    while name in names:
        name += "_"
    return Tool(name, output.description or _DOING, output.schema or {"type": "object"})


def describe_output(output: OutputFormat) -> Text:
    """Words for the system prompt, where a model cannot even be made to call a tool."""
    if output.schema is None:
        return Text(_WORDS)
    schema = msgspec.json.encode(output.schema).decode()
    return Text(f"{_WORDS} It must be valid against this JSON schema: {schema}")


class AnswerFilter:
    """Turns the calls of the answer tool into text, in a reply of one alternative.

    Words beside the tool's call would spoil the JSON: they are held back, and given out only
    where the tool was not called after all.

    Args:
        name: of the tool.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._slots: dict[int, int] = {}
        self._ignored: set[int] = set()
        self._answer: int | None = None
        self._held: list[TextDelta] = []

    def take(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events as the client shall see them."""
        for event in events:
            if isinstance(event, ToolStart):
                yield from self._start(event)
            elif isinstance(event, ToolDelta):
                yield from self._add(event)
            elif isinstance(event, TextDelta):
                self._held.append(event)
            elif isinstance(event, Finish):
                yield from self._end(event)
            else:
                yield event

    def _start(self, start: ToolStart) -> Iterator[Event]:
        if start.name != self._name:
            slot = self._slots[start.slot] = len(self._slots)
            yield msgspec.structs.replace(start, slot=slot)
        elif self._answer is None:
            self._answer = start.slot
        else:
            self._ignored.add(start.slot)

    def _add(self, delta: ToolDelta) -> Iterator[Event]:
        if delta.slot == self._answer:
            yield TextDelta(delta.arguments)
        elif delta.slot not in self._ignored:
            yield ToolDelta(self._slots[delta.slot], delta.arguments)

    def _end(self, finish: Finish) -> Iterator[Event]:
        if self._answer is None:
            yield from self._held
        if finish.reason == "tool_calls" and not self._slots:
            yield Finish("stop", finish.native)
        else:
            yield finish


class AnswerReader:
    """A reader whose answer tool's calls become text; see ``EventReader``."""

    def __init__(self, reader: EventReader, name: str) -> None:
        self._reader = reader
        self._filter = AnswerFilter(name)

    def feed(self, data: bytes) -> Iterator[Event]:
        """See ``EventReader``."""
        return self._filter.take(self._reader.feed(data))

    def finish(self) -> Iterator[Event]:
        """See ``EventReader``."""
        return self._filter.take(self._reader.finish())
