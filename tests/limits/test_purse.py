"""A worker's purse: quick, exact, and in nobody's way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from itertools import count

import msgspec
import pytest

from limits.asking import poll
from limits.spending import ACCOUNT, CLAIMS, DOLLARS, EASY, KEY, TOKENS, WINDOWS, set_up
from store.budgeted import find_sums, set_budgets, ship
from trunkline.errors import GatewayError
from trunkline.limits.purse import Claim, Hold, Purse, Shortage
from trunkline.limits.stock import Stock
from trunkline.store.store import Store
from trunkline.terms import Budget, Charge

Maker = Callable[..., Purse]
FULL = (Charge(WINDOWS[0], KEY.amount), Charge(WINDOWS[1], ACCOUNT.amount))


@pytest.fixture
async def make(store: Store) -> AsyncIterator[Maker]:
    """Makes purses, each of a worker of its own; they are closed in the end."""
    set_up(store)
    names = count()
    async with contextlib.AsyncExitStack() as stack:

        def make(**given: object) -> Purse:
            patience = msgspec.structs.replace(EASY, **{"idle_s": 60.0, **given})
            purse = Purse(store.leases, f"j{next(names)}", patience)
            stack.push_async_callback(purse.close)
            return purse

        yield make


async def take(purse: Purse, *claims: Claim) -> Hold:
    answer = await purse.take(claims or CLAIMS)
    assert isinstance(answer, Hold)
    return answer


async def refuse(purse: Purse, *claims: Claim) -> Shortage:
    answer = await purse.take(claims or CLAIMS)
    assert isinstance(answer, Shortage)
    return answer


async def wait_for_sums(store: Store, *wanted: tuple[int, int]) -> None:
    """Wait until this much of the windows is spent and leased."""

    async def is_so() -> bool:
        return [find_sums(store, window) for window in WINDOWS] == [*wanted]

    await poll(is_so)


async def test_of_a_thousand_calls_at_once_those_pass_that_fit(store: Store, make: Maker) -> None:
    purse = make()
    answers = await asyncio.gather(*(purse.take(CLAIMS) for _ in range(1000)))
    holds = [answer for answer in answers if isinstance(answer, Hold)]
    assert len(holds) == 100
    assert {hold.charges for hold in holds} == {FULL}
    assert find_sums(store, WINDOWS[0]) == (0, 100_000)
    short = await refuse(purse)
    assert (short.claim, short.left, short.reserved) == (KEY, 0, 100_000)
    assert short.make_error().code == "insufficient_quota"
    for hold in holds:
        hold.release()
    await take(purse)
    await purse.close()
    assert find_sums(store, WINDOWS[0]) == (0, 1000)


async def test_what_is_here_is_held_at_once(make: Maker) -> None:
    purse = make()
    assert purse.hold(CLAIMS) is None
    hold = await take(purse)
    assert purse.hold(CLAIMS) is None
    assert hold.settle_each(400, 0) == (Charge(WINDOWS[0], 400),)
    assert (hold.settle_each(1, 1), hold.charges) == ((), ())
    assert purse.hold(CLAIMS) is None
    again = purse.hold([Claim("key", "k1", DOLLARS, 600), ACCOUNT])
    assert again is not None
    assert purse.hold(()) is not None


async def test_all_budgets_are_held_or_none(store: Store, make: Maker) -> None:
    purse = make()
    tokens = Claim("account", "a", TOKENS, 10_001)
    short = await refuse(purse, KEY, tokens)
    assert (short.claim, short.lefts) == (tokens, (100_000, 10_000))
    await wait_for_sums(store, (0, KEY.amount), (0, 0))
    fitting = Claim("account", "a", TOKENS, short.left)
    await take(purse, KEY, fitting)
    short = await refuse(make(), ACCOUNT)
    assert (short.left, short.reserved) == (0, 10_000)


async def test_far_from_the_end_more_is_taken_in_the_background(store: Store, make: Maker) -> None:
    set_budgets(store, "a", Budget("tokens", "total", 64 * 1000))
    purse = make()
    await take(purse, ACCOUNT)
    assert find_sums(store, WINDOWS[1]) == (0, 1000)
    for _ in range(2000 // ACCOUNT.amount):
        if purse.hold([ACCOUNT]) is None:
            await take(purse, ACCOUNT)

    async def is_refilled() -> bool:
        return find_sums(store, WINDOWS[1])[1] in range(2050 + 210, 2050 + 1000)

    await poll(is_refilled)


async def test_what_is_idle_goes_back_soon(store: Store, make: Maker) -> None:
    busy, other = make(idle_s=0.05), make()
    hold = await take(busy, Claim("key", "k1", DOLLARS, 100_000))
    assert (await refuse(other, KEY)).reserved == 100_000
    charges = hold.settle_each(300, 0)
    await wait_for_sums(store, (0, 300), (0, 0))
    await take(other, Claim("key", "k1", DOLLARS, 99_700))
    ship(store, "j0", "e1", charges)

    async def is_forgotten() -> bool:
        return not busy._stocks

    await poll(is_forgotten)
    assert find_sums(store, WINDOWS[0]) == (300, 99_700)
    await refuse(busy, Claim("key", "k1", DOLLARS, 1))


async def test_what_is_too_little_for_a_call_goes_back_at_once(store: Store, make: Maker) -> None:
    purse = make()
    await take(purse, Claim("key", "k1", DOLLARS, 99_000))
    (await take(purse, Claim("key", "k1", DOLLARS, 600))).release()
    assert (await refuse(purse, Claim("key", "k1", DOLLARS, 1001))).left == 1000
    await wait_for_sums(store, (0, 99_000), (0, 0))


async def test_a_changed_budget_counts_at_once(store: Store, make: Maker) -> None:
    purse, claim = make(), Claim("account", "a", TOKENS, 1000)
    holds = [await take(purse, claim) for _ in range(5)]
    set_budgets(store, "a", Budget("tokens", "total", 2100))
    assert (await refuse(purse, claim)).amount == 2100
    holds.pop().release()
    await take(purse, claim)  # what was taken may be used
    set_budgets(store, "a", Budget("tokens", "total", 6500))

    async def passes() -> bool:
        return isinstance(await purse.take([claim]), Hold)

    await poll(passes)
    assert find_sums(store, WINDOWS[1]) == (0, 6000)


async def test_a_call_is_charged_to_the_day_it_began_in(store: Store) -> None:
    set_up(store, Budget("tokens", "day", 60))
    now_s = [1_800_057_599.0]  # one second before midnight
    purse = Purse(store.leases, "j", EASY, lambda: now_s[0])
    claim = Claim("account", "a", Budget("tokens", "day", 60), 50)
    old = await take(purse, claim)
    await refuse(purse, claim)
    now_s[0] += 1
    new = await take(purse, claim)
    (before,), (after,) = old.settle_each(0, 40), new.settle_each(0, 30)
    assert after.window.starts_at_us == 1_800_057_600_000_000
    assert before.window.starts_at_us == 1_799_971_200_000_000

    async def is_given_back() -> bool:
        return [find_sums(store, each.window) for each in (before, after)] == [(0, 40), (0, 30)]

    await poll(is_given_back)
    ship(store, "j", "e1", [before, after])
    await purse.close()
    assert find_sums(store, before.window) == (40, 0)


async def test_a_client_that_leaves_while_it_waits_holds_nothing(store: Store, make: Maker) -> None:
    purse = make(idle_s=0.05)
    tasks = [asyncio.create_task(purse.take(CLAIMS)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    for number, task in enumerate(tasks):
        if number % 2:
            answer = await task
            assert isinstance(answer, Hold)
            answer.release()
        else:
            with pytest.raises(asyncio.CancelledError):
                await task
    await wait_for_sums(store, (0, 0), (0, 0))


async def test_more_than_was_held_is_owed_by_the_next(store: Store, make: Maker) -> None:
    purse = make()
    hold = await take(purse, Claim("key", "k1", DOLLARS, 1000))
    charges = hold.settle_each(40_000, 0)
    assert purse.hold([Claim("key", "k1", DOLLARS, 0)]) is None
    ship(store, "j0", "e1", charges)
    await refuse(purse, Claim("key", "k1", DOLLARS, 60_001))
    await take(purse, Claim("key", "k1", DOLLARS, 60_000))
    assert find_sums(store, WINDOWS[0]) == (40_000, 60_000)


async def test_a_closed_purse_has_given_back_what_no_call_holds(store: Store, make: Maker) -> None:
    purse = make()
    hold = await take(purse)
    (await take(purse)).release()
    await purse.close()
    assert [find_sums(store, window) for window in WINDOWS] == [(0, 1000), (0, 50)]
    assert hold.charges == FULL
    with pytest.raises(GatewayError) as caught:
        await purse.take(CLAIMS)
    assert caught.value.code == "overloaded"
    assert purse.fault is None


async def test_many_subjects_are_looked_after_at_once(store: Store, make: Maker) -> None:
    purse = make(idle_s=0.05)
    budget = Budget("usd", "total", 64_000)
    claims = [Claim("key", f"n{number}", budget, 10) for number in range(210)]
    for hold in await asyncio.gather(*(purse.take([claim]) for claim in claims)):
        assert isinstance(hold, Hold)
        hold.release()
    stocks: set[Stock] = purse._stocks
    assert len(stocks) == 210

    async def are_forgotten() -> bool:
        return not stocks

    await poll(are_forgotten)
    assert not purse._current
