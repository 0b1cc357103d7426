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

from absence import leave_out

VARIABLE = "TRUNKLINE_TEST_POSTGRES"
PASSWORD = "pw-canary"
"""A password that the server never asks for; it must not turn up anywhere."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(VARIABLE):
        return
    words = f"PostgreSQL; to run them, set {VARIABLE}=postgresql://user@host:port/database"
    leave_out(config, items, lambda item: bool(item.get_closest_marker("postgres")), words)


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
