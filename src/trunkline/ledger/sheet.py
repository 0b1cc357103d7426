"""A report as a sheet of rows and their sums, written as JSON, as CSV or as a table. Pure."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Final

import msgspec

from trunkline.ledger.question import Question, find_day
from trunkline.store.usage import Part, Share, Sums

Cell = str | int | None

_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Sums))
_RARE: Final = (
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
)
"""The columns that a table leaves out when there is nothing in them."""
_SHOWN: Final = ("calls", "failed_calls", "input_tokens", "output_tokens", *_RARE)
_ACTIVE: Final = (*"=+-@\t\r\n\0", *"\uff1d\uff0b\uff0d\uff20", "'")
"""What a cell must not begin with: what spreadsheets take for a formula, also in its wide form as
East Asian keyboards write it, and our own mark."""


class Sheet(msgspec.Struct, frozen=True):
    """The answer to a question: its rows, ordered by their parts, and the sums of all of them.

    ``key_names`` are the names of keys by their ids, where keys are among the parts.
    """

    question: Question
    rows: Sequence[Share]
    total: Sums
    key_names: Mapping[str, str]


def write_json(sheet: Sheet) -> bytes:
    """One object: ``since``, ``until``, ``by``, ``rows``, and ``total`` with the sums of them.

    ``cost_micros`` are exact micro-dollars, ``cost_usd`` the same as a decimal text.
    """
    choice, by = sheet.question.choice, sheet.question.by
    head = {"since": _show_day(choice.since_day), "until": _show_day(choice.until_day), "by": by}
    rows = b",".join(
        msgspec.json.encode({**_name_parts(by, share, sheet.key_names), **_list_sums(share.sums)})
        for share in sheet.rows
    )
    return b'%s,"rows":[%s],"total":%s}' % (
        msgspec.json.encode(head)[:-1],
        rows,
        msgspec.json.encode(_list_sums(sheet.total)),
    )


def write_csv(sheet: Sheet) -> str:
    """A header row and the rows, without their sums, which a spreadsheet would add in again.

    As RFC 4180 has it, in UTF-8, with the fields of the JSON. See ``calm_cell`` for texts.
    """
    by = sheet.question.by
    head = [*_list_names(by), *_FIELDS, "cost_usd"]
    return write_cells(
        head,
        (
            [
                *_name_parts(by, share, sheet.key_names).values(),
                *msgspec.structs.astuple(share.sums),
                write_usd(share.sums.cost_micros),
            ]
            for share in sheet.rows
        ),
    )


def write_cells(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """CSV of any cells: texts calmed, None empty."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([calm_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def calm_cell(text: str) -> str:
    """The text with ``'`` before it if a spreadsheet could take it for a formula.

    A text that begins with ``'`` gets another, so that taking one away always gives the text.
    What begins a formula is told at https://owasp.org/www-community/attacks/CSV_Injection (read
    2026-11-23).
    """
    return f"'{text}" if text.startswith(_ACTIVE) else text


def write_table(sheet: Sheet) -> str:
    """Aligned columns for people, the sums in the last line, and below what they do not hold."""
    by, total = sheet.question.by, sheet.total
    span = _tell_span(sheet)
    if not sheet.rows:
        return f"No calls {span}."
    shown = [name for name in _SHOWN if name not in _RARE or getattr(total, name)]
    places = count_places(share.sums.cost_micros for share in (*sheet.rows, Share((), total)))
    names = _list_names(by)

    def show(sums: Sums) -> list[str]:
        counts = [f"{getattr(sums, name):,}" for name in shown]
        return [*counts, format_usd(sums.cost_micros, places)]

    rows = [
        [*_name_parts(by, share, sheet.key_names).values(), *show(share.sums)]
        for share in sheet.rows
    ]
    rows.append(["Total", *[""] * (len(names) - 1), *show(total)])
    labels = [*names, *(name.removesuffix("_tokens").removesuffix("_calls") for name in shown)]
    head = [label.replace("_", " ").upper() for label in [*labels, "cost"]]
    lines = [f"Usage {span}.", *align_cells(head, rows, len(names)), *tell_gaps(total)]
    return "\n".join(lines)


def align_cells(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Iterator[str]:
    """Lines of a table: the first columns, ``texts`` of them, to the left, numbers to the right."""
    cells = [[show_text(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        yield "  ".join(
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def tell_gaps(total: Sums) -> list[str]:
    """A line each about calls that the sums cannot hold."""
    lines = []
    if total.unpriced_calls == 1:
        lines.append("1 call has no price; its cost is not in the sums.")
    elif total.unpriced_calls:
        lines.append(
            f"{total.unpriced_calls:,} calls have no price; their cost is not in the sums."
        )
    if total.unknown_calls:
        of = "1 call" if total.unknown_calls == 1 else f"{total.unknown_calls:,} calls"
        lines.append(f"Of {of} nobody knows what was used; it is not in the sums.")
    return lines


def format_usd(micros: int, places: int = 6) -> str:
    """Micro-dollars as dollars for people, ``$1,234.50``, with so many decimals, 6 at most."""
    sign, whole, part = _split(micros)
    return f"{sign}${whole:,}.{part[:places]}"


def write_usd(micros: int) -> str:
    """Micro-dollars as dollars for programs, exactly: ``1234.500000``."""
    sign, whole, part = _split(micros)
    return f"{sign}{whole}.{part}"


def count_places(amounts_micros: Iterable[int]) -> int:
    """How many decimals, at least 2, show all these amounts exactly."""
    return max(2, *(len(_split(micros)[2].rstrip("0")) for micros in amounts_micros), 2)


def show_text(text: str) -> str:
    """A text that clients or operators chose, such that it cannot steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _split(micros: int) -> tuple[str, int, str]:
    whole, part = divmod(abs(micros), 1_000_000)
    return "-" if micros < 0 else "", whole, f"{part:06d}"


def _list_names(by: Sequence[Part]) -> list[str]:
    return [name for part in by for name in ((part, "key_name") if part == "key" else (part,))]


def _name_parts(by: Sequence[Part], share: Share, key_names: Mapping[str, str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for part, value in zip(by, share.parts, strict=True):
        if isinstance(value, str):
            named[part] = value
        elif part == "hour":
            named[part] = f"{find_day(value // 24)}T{value % 24:02d}:00Z"
        else:
            named[part] = str(find_day(value))
        if part == "key":
            named["key_name"] = key_names.get(named[part], "")
    return named


def _list_sums(sums: Sums) -> dict[str, int | str]:
    return {**msgspec.structs.asdict(sums), "cost_usd": write_usd(sums.cost_micros)}


def _show_day(day: int | None) -> str | None:
    return None if day is None else str(find_day(day))


def _tell_span(sheet: Sheet) -> str:
    choice = sheet.question.choice
    since, until = _show_day(choice.since_day), _show_day(choice.until_day)
    if since == until and since is not None:
        return f"on {since} (UTC)"
    words = [word for word in (since and f"from {since}", until and f"to {until}") if word]
    return " ".join([*words, "(UTC)"])
