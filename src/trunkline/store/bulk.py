"""Writing many rows of one table in one statement, at little cost a row.

A shipper writes hundreds of rows at a time in a process that has better things to do, so these
statements are written once and go past SQLAlchemy's compiler. SQLite takes many rows a statement:
each statement lets go of the interpreter's lock, and a busy event loop that takes it there gives
it back late and with cold caches. PostgreSQL takes all of them as one JSON text and unpacks it
itself, which costs this process a fifth of what rows of parameters do.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import Connection, Table

Row = TypeVar("Row", bound=msgspec.Struct)

POSTGRES: Final = "postgresql"
ROWS: Final = 64
"""How many rows one statement for SQLite takes."""


class Bulk(Generic[Row]):
    """One statement for many rows; see ``make_addition`` and ``make_change``.

    Args:
        sqlite: with a parameter for each field of a row.
        postgres: with one parameter, the rows as a JSON array of objects.
        sqlite_many: as ``sqlite``, for ``ROWS`` rows at once; "" where there is no such thing.
    """

    def __init__(self, sqlite: str, postgres: str, sqlite_many: str = "") -> None:
        self._sqlite = sqlite
        self._postgres = postgres
        self._sqlite_many = sqlite_many

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run it for these rows, if there are any."""
        if not rows:
            return
        if connection.dialect.name == POSTGRES:
            text = msgspec.json.encode(rows).decode()
            connection.exec_driver_sql(self._postgres, (text,))
            return
        values = list(map(msgspec.structs.astuple, rows))
        done = len(rows) - len(rows) % ROWS if self._sqlite_many else 0
        if done:
            starts = range(0, done, ROWS)
            many = [tuple(chain.from_iterable(values[at : at + ROWS])) for at in starts]
            connection.exec_driver_sql(self._sqlite_many, many)
        if done < len(rows):
            connection.exec_driver_sql(self._sqlite, values[done:])


def make_addition(table: Table, kind: type[Row], *, add_up: Sequence[str] = ()) -> Bulk[Row]:
    """A statement that inserts rows; where one with its key exists, some columns are added up.

    Rows that may be there are taken, and locked, in the order of their keys, so that of two writes
    one waits for the other, and never each for the other.

    Args:
        table: the table.
        kind: its fields are columns of the table; others stay empty.
        add_up: the columns to which a row adds that is there already. Without any, such a row is
            an error.
    """
    names = list_columns(kind)
    columns = ", ".join(names)
    into = f"INSERT INTO {table.name} ({columns})"
    marks = ", ".join("?" * len(names))
    order, conflict = "", ""
    if add_up:
        keys = ", ".join(column.name for column in table.primary_key)
        sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in add_up)
        conflict = f" ON CONFLICT ({keys}) DO UPDATE SET {sums}"
        order = f" ORDER BY {keys}"
    many = ", ".join([f"({marks})"] * ROWS)
    return Bulk(
        f"{into} VALUES ({marks}){conflict}",
        f"{into} SELECT {columns} FROM {_unpack(table)}{order}{conflict}",  # noqa: S608 - our own names
        f"{into} VALUES {many}{conflict}",
    )


def make_change(
    table: Table, kind: type[Row], *, put: Sequence[str] = (), add: Sequence[str] = ()
) -> Bulk[Row]:
    """A statement that changes rows, found by their key; those that are missing stay so.

    Args:
        table: the table.
        kind: its fields are the table's key and the columns to change.
        put: the columns that get the row's value.
        add: the columns to which the row's value is added.
    """
    places = {name: f"?{number}" for number, name in enumerate(list_columns(kind), 1)}
    keys = [column.name for column in table.primary_key]

    def write(value: dict[str, str]) -> tuple[str, str]:
        changes = [f"{name} = {value[name]}" for name in put]
        changes += [f"{name} = {table.name}.{name} + {value[name]}" for name in add]
        found = [f"{table.name}.{name} = {value[name]}" for name in keys]
        head = f"UPDATE {table.name} SET {', '.join(changes)}"  # noqa: S608 - our own names
        return head, " AND ".join(found)

    head, condition = write(places)
    far_head, far_condition = write({name: f"given.{name}" for name in places})
    return Bulk(
        f"{head} WHERE {condition}",
        f"{far_head} FROM {_unpack(table)} AS given WHERE {far_condition}",
    )


def list_columns(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The columns that a row has: the names of its fields."""
    return kind.__struct_fields__


def find_present(connection: Connection, table: Table, ids: Sequence[str]) -> set[str]:
    """Those of the ids that are in a table's column ``id``; any number of them."""
    given: Any
    if connection.dialect.name == POSTGRES:
        condition, given = "id = ANY(%s)", list(ids)
    else:
        condition = "id IN (SELECT value FROM json_each(?))"
        given = msgspec.json.encode(ids).decode()
    query = f"SELECT id FROM {table.name} WHERE {condition}"  # noqa: S608 - our own names
    return {row[0] for row in connection.exec_driver_sql(query, (given,))}


def _unpack(table: Table) -> str:
    return f"json_populate_recordset(NULL::{table.name}, %s::json)"
