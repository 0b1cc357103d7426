"""A database: read and write transactions on it, whichever kind it is."""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

Result = TypeVar("Result")

ATTEMPTS: Final = 20
"""How often a write is tried that loses against others."""

_FIRST_PAUSE_S: Final = 0.01
_LAST_PAUSE_S: Final = 0.2


class StoreError(Exception):
    """The database cannot be opened or used; the message says why and what to do."""


class Database(ABC):
    """Transactions on one engine: reads see one moment, writes are all or nothing.

    Args:
        name: the database as people and logs may see it.
        engine: closed together with the database.
        reading: the engine's execution options in reads.
        writing: likewise in writes.
    """

    lost_races: ClassVar[frozenset[str]] = frozenset()
    """The SQLSTATEs of a write that was undone only because another one was faster."""

    def __init__(
        self, name: str, engine: Engine, reading: Mapping[str, Any], writing: Mapping[str, Any]
    ) -> None:
        self.name = name
        self.engine = engine
        self._reader = engine.execution_options(**reading)
        self._writer = engine.execution_options(**writing)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for queries that all see the same moment."""
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection whose changes are committed at the end, or not at all on an exception.

        What it reads and changes is as if no other write ran at the same time. A database that
        cannot keep this up for two of them fails one; ``apply`` then repeats it.
        """
        with self._writer.begin() as connection:
            yield connection

    def apply(self, action: Callable[[Connection], Result]) -> Result:
        """Do the action in a write and return its result; again when it lost against another.

        Args:
            action: may run several times, of which one counts; it changes nothing but the
                database.
        """
        for attempt in range(ATTEMPTS - 1):
            try:
                with self.write() as connection:
                    return action(connection)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in self.lost_races:
                    raise
            # No two losers wait equally long, or they would meet again.
            pause_s = min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)
            time.sleep(random.uniform(0, pause_s))  # noqa: S311 - guards nothing
        with self.write() as connection:
            return action(connection)

    @abstractmethod
    def rebuild(self) -> AbstractContextManager[Connection]:
        """A write that may change tables; one at a time among all processes, however long."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is something to read; False when a rebuild must create it first."""

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def explain_error(error: Exception) -> str:
    """The cause in one line: the system's or the driver's own words, without the statement."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return " ".join(str(getattr(error, "orig", None) or error).split())
