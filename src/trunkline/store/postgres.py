"""The store on a PostgreSQL server: its connections, which never wait for ever, and its errors.

Needs psycopg (the extra ``postgres``); imported only when a store is on such a server.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from select import POLLIN, POLLOUT, poll
from typing import Any, Final, TypeVar

import msgspec
import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.waiting import Ready, Wait
from sqlalchemy import Connection, create_engine

from trunkline.store.address import mask_url
from trunkline.store.database import Database, StoreError

Answer = TypeVar("Answer")

POOL_SIZE: Final = 2
"""Connections that a process keeps; a busy moment opens as many as ``POOL_OVERFLOW`` more."""

POOL_OVERFLOW: Final = 3

_EVENTS: Final = {Wait.R: POLLIN, Wait.W: POLLOUT, Wait.RW: POLLIN | POLLOUT}
_LOCK_KEY: Final = 0x7472_6E6B_6C69_6E65
"""The advisory lock of whoever changes the tables; the same in every version of Trunkline."""


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a connection waits, in seconds.

    ``connect_s`` is for each host that the URL names, at least 2 and whole; ``statement_s`` is the
    server's own limit for a statement; ``answer_s`` ends what even that does not end, because the
    server or the network is gone without a word; ``idle_s`` is how long the server keeps the
    locks of a process that stopped in the middle of a transaction.
    """

    connect_s: int = 5
    statement_s: float = 5.0
    answer_s: float = 6.0
    idle_s: float = 30.0


class _Link(psycopg.Connection[Any]):
    """A connection that is closed when an answer does not come, and whose errors show no values."""

    answer_s: float | None = None
    """None to wait for as long as it takes."""

    def wait(self, gen: PQGen[Answer], *_args: Any, **_kwargs: Any) -> Answer:
        """Run one exchange with the server to its end.

        psycopg's own wait has no limit in all versions; what is yielded and sent is the same.

        Raises:
            psycopg.Error: with the server's primary message only, since its details quote rows.
        """
        try:
            return self._exchange(gen)
        except psycopg.Error as error:
            if error.diag.message_primary:
                error.args = (error.diag.message_primary,)
            raise
        except BaseException:
            self.close()  # interrupted half-way: what comes would be taken for a later answer
            raise

    def _exchange(self, gen: PQGen[Answer]) -> Answer:
        limit_s = self.answer_s
        until_s = None if limit_s is None else time.monotonic() + limit_s
        readiness = poll()
        try:
            wanted = next(gen)
            while True:
                readiness.register(self.pgconn.socket, _EVENTS[wanted])
                left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
                happened = readiness.poll(None if left_s is None else left_s * 1000)
                if not happened:
                    self.close()
                    raise psycopg.OperationalError(f"no answer within {limit_s:g} s")
                wanted = gen.send(_read_events(happened[0][1], wanted))
        except StopIteration as end:
            answer: Answer = end.value
            return answer


class PostgresDatabase(Database):
    """A PostgreSQL database, or the schema in it that the URL's search path begins with.

    Args:
        url: as ``check_url`` lets it pass.
        patience: how long its connections wait.

    Raises:
        StoreError: the URL has an option that PostgreSQL's client library does not know.
    """

    lost_races = frozenset({"40001", "40P01"})  # serialization failure, deadlock

    def __init__(self, url: str, patience: Patience) -> None:
        name = mask_url(url)
        settings = _complete_settings(url, patience)
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: _connect(name, settings, patience),
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=patience.connect_s,
            pool_pre_ping=True,  # a connection may have died in the pool
            use_native_hstore=False,
            hide_parameters=True,  # an error's text may be logged
        )
        super().__init__(
            name,
            engine,
            {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
            {"isolation_level": "SERIALIZABLE"},
        )
        # Each statement sees what was committed before it: above all the first one after the lock.
        self._rebuilder = engine.execution_options(isolation_level="READ COMMITTED")

    @contextmanager
    def rebuild(self) -> Iterator[Connection]:
        """A write that may change tables, under a lock that ends with it, however it ends."""
        with self._rebuilder.connect() as connection:
            link = connection.connection.driver_connection
            assert isinstance(link, _Link)  # noqa: S101 - the pool has no others
            answer_s, link.answer_s = link.answer_s, None
            try:
                with connection.begin():
                    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
                    yield connection
            finally:
                link.answer_s = answer_s

    def exists(self) -> bool:
        """Always: the operator creates the database, and a look at it changes nothing."""
        return True


def open_postgres(url: str, patience: Patience | None = None) -> PostgresDatabase:
    """A database on a server; nothing is connected before its first use.

    Args:
        url: as ``check_url`` lets it pass.
        patience: how long its connections wait.

    Raises:
        StoreError: the URL has an option that PostgreSQL's client library does not know.
    """
    return PostgresDatabase(url, patience or Patience())


def _read_events(events: int, wanted: Wait) -> Ready:
    """What a connection is ready for; after an error or its end, for all that was wanted."""
    if events & ~(POLLIN | POLLOUT):
        return Ready(wanted)
    return Ready((Ready.R if events & POLLIN else 0) | (Ready.W if events & POLLOUT else 0))


def _complete_settings(url: str, patience: Patience) -> dict[str, Any]:
    """The settings of a connection: the URL's, and ours where it says nothing."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        # Its own words quote pieces of the URL.
        raise StoreError(
            f"{mask_url(url)} has an option that PostgreSQL's client library does not know"
        ) from None
    ours = {
        "connect_timeout": patience.connect_s,
        "fallback_application_name": "trunkline",
        # A network that is gone without a word ends even a migration, after about a minute.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        # Of several hosts the one that leads; a name that still means a follower is no good.
        "target_session_attrs": "read-write",
    }
    return {**ours, **given, "client_encoding": "UTF8"}


def _connect(name: str, settings: dict[str, Any], patience: Patience) -> _Link:
    # Statements prepared by themselves would not survive a pooler in front of the server.
    link = _Link.connect("", autocommit=True, prepare_threshold=None, **settings)
    try:
        link.answer_s = patience.answer_s
        _set_up_link(link, name, patience)
    except BaseException:
        link.close()
        raise
    return link


def _set_up_link(link: _Link, name: str, patience: Patience) -> None:
    encoding = link.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(f"{name} has the encoding {encoding}; create it with UTF8")
    # Not as startup options, which poolers refuse.
    link.execute(
        "SELECT set_config('statement_timeout', %s, false), "
        "set_config('idle_in_transaction_session_timeout', %s, false)",
        (f"{patience.statement_s * 1000:.0f}", f"{patience.idle_s * 1000:.0f}"),
    )
    link.autocommit = False
