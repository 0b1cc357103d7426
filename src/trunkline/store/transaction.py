"""A write under way, in which several rooms of the store take part: all of it counts, or none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection

Result = TypeVar("Result")


class Transaction:
    """Stands where a database does, for rooms whose changes shall be part of one write.

    Made inside ``Database.apply``, which may do the whole action again.

    Args:
        connection: that of the write.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """The write's connection: queries see what it changed so far."""
        yield self._connection

    def apply(self, action: Callable[[Connection], Result]) -> Result:
        """Do the action as a part of the write."""
        return action(self._connection)
