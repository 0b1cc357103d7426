"""Writing series of entries to SQLite: what they share is bound once for several rows.

To bind a row's values takes longer than to store them. A text costs most, but for a None, for
which the driver looks for an adapter each time.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection

from trunkline.store.bulk import ROWS
from trunkline.store.load import OWN_NAMES, SHARED_NAMES, Series
from trunkline.store.schema import ENTRIES

Values = tuple[Any, ...]

FEW: Final = 8
"""How many rows a statement takes where a series has not ``ROWS`` more."""

_RARE: Final = tuple(
    OWN_NAMES.index(f"{name}_tokens")
    for name in ("cached", "cache_write", "reasoning", "audio_input", "audio_output")
)
_OPTIONAL: Final = tuple(OWN_NAMES.index(name) for name in ("cost_micros", "first_token_us"))


def add_series(connection: Connection, several: Sequence[Series]) -> None:
    """Insert the entries of series.

    Raises:
        IntegrityError: one is there already, or comes twice.
    """
    bound: dict[str, list[Values]] = {}
    rest: list[Any] = []
    width = len(OWN_NAMES)
    for series in several:
        count, own = len(series.charges), series.own
        done = count - count % FEW
        if done:
            _bind(bound, series, done)
        for at in range(done * width, len(own), width):
            rest += series.shared
            rest += own[at : at + width]
    width += len(SHARED_NAMES)
    whole = len(rest) - len(rest) % (width * ROWS)
    for rows, values in (ROWS, rest[:whole]), (1, rest[whole:]):
        size = width * rows
        cut = [tuple(values[at : at + size]) for at in range(0, len(values), size)]
        if cut:
            bound[_write_addition(("",) * len(OWN_NAMES), rows, alike=False)] = cut
    for statement, parameters in bound.items():
        connection.exec_driver_sql(statement, parameters)


def _bind(bound: dict[str, list[Values]], series: Series, end: int) -> None:
    """Add statements and their values for so many of the entries, a multiple of ``FEW``."""
    columns = [series.column(place) for place in range(len(OWN_NAMES))]
    fixed = [""] * len(columns)
    for place in _OPTIONAL:
        if columns[place].count(None) == len(columns[place]):
            fixed[place] = "NULL"
    if not any(any(columns[place]) for place in _RARE):
        for place in _RARE:
            fixed[place] = "0"
    own = [column for column, text in zip(columns, fixed, strict=True) if not text]
    values = tuple(chain.from_iterable(zip(*own, strict=True)))
    width, done = len(own), 0
    while done < end:
        rows = ROWS if end - done >= ROWS else FEW
        part = values[done * width : (done + rows) * width]
        statement = _write_addition(tuple(fixed), rows)
        bound.setdefault(statement, []).append(series.shared + part)
        done += rows


@cache
def _write_addition(fixed: Values, rows: int, *, alike: bool = True) -> str:
    """A statement that inserts rows, what a series shares first.

    Args:
        fixed: for each of ``OWN_NAMES`` the SQL of the value that all of them have, or "".
        rows: how many.
        alike: they are of one series, and have one parameter for each value that they share.
    """
    names = ", ".join(SHARED_NAMES + OWN_NAMES)
    shared = [f"?{number}" if alike else "?" for number in range(1, len(SHARED_NAMES) + 1)]
    row = ", ".join([*shared, *(text or "?" for text in fixed)])
    every = ", ".join([f"({row})"] * rows)
    return f"INSERT INTO {ENTRIES.name} ({names}) VALUES {every}"  # noqa: S608 - our own names
