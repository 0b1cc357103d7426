"""What a request asked for, what the upstream shall do about it, and ready plans for that."""

import random
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Literal

import msgspec

from trunkline.mock.fault import Fault

Dialect = Literal["openai", "anthropic", "gemini", "bedrock", "cohere", "llm-engine"]
Operation = Literal["chat", "text", "embeddings", "models"]
Finish = Literal["stop", "length", "content_filter", "tool_calls"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as far as a plan can look at it.

    Args:
        number: of this request at this server, from 1.
        dialect: which format it speaks.
        operation: what it wants.
        path: the request's target, without the query.
        model: the name in the body or in the path.
        stream: it asks for a stream.
        prompt: text of the last message, or of the prompt.
        said: the beginning of the answer that the request brings along, "" for none.
        prompt_tokens: words of all messages.
        max_tokens: None where it names none.
        n: alternatives.
        tool: the name of the tool that must be called, "" for none.
        tools: JSON schemas of the tools on offer, by name.
        include_usage: a stream shall end with usage (OpenAI's ``stream_options``).
        inputs: texts to embed.
        headers: names in lower case.
        body: the decoded JSON.
    """

    number: int
    dialect: Dialect
    operation: Operation
    path: str
    model: str
    stream: bool = False
    prompt: str = ""
    said: str = ""
    prompt_tokens: int = 0
    max_tokens: int | None = None
    n: int = 1
    tool: str = ""
    tools: dict[str, dict[str, Any]] = {}
    include_usage: bool = False
    inputs: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    body: dict[str, Any] = {}


class ToolCall(msgspec.Struct, frozen=True):
    """A call of a tool; ``arguments`` is a JSON text."""

    name: str
    arguments: str = '{"city":"Paris"}'
    id: str = "call_mock1"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about one request; what is None or absent follows from the request.

    Args:
        text: what is said; None for an echo or seeded words.
        chunks: content frames of a stream; None for one a word.
        tool: a call to make instead of saying something.
        usage: tokens in and out; None for the honest ones.
        finish: the finish reason; None for the honest one.
        delay_s: before the head of the answer.
        pace_s: before every content frame; None for the server's pace.
        fault: what to do wrong.
    """

    text: str | None = None
    chunks: int | None = None
    tool: ToolCall | None = None
    usage: tuple[int, int] | None = None
    finish: Finish | None = None
    delay_s: float = 0
    pace_s: float | None = None
    fault: Fault | None = None


class Served(msgspec.Struct, kw_only=True):
    """One request as it was served; times are of the monotonic clock, in seconds.

    Args:
        fault: the kind of fault that was played, "" for none.
        status: of the answer's head; 0 while there is none.
        input_tokens, output_tokens: as reported; None where nothing was reported.
        text: content that was given to the connection, all frames of all alternatives.
        finish: the finish reason that was sent, "" for none.
        completed: the answer was sent to its proper end.
        cut: the server ended the connection.
        client_left_at: when the client closed in the middle; None where it did not.
        has_ended: nothing more will happen.
    """

    number: int
    dialect: str = ""
    operation: str = ""
    path: str = ""
    model: str = ""
    stream: bool = False
    fault: str = ""
    at: str = ""
    status: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    text: str = ""
    finish: str = ""
    completed: bool = False
    cut: bool = False
    has_ended: bool = False
    began_at: float = 0
    ended_at: float | None = None
    client_left_at: float | None = None


class Plan:
    """Decides what is done about each request.

    Any callable from ``Asked`` to ``Behaviour`` is a plan as well; this class also decides about
    connections, before a request is read.
    """

    def __init__(
        self,
        decide: Callable[[Asked], Behaviour],
        accept: Callable[[int], Fault | None] | None = None,
    ) -> None:
        self._decide = decide
        self._accept = accept

    def __call__(self, asked: Asked) -> Behaviour:
        """What to do about a request."""
        return self._decide(asked)

    def on_accept(self, number: int) -> Fault | None:
        """What to do to connection ``number``, from 1, before anything is read from it."""
        return self._accept(number) if self._accept is not None else None


Planned = Callable[[Asked], Behaviour]
HONEST = Behaviour()


def honest() -> Plan:
    """Everything is answered rightly."""
    return Plan(lambda _asked: HONEST)


def always(fault: Fault | None) -> Plan:
    """The same fault for every request."""
    return _faulty(fault, lambda _number: True)


def first(n: int, fault: Fault) -> Plan:
    """A fault for the first ``n`` requests of this plan; connections where it is at ``connect``."""
    return _faulty(fault, lambda number: number <= n)


def share(p: float, fault: Fault, seed: int = 0) -> Plan:
    """A fault for a share of requests; which ones follows from the seed and their order."""
    return _faulty(fault, lambda number: random.Random(f"{seed}/{number}").random() < p)  # noqa: S311


def by_model(
    plans: Mapping[str, Planned | Fault | Behaviour], otherwise: Planned | None = None
) -> Plan:
    """A plan, behaviour or fault for each model; models that are not named are served rightly."""
    made = {name: _make_plan(each) for name, each in plans.items()}
    rest = otherwise or honest()
    return Plan(lambda asked: made.get(asked.model, rest)(asked))


def _make_plan(given: Planned | Fault | Behaviour) -> Planned:
    if isinstance(given, Fault):
        return always(given)
    if isinstance(given, Behaviour):
        return lambda _asked: given
    return given


def _faulty(fault: Fault | None, is_hit: Callable[[int], bool]) -> Plan:
    """A fault for those requests, or connections, of all that the plan was asked about."""
    numbers = count(1)
    if fault is not None and fault.place == "connect":
        return Plan(lambda _asked: HONEST, lambda _number: fault if is_hit(next(numbers)) else None)
    behaviour = Behaviour(fault=fault)
    return Plan(lambda _asked: behaviour if is_hit(next(numbers)) else HONEST)
