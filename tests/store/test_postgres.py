"""PostgreSQL alone: what an error says, what a connection is like, and lost races."""

import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from store.postgres import PASSWORD, admin, find_server, make_schema, make_url
from trunkline.store.database import ATTEMPTS, StoreError
from trunkline.store.postgres import POOL_OVERFLOW, POOL_SIZE, Patience, open_postgres
from trunkline.store.schema import ACCOUNTS
from trunkline.store.store import Store, migrate_store, open_store

pytestmark = pytest.mark.postgres

OPEN_WITHOUT_DRIVER = """
import sys
sys.modules["psycopg"] = None
from trunkline.store.database import StoreError
from trunkline.store.store import open_store
open_store("trunkline.db").close()
try:
    open_store("postgresql://me:pw-canary@db/a")
except StoreError as error:
    print(error)
"""


@pytest.fixture
def options() -> Iterator[str]:
    with make_schema() as made:
        yield made


@pytest.fixture
def server_store(options: str) -> Iterator[Store]:
    store = open_store(make_url(options=options))
    yield store
    store.close()


@contextmanager
def make_database(more: str) -> Iterator[str]:
    """The name of a database that is gone after the block."""
    name = f"trunkline_{uuid.uuid4().hex}"
    with admin() as connection:
        connection.execute(f"CREATE DATABASE {name} {more}".encode())
        try:
            yield name
        finally:
            connection.execute(f"DROP DATABASE {name}".encode())


def refuse(url: str, word: str) -> str:
    with pytest.raises(StoreError, match=word) as caught:
        open_store(url)
    text = str(caught.value)
    assert PASSWORD not in text
    assert "\n" not in text
    return text


def read_setting(connection: Connection, name: str) -> str:
    return str(connection.exec_driver_sql(f"SHOW {name}").scalar_one())


def test_a_server_that_is_away_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    text = refuse(make_url(port), "Connection refused")
    assert f"cannot open the database postgresql://postgres@127.0.0.1:{port}/" in text


def test_a_database_that_is_missing_is_named() -> None:
    refuse(make_url(database="no such place"), 'database "no such place" does not exist')


def test_a_wrong_password_is_named_and_not_shown() -> None:
    def ask_and_refuse(listener: socket.socket) -> None:
        while True:
            link, _ = listener.accept()
            with link, link.makefile("rb") as words:
                length = int.from_bytes(words.read(4))
                code = int.from_bytes(words.read(4))
                words.read(length - 8)
                if code != 0x0003_0000:  # asks for encryption: not here
                    link.sendall(b"N")
                    words.read(int.from_bytes(words.read(4)) - 4)
                link.sendall(b"R\0\0\0\x08\0\0\0\x03")  # wants the password as it is
                words.read(1)
                assert PASSWORD.encode() in words.read(int.from_bytes(words.read(4)) - 4)
                fields = b"SFATAL\0C28P01\0Mpassword authentication failed for user\0\0"
                link.sendall(b"E" + (4 + len(fields)).to_bytes(4) + fields)
            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=ask_and_refuse, args=(listener,))
        thread.start()
        url = f"postgresql://me:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/a"
        refuse(url, "FATAL: password authentication failed for user")
        thread.join()


def test_an_option_that_nobody_knows_is_refused() -> None:
    refuse(make_url(colour=PASSWORD), "has an option that PostgreSQL's client library")


def test_a_database_that_cannot_hold_every_text_is_refused() -> None:
    more = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with make_database(more) as name:
        refuse(make_url(database=name), "has the encoding LATIN1")


def test_a_schema_that_does_not_exist_is_refused() -> None:
    refuse(make_url(options="-csearch_path=nowhere"), "no schema has been selected")


def test_without_the_driver_the_error_names_the_extra(tmp_path: object) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", OPEN_WITHOUT_DRIVER],
        capture_output=True,
        text=True,
        check=True,
        cwd=str(tmp_path),
    )
    assert answer.stdout.startswith("cannot open the database postgresql://me@db/a: psycopg is")
    assert "pip install 'trunkline[postgres]'" in answer.stdout
    assert PASSWORD not in answer.stdout + answer.stderr


def test_what_is_said_of_a_migration_shows_no_password(options: str) -> None:
    assert PASSWORD not in migrate_store(make_url(options=options)).name


def test_a_read_is_of_one_moment_and_changes_nothing(server_store: Store) -> None:
    with server_store.database.read() as connection:
        assert read_setting(connection, "transaction_isolation") == "repeatable read"
        assert read_setting(connection, "transaction_read_only") == "on"
    with server_store.database.write() as connection:
        assert read_setting(connection, "transaction_isolation") == "serializable"
        assert read_setting(connection, "transaction_read_only") == "off"


def test_a_connection_says_whose_it_is_and_is_limited(server_store: Store) -> None:
    with server_store.database.read() as connection:
        assert read_setting(connection, "application_name") == "trunkline"
        assert read_setting(connection, "statement_timeout") == "5s"
        assert read_setting(connection, "idle_in_transaction_session_timeout") == "30s"
    with server_store.database.rebuild() as connection:
        assert read_setting(connection, "statement_timeout") == "0"
    with server_store.database.read() as connection:
        assert read_setting(connection, "statement_timeout") == "5s"


def test_the_urls_own_settings_win(options: str) -> None:
    database = open_postgres(make_url(options=options, application_name="mine"))
    with database.read() as connection:
        assert read_setting(connection, "application_name") == "mine"
    database.close()


def test_a_process_keeps_few_connections(options: str) -> None:
    name = options.rpartition("=")[2]
    database = open_postgres(
        make_url(options=options, application_name=name), Patience(connect_s=2)
    )
    reads = [database.read() for _ in range(POOL_SIZE + POOL_OVERFLOW)]
    pids = {read.__enter__().exec_driver_sql("SELECT pg_backend_pid()").scalar() for read in reads}
    with pytest.raises(PoolTimeoutError), database.read():
        pass
    for read in reads:
        read.__exit__(None, None, None)
    assert len(pids) == POOL_SIZE + POOL_OVERFLOW
    assert database.engine.pool.checkedin() == POOL_SIZE  # type: ignore[attr-defined]
    database.close()


def test_a_statement_that_takes_too_long_is_ended_by_the_server(options: str) -> None:
    database = open_postgres(make_url(options=options), Patience(statement_s=0.1))
    with database.read() as connection, pytest.raises(DBAPIError, match="statement timeout"):
        connection.exec_driver_sql("SELECT pg_sleep(60)")
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    database.close()


def test_a_rebuild_takes_as_long_as_it_takes(options: str) -> None:
    database = open_postgres(make_url(options=options), Patience(statement_s=0.1, answer_s=0.2))
    with database.rebuild() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(0.7)")
    database.close()


def test_an_action_is_repeated_while_it_loses_and_then_given_up(server_store: Store) -> None:
    seen: list[str] = []

    def lose(connection: Connection, times: int = ATTEMPTS) -> int:
        seen.append("again")
        if len(seen) <= times:
            connection.exec_driver_sql("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
        return len(seen)

    with pytest.raises(DBAPIError):
        server_store.database.apply(lose)
    assert len(seen) == ATTEMPTS
    seen.clear()
    assert server_store.database.apply(lambda connection: lose(connection, 2)) == 3


def test_two_that_wait_for_each_other_both_get_their_turn(server_store: Store) -> None:
    for account_id in "ab":
        server_store.accounts.create(account_id, "", 1)
    both_hold_one = threading.Barrier(2, timeout=20)

    def suspend_both(order: str) -> None:
        first_try = threading.Event()

        def suspend(connection: Connection) -> None:
            for account_id in order:
                change = update(ACCOUNTS).where(ACCOUNTS.c.id == account_id)
                connection.execute(change.values(status="suspended", name=order))
                if not first_try.is_set():
                    first_try.set()
                    both_hold_one.wait()

        server_store.database.apply(suspend)

    threads = [threading.Thread(target=suspend_both, args=(order,)) for order in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (name,) = {account.name for account in server_store.accounts.list()}
    assert name in {"ab", "ba"}


def test_a_server_that_does_not_lead_is_refused() -> None:
    refuse(make_url(options="-cdefault_transaction_read_only=on"), "session is read-only")


def test_of_several_hosts_the_one_that_answers_is_taken(options: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        away = listener.getsockname()[1]
    host, port = find_server()
    url = make_url(options=options).replace(f"@{host}:{port}/", f"@127.0.0.1:{away},{host}:{port}/")
    store = open_store(url)
    assert store.accounts.list() == []
    store.close()
