"""The database of the budgets goes away: nobody waits for long, and nobody spends too much."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from limits.asking import poll
from limits.spending import ACCOUNT, CLAIMS, DOLLARS, KEY, WINDOWS, set_up
from store.budgeted import find_sums
from store.line import Line
from store.postgres import PASSWORD, find_server, make_schema, make_url
from trunkline.errors import GatewayError
from trunkline.limits.purse import Claim, Hold, Patience, Purse, Shortage
from trunkline.store.postgres import Patience as StorePatience
from trunkline.store.postgres import open_postgres
from trunkline.store.revision import renew_schema
from trunkline.store.store import Store

pytestmark = pytest.mark.postgres

PATIENCE = Patience(answer_s=0.5, retry_s=0.02, idle_s=60, known_s=0)
HALF = Claim("key", "k1", DOLLARS, 50_000)


@pytest.fixture
def line() -> Iterator[Line]:
    with Line(*find_server()) as made:
        yield made


@pytest.fixture
def store(line: Line) -> Iterator[Store]:
    """A store behind the line, which gives a silent server up after a second."""
    with make_schema() as options:
        database = open_postgres(make_url(line.port, options=options), StorePatience(answer_s=1.0))
        renew_schema(database)
        made = Store(database)
        set_up(made)
        yield made
        made.close()


@pytest.fixture
async def purse(store: Store) -> AsyncIterator[Purse]:
    made = Purse(store.leases, "j", PATIENCE)
    yield made
    await made.close()


async def refuse_all(purse: Purse, *claims: Claim) -> None:
    for _ in range(3):
        with pytest.raises(GatewayError) as caught:
            await purse.take(claims)
        assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", 1)


async def recover(purse: Purse) -> None:
    async def is_back() -> bool:
        return purse.fault is None

    await poll(is_back)


@pytest.mark.parametrize("way", ["cut", "freeze"])
async def test_calls_pass_on_what_is_here_until_the_database_is_back(
    store: Store, purse: Purse, line: Line, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    here = await purse.take([HALF])
    assert isinstance(here, Hold)
    here.release()
    getattr(line, way)()
    async with asyncio.timeout(20):
        await refuse_all(purse, ACCOUNT)
    assert "admitted only from what was taken before" in str(purse.fault)
    for _ in range(3):
        again = await purse.take([HALF])
        assert isinstance(again, Hold)
        again.release()
    await refuse_all(purse, Claim("key", "k1", DOLLARS, 60_000))
    short = await purse.take([Claim("key", "k1", DOLLARS, 100_001)])
    assert isinstance(short, Shortage), "this can never fit, whatever the database says"
    assert (short.left, short.make_error().code) == (50_000, "insufficient_quota")
    line.mend() if way == "cut" else line.thaw()
    await recover(purse)
    assert isinstance(await purse.take(CLAIMS), Hold)
    spent, leased = find_sums(store, WINDOWS[0])
    assert spent == 0
    assert KEY.amount <= leased <= DOLLARS.amount
    assert purse.outages == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert PASSWORD not in caplog.text


async def test_those_who_wait_are_told_together(purse: Purse, line: Line) -> None:
    line.freeze()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    outcomes = await asyncio.gather(
        *(purse.take(CLAIMS) for _ in range(50)), return_exceptions=True
    )
    waited_s = loop.time() - began_s
    assert all(isinstance(each, GatewayError) for each in outcomes)
    assert waited_s < 5, "50 calls wait for one question, not for 50"
    line.thaw()
    await recover(purse)


async def test_an_answer_that_was_lost_is_made_up_for(
    store: Store, purse: Purse, line: Line
) -> None:
    await purse.take([KEY])
    line.strand()
    await refuse_all(purse, HALF)
    await recover(purse)
    line.thaw()
    for _ in range(10):
        hold = await purse.take([HALF])
        assert isinstance(hold, Hold)
        hold.release()
    await purse.close()
    assert find_sums(store, WINDOWS[0]) == (0, KEY.amount)
