"""A script: rules in a file that say which request gets which behaviour or fault."""

import random
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.mock.behaviour import (
    HONEST,
    Asked,
    Behaviour,
    Dialect,
    Finish,
    Operation,
    Plan,
    ToolCall,
)
from trunkline.mock.fault import Fault, read_fault
from trunkline.toml import FileError, FileFault, read_toml, write_faults

_MATCHES: Final = ("model", "dialect", "operation", "path", "stream")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests, and what is done about them; the first rule that fits a request counts.

    Args:
        model: a name, with ``*`` for anything.
        dialect: one dialect only.
        operation: one operation only.
        path: the request's path, with ``*`` for anything.
        stream: streamed requests only, or only those that are not.
        first: only so many requests that fit.
        every: only every Nth request that fits, the Nth being the first.
        nth: only these of the requests that fit, counted from 1.
        share: only this share of the requests that fit, chosen by the seed.
        fault: ``NAME[:key=value,…]``, as on the command line.
        text: what to say.
        chunks: content frames of a stream.
        tool: the name of a tool to call.
        arguments: of the call, as JSON text.
        usage: tokens in and out to tell of.
        finish: the finish reason to tell.
        delay_s: seconds before the answer.
        pace_s: seconds before every content frame.
    """

    model: str = "*"
    dialect: Dialect | None = None
    operation: Operation | None = None
    path: str = "*"
    stream: bool | None = None
    first: int | None = None
    every: int | None = None
    nth: list[int] = []
    share: float | None = None
    fault: str = ""
    text: str | None = None
    chunks: int | None = None
    tool: str | None = None
    arguments: str | None = None
    usage: list[int] = []
    finish: Finish | None = None
    delay_s: float = 0
    pace_s: float | None = None

    def fits(self, asked: Asked) -> bool:
        """Whether a request is one of those that the rule is about."""
        return (
            fnmatchcase(asked.model, self.model)
            and fnmatchcase(asked.path, self.path)
            and self.dialect in (None, asked.dialect)
            and self.operation in (None, asked.operation)
            and self.stream in (None, asked.stream)
        )

    def hits(self, count: int, key: str) -> bool:
        """Whether it is this one of those requests, counted from 1; the key is for the share."""
        if self.first is not None and count > self.first:
            return False
        if self.every is not None and count % self.every:
            return False
        if self.nth and count not in self.nth:
            return False
        if self.share is None:
            return True
        return random.Random(f"{key}/{count}").random() < self.share  # noqa: S311 - repeatable


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A script file.

    Args:
        seed: of words, shares and garbage; the command line's counts more.
        pace_s: seconds before every content frame, where no rule says otherwise.
        rules: in order.
    """

    seed: int | None = None
    pace_s: float | None = None
    rules: list[Rule] = []


def read_script(path: Path) -> Script:
    """The script in a file.

    Raises:
        FileError: it cannot be read, or something in it is wrong, with file and line.
    """
    script, text = read_toml(path, Script)
    faults = [
        FileFault(("rules", number, name), message)
        for number, rule in enumerate(script.rules)
        for name, message in _list_faults(rule)
    ]
    if faults:
        raise FileError(write_faults(path, text, faults))
    return script


def make_plan(script: Script, seed: int | None = None) -> Plan:
    """The plan that a script stands for.

    Raises:
        GatewayError: ``invalid_request`` for the first thing that is wrong in it.
    """
    for number, rule in enumerate(script.rules):
        for name, message in _list_faults(rule):
            raise GatewayError("invalid_request", f"rules[{number}].{name}: {message}")
    return _Rules(script, script.seed or 0 if seed is None else seed).make_plan()


def _list_faults(rule: Rule) -> list[tuple[str, str]]:
    """What is wrong with a rule: key and sentence."""
    faults = []
    if rule.fault:
        try:
            fault = read_fault(rule.fault)
        except GatewayError as error:
            faults.append(("fault", error.message))
        else:
            named = [name for name in _MATCHES if getattr(rule, name) != getattr(Rule(), name)]
            if fault.place == "connect" and named:
                faults.append((named[0], "nothing is known of a request when it is at connect"))
    if rule.usage and len(rule.usage) != 2:
        faults.append(("usage", "expected two numbers, tokens in and out"))
    if rule.share is not None and not 0 <= rule.share <= 1:
        faults.append(("share", "expected a number from 0 to 1"))
    for name in ("first", "every", "chunks"):
        number = getattr(rule, name)
        if number is not None and number < 1:
            faults.append((name, "expected 1 or more"))
    return faults


class _Rules:
    """The rules of a script while it is played: how many requests each has met."""

    def __init__(self, script: Script, seed: int) -> None:
        self._seed = seed
        self._rules = [(rule, _make_behaviour(rule)) for rule in script.rules]
        self._counts = [0] * len(self._rules)

    def make_plan(self) -> Plan:
        """The plan."""
        return Plan(self._decide, self._accept)

    def _decide(self, asked: Asked) -> Behaviour:
        for place, (rule, behaviour) in enumerate(self._rules):
            if not _is_at_connect(behaviour) and rule.fits(asked) and self._hits(place, rule):
                return behaviour
        return HONEST

    def _accept(self, _number: int) -> Fault | None:
        for place, (rule, behaviour) in enumerate(self._rules):
            if _is_at_connect(behaviour) and self._hits(place, rule):
                return behaviour.fault
        return None

    def _hits(self, place: int, rule: Rule) -> bool:
        self._counts[place] += 1
        return rule.hits(self._counts[place], f"{self._seed}/{place}")


def _is_at_connect(behaviour: Behaviour) -> bool:
    return behaviour.fault is not None and behaviour.fault.place == "connect"


def _make_behaviour(rule: Rule) -> Behaviour:
    tool = None
    if rule.tool is not None:
        tool = ToolCall(rule.tool, rule.arguments or "{}")
    return Behaviour(
        text=rule.text,
        chunks=rule.chunks,
        tool=tool,
        usage=(rule.usage[0], rule.usage[1]) if rule.usage else None,
        finish=rule.finish,
        delay_s=rule.delay_s,
        pace_s=rule.pace_s,
        fault=read_fault(rule.fault) if rule.fault else None,
    )
