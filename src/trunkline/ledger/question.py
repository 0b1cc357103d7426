"""A question about usage: which calls, split by what, over which days; read from words. Pure."""

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal, get_args

import msgspec

from trunkline.errors import FieldFault, GatewayError
from trunkline.ledger.entry import Status
from trunkline.store.account import is_account_id
from trunkline.store.usage import Choice, Part

Form = Literal["json", "csv"]

DEFAULT_BY: Final[tuple[Part, ...]] = ("model",)
DAY_WORDS: Final = "2026-01-31, 2026-01, today, yesterday, or 7d or 2w for that long ago"
"""How a day can be named, for messages to people."""

_PARTS: Final[dict[str, Part]] = {part: part for part in get_args(Part)}
_FORMS: Final[dict[str, Form]] = {form: form for form in get_args(Form)}
_STATUSES: Final[tuple[str, ...]] = get_args(Status)
_NAMES: Final = ("account", "key", "model", "target", "status", "since", "until", "by", "format")
_START: Final = date(1970, 1, 1)
_DAY: Final = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d))?", re.ASCII)
_AGO: Final = re.compile(r"(\d{1,4})([dw])", re.ASCII)
_SHOWN: Final = 60


class Question(msgspec.Struct, frozen=True):
    """What a report shall tell: of which calls, split by what, written how."""

    choice: Choice
    by: tuple[Part, ...] = DEFAULT_BY
    form: Form = "json"


def read_question(query: Mapping[str, str], now_us: int) -> Question:
    """The question that the parameters ask.

    ``account``, ``key``, ``model``, ``target`` and ``status`` choose calls; ``since`` and
    ``until`` are days (UTC), both included: without them from the first of the month of
    ``until``, and until today. ``by`` names what the sums are split by, with commas between, and
    ``format`` is ``json`` or ``csv``.

    Args:
        query: the parameters.
        now_us: microseconds since 1970.

    Raises:
        GatewayError: ``validation_error`` with every parameter that is wrong or unknown.
    """
    faults = _Faults()
    for name in query.keys() - set(_NAMES):
        shown = name[:_SHOWN]
        faults.add(shown, f"There is no such parameter; there are {', '.join(_NAMES)}")
    today = count_days(datetime.fromtimestamp(now_us // 1_000_000, UTC).date())
    since_day, until_day = _read_days(query, today, faults)
    choice = Choice(
        since_day=since_day,
        until_day=until_day,
        account_id=_read_text(query, "account", is_account_id, faults),
        key_id=_read_text(query, "key", _is_text, faults),
        model=_read_text(query, "model", _is_text, faults),
        target=_read_text(query, "target", _is_text, faults),
        status=_read_status(query, faults),
    )
    by, form = _read_by(query, faults), _FORMS.get(query.get("format", "json"))
    if form is None:
        faults.add("format", "It is json or csv")
    faults.refuse()
    return Question(choice, by, form or "json")


def read_day(text: str, today: int, *, last: bool = False) -> int | None:
    """The day that the text names, counted from 1970; None if it names none.

    Args:
        text: see ``DAY_WORDS``.
        today: what relative names go by.
        last: whether a month stands for its last day instead of its first.
    """
    if text in ("today", "yesterday"):
        return today - (text == "yesterday")
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return today - int(ago[1]) * (7 if ago[2] == "w" else 1)
    named = _DAY.fullmatch(text)
    if named is None:
        return None
    year, month, day = named.groups()
    try:
        if day is not None:
            return count_days(date(int(year), int(month), int(day)))
        first = date(int(year), int(month), 1)
    except ValueError:
        return None
    return count_days(first.replace(day=monthrange(first.year, first.month)[1]) if last else first)


def count_days(day: date) -> int:
    """Days since 1970."""
    return (day - _START).days


def find_day(days: int) -> date:
    """The day that is so many days after the first of 1970."""
    return _START + timedelta(days=days)


class _Faults:
    """The faults of a query, which are all told at once."""

    def __init__(self) -> None:
        self._found: list[FieldFault] = []

    def add(self, name: str, message: str) -> None:
        self._found.append(FieldFault(("query", name), message, "value_error"))

    def refuse(self) -> None:
        if not self._found:
            return
        first, *more = self._found
        name = str(first.loc[-1])
        message = f"query.{name}: {first.msg}{f' (and {len(more)} more)' if more else ''}"
        raise GatewayError("validation_error", message, param=name, faults=tuple(self._found))


def _read_days(query: Mapping[str, str], today: int, faults: _Faults) -> tuple[int, int]:
    until_day = since_day = None
    if "until" in query:
        until_day = read_day(query["until"], today, last=True)
        if until_day is None:
            faults.add("until", f"It is no day; a day is {DAY_WORDS}")
    if until_day is None:
        until_day = today
    if "since" in query:
        since_day = read_day(query["since"], today)
        if since_day is None:
            faults.add("since", f"It is no day; a day is {DAY_WORDS}")
        elif since_day > until_day:
            faults.add("since", f"It is after the last day, {find_day(until_day)}")
    if since_day is None:
        since_day = count_days(find_day(until_day).replace(day=1))
    return since_day, until_day


def _read_text(
    query: Mapping[str, str], name: str, is_right: Callable[[str], bool], faults: _Faults
) -> str | None:
    text = query.get(name)
    if text is not None and not is_right(text):
        faults.add(name, "It is a text that can be printed, without blanks at the ends")
        return None
    return text


def _is_text(text: str) -> bool:
    # What no database can hold would fail the query.
    return bool(text) and "\0" not in text and text.encode("utf-8", "ignore").decode() == text


def _read_status(query: Mapping[str, str], faults: _Faults) -> str | None:
    status = query.get("status")
    if status is not None and status not in _STATUSES:
        faults.add("status", f"It is one of {', '.join(_STATUSES)}")
    return status


def _read_by(query: Mapping[str, str], faults: _Faults) -> tuple[Part, ...]:
    if "by" not in query:
        return DEFAULT_BY
    words = dict.fromkeys(word.strip() for word in query["by"].split(","))
    if not words.keys() <= _PARTS.keys():
        faults.add("by", f"It names some of {', '.join(_PARTS)}, with commas between")
    return tuple(_PARTS[word] for word in words if word in _PARTS)
