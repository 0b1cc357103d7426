"""Pages of a list: the rows of a table that come after a given one, and how many of them."""

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, Table, select, tuple_


class CursorUnknownError(ValueError):
    """There is no row that the page could begin after."""

    def __init__(self) -> None:
        super().__init__("there is no entry that this page could begin after; begin without one")


class Page(msgspec.Struct, frozen=True):
    """Which part of a list: what comes after the row with this id, and how many rows at most.

    Raises:
        ValueError: the limit is less than 1.
    """

    after: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError("a page has 1 entry or more")

    def cut(
        self, connection: Connection, query: Select[Any], table: Table, time: str, *, newest: bool
    ) -> Select[Any]:
        """The query, ordered by a time and then the id, and cut to this page.

        Args:
            connection: where the row is looked up.
            query: of rows of the table.
            table: has an ``id``.
            time: the column that orders it.
            newest: whether the newest come first, instead of the oldest.

        Raises:
            CursorUnknownError: there is no row with this id.
        """
        order = (table.c[time], table.c.id)
        query = query.order_by(*(column.desc() if newest else column for column in order))
        query = query.limit(self.limit)
        if self.after is None:
            return query
        # What cannot be printed is no id, and would fail the query.
        asked = select(*order).where(table.c.id == self.after)
        row = connection.execute(asked).one_or_none() if self.after.isprintable() else None
        if row is None:
            raise CursorUnknownError
        here, place = tuple_(*order), tuple(row)
        return query.where(here < place if newest else here > place)


EVERYTHING: Final = Page()
