"""The server goes away and comes back: known keys go on, and nothing needs a restart."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
from sqlalchemy.exc import DBAPIError

from access.clock import Clock
from store.line import Line
from store.postgres import PASSWORD, admin, find_server, make_schema, make_url
from trunkline.access.key import NewKey, create_key
from trunkline.access.memory import Freshness
from trunkline.access.verifier import Verifier
from trunkline.errors import GatewayError
from trunkline.store.postgres import Patience, open_postgres
from trunkline.store.revision import renew_schema
from trunkline.store.store import Store

pytestmark = pytest.mark.postgres

PEPPER = bytes(range(32))
NOW_US = 1_800_000_000_000_000


@pytest.fixture
def line() -> Iterator[Line]:
    with Line(*find_server()) as made:
        yield made


@pytest.fixture
def store(line: Line) -> Iterator[Store]:
    """A store behind the line, which gives a silent server up after a second."""
    with make_schema() as options:
        database = open_postgres(make_url(line.port, options=options), Patience(answer_s=1.0))
        renew_schema(database)
        made = Store(database)
        made.accounts.create("a", "", 1)
        made.accounts.create("b", "", 1)
        yield made
        made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def verifier(store: Store, clock: Clock) -> AsyncIterator[Verifier]:
    freshness = Freshness(look_up_s=0.5)
    made = Verifier(store, PEPPER, freshness=freshness, clock=clock, wall_clock=clock)
    yield made
    await made.close()


def make_key(store: Store) -> bytes:
    text, _ = create_key(store, PEPPER, NewKey(account_id="a", role="admin"), NOW_US)
    return text.encode()


async def refuse(verifier: Verifier, key: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        await verifier.verify(key)
    assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", 1)


async def verify_soon(verifier: Verifier, clock: Clock, key: bytes) -> None:
    """Ask as clients do, until the key is known afresh."""
    async with asyncio.timeout(20):
        while verifier.check(verifier.find_digest(key)) is None:
            clock.now_s += 1
            with suppress(GatewayError):
                await verifier.verify(key)
            await verifier.close()  # waits for the look-up under way


async def test_known_keys_go_on_while_the_server_is_away(
    store: Store, verifier: Verifier, line: Line, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    known, other = make_key(store), make_key(store)
    grant = await verifier.verify(known)
    assert (await verifier.choose_account(grant, "b", None)).account_id == "b"
    await verifier.close()
    line.cut()
    clock.now_s += 119
    for _ in range(3):
        assert await verifier.verify(known) == grant
        assert (await verifier.choose_account(grant, "b", None)).account_id == "b"
    await refuse(verifier, other)
    clock.now_s += 1
    await refuse(verifier, known)
    line.mend()
    await verify_soon(verifier, clock, other)
    await verify_soon(verifier, clock, known)
    assert (await verifier.choose_account(grant, "b", None)).account_id == "b"
    assert "known keys are honoured" in caplog.text
    assert PASSWORD not in caplog.text


async def test_known_keys_go_on_while_the_server_is_silent(
    store: Store, verifier: Verifier, line: Line, clock: Clock
) -> None:
    known, other = make_key(store), make_key(store)
    grant = await verifier.verify(known)
    await verifier.close()
    line.freeze()
    clock.now_s += 59
    for _ in range(3):
        assert await verifier.verify(known) == grant
    await refuse(verifier, other)
    line.thaw()
    await verify_soon(verifier, clock, other)
    await verify_soon(verifier, clock, known)


async def test_connections_that_died_without_a_word_are_replaced(
    store: Store, verifier: Verifier, line: Line, clock: Clock
) -> None:
    known = make_key(store)
    await verifier.verify(known)
    await verifier.close()
    line.strand()
    clock.now_s += 5
    await verify_soon(verifier, clock, known)


async def test_last_use_is_written_when_the_server_is_back(
    store: Store, verifier: Verifier, line: Line, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    known = make_key(store)
    line.cut()
    await refuse(verifier, known)
    line.mend()
    await verify_soon(verifier, clock, known)
    line.cut()
    clock.now_s += 121
    await refuse(verifier, known)
    line.mend()
    await verify_soon(verifier, clock, known)
    assert [key.last_used_at_us for key in store.keys.list()] == [int(clock() * 1_000_000)]


def test_connections_that_the_server_ended_are_replaced_unnoticed(store: Store) -> None:
    with store.database.read() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    with admin() as other:
        assert other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)).fetchone() == (True,)
    assert [account.id for account in store.accounts.list()] == ["a", "b"]


def test_a_write_that_the_server_ended_changed_nothing(store: Store) -> None:
    def write_on_and_on() -> None:
        with store.database.write() as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            connection.exec_driver_sql("DELETE FROM accounts")
            with admin() as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            connection.exec_driver_sql("DELETE FROM accounts")

    with pytest.raises(DBAPIError) as caught:
        write_on_and_on()
    assert caught.value.connection_invalidated
    assert [account.id for account in store.accounts.list()] == ["a", "b"]


def test_a_silent_server_is_given_up(store: Store, line: Line) -> None:
    with pytest.raises(DBAPIError, match=r"no answer within 1 s"), store.database.read() as read:
        read.exec_driver_sql("SELECT 1")
        line.strand()
        read.exec_driver_sql("SELECT 1")
    assert [account.id for account in store.accounts.list()] == ["a", "b"]
