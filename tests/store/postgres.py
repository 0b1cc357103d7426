"""PostgreSQL for tests: where it is, a schema for each test, and what is left out without it."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlencode

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

VARIABLE = "TRUNKLINE_TEST_POSTGRES"
PASSWORD = "pw-canary"
"""A password that the server never asks for; it must not turn up anywhere."""

_LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(VARIABLE):
        return
    left_out = [item for item in items if item.get_closest_marker("postgres")]
    if left_out:
        config.stash[_LEFT_OUT] = config.stash.get(_LEFT_OUT, 0) + len(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("postgres")]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    count = config.stash.get(_LEFT_OUT, 0)
    if count:
        terminalreporter.write_line(
            f"left out: {count} tests on PostgreSQL; to run them, set "
            f"{VARIABLE}=postgresql://user@host:port/database"
        )


def admin() -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the tests' own, in which every statement counts at once."""
    return psycopg.connect(os.environ[VARIABLE], autocommit=True)


def make_url(port: int | None = None, database: str | None = None, **options: str) -> str:
    """The server's URL, with a password that it does not need."""
    given = conninfo_to_dict(os.environ[VARIABLE])
    user = quote(str(given.get("user", "")), safe="")
    password = quote(str(given.get("password") or PASSWORD), safe="")
    host, own_port = find_server()
    place = f"{host}:{own_port}" if port is None else f"127.0.0.1:{port}"
    name = quote(str(database or given["dbname"]), safe="")
    query = f"?{urlencode(options, quote_via=quote)}" if options else ""
    return f"postgresql://{user}:{password}@{place}/{name}{query}"


def find_server() -> tuple[str, int]:
    """The server's host and port."""
    given = conninfo_to_dict(os.environ[VARIABLE])
    return str(given["host"]), int(given.get("port") or 5432)


@contextmanager
def make_schema() -> Iterator[str]:
    """The search path of a schema that is gone after the block, as the URL's ``options``."""
    name = sql.Identifier(f"trunkline_{uuid.uuid4().hex}")
    with admin() as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        try:
            yield f"-csearch_path={name.as_string(None).strip(chr(34))}"
        finally:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(name))
