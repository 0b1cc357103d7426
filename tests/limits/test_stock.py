"""Stocks of several workers against a real store: whatever happens, no budget is exceeded."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from store.budgeted import NOW_US, add_key, find_sums, set_budgets, ship
from store.posted import clear, find_granted
from trunkline.limits.budget import find_start
from trunkline.limits.stock import Hold, Reason, Stock
from trunkline.store.lease import Answer
from trunkline.store.schema import LEASES
from trunkline.store.store import Store, open_store
from trunkline.terms import Budget, Charge, Window

WINDOWS = (
    Window("key", "k1", "tokens", "total", 0),
    Window("account", "a", "usd", "day", find_start("day", NOW_US)),
)
COUNT = 2

workers = st.integers(0, COUNT - 1)
windows = st.integers(0, 1)
amounts = st.integers(0, 300)


class Worker:
    """What a worker remembers: its stocks, what calls hold, and charges that are not shipped."""

    def __init__(self) -> None:
        self.journal_id = uuid.uuid4().hex
        self.stocks = [Stock(window, 0, 0) for window in WINDOWS]
        self.holds: list[Hold] = []
        self.charges: list[Charge] = []

    def count_used(self, window: Window) -> int:
        held = [charge for hold in self.holds for charge in hold.charges]
        return sum(each.amount for each in held + self.charges if each.window == window)


class Budgets(RuleBasedStateMachine):
    """Two workers hold, settle, ask, ship and die, while the operator changes the amount."""

    store: ClassVar[Store]

    def __init__(self) -> None:
        super().__init__()
        clear(self.store)
        set_budgets(self.store, "a", Budget("usd", "day", 2000))
        self.amounts = [1000, 2000]
        self.before = [0, 0]
        self.workers = [Worker() for _ in range(COUNT)]
        self.spent = [0, 0]

    @rule(number=workers, wanted=st.tuples(amounts, amounts))
    def hold(self, number: int, wanted: tuple[int, int]) -> None:
        worker = self.workers[number]
        parts = [*zip(worker.stocks, wanted, strict=True)]
        if all(stock.free >= amount for stock, amount in parts):
            for stock, amount in parts:
                stock.free -= amount
            worker.holds.append(Hold(parts))

    @rule(number=workers, index=st.integers(0, 9))
    def double(self, number: int, index: int) -> None:
        worker = self.workers[number]
        if worker.holds:
            hold = worker.holds[index % len(worker.holds)]
            before = [charge.amount for charge in hold.charges]
            fits = all(
                stock.free >= amount for stock, amount in zip(worker.stocks, before, strict=True)
            )
            assert hold.double() is fits
            held = [charge.amount for charge in hold.charges]
            assert held == ([2 * amount for amount in before] if fits else before)

    @rule(number=workers, index=st.integers(0, 9), part=st.floats(0, 1))
    def settle(self, number: int, index: int, part: float) -> None:
        worker = self.workers[number]
        if worker.holds:
            hold = worker.holds.pop(index % len(worker.holds))
            held = {charge.window: charge.amount for charge in hold.charges}
            tokens, micros = (int(held[window] * part) for window in WINDOWS)
            worker.charges += hold.settle_each(micros, tokens)
            assert hold.charges == hold.settle_each(9, 9) == ()

    @rule(
        number=workers,
        window=windows,
        reason=st.sampled_from(["need", "leave", "more", "less"]),
        needs=st.lists(amounts, min_size=1, max_size=4),
        lost=st.booleans(),
    )
    def ask(
        self, number: int, window: int, reason: Reason, needs: list[int], *, lost: bool
    ) -> None:
        worker = self.workers[number]
        stock = worker.stocks[window]
        stock.usual = needs[0]
        want = stock.make_want(reason, needs if reason == "need" else (0,))
        (answer,) = self.store.leases.change(worker.journal_id, [want])
        if lost:
            return
        stock.note_answer(answer, 0)
        if reason == "need" and stock.amount >= sum(self.before):
            fits = min(needs) <= stock.free or min(needs) > stock.left
            assert fits, "a call is refused though there is enough"
        if answer.gone and reason == "leave":
            worker.stocks[window] = Stock(WINDOWS[window], 0, 0)

    @rule(number=workers)
    def ship(self, number: int) -> None:
        worker = self.workers[number]
        self.ship_charges(worker, worker.charges)
        worker.charges = []

    @rule(number=workers)
    def die(self, number: int) -> None:
        """The journal is shipped by another process, and lost calls cost what they held."""
        worker, self.workers[number] = self.workers[number], Worker()
        held = [charge for hold in worker.holds for charge in hold.charges]
        self.ship_charges(worker, worker.charges + held)
        self.store.ledger.remove_journal(worker.journal_id)

    @rule(amount=st.integers(0, 3000))
    def change_budget(self, amount: int) -> None:
        set_budgets(self.store, "a", Budget("usd", "day", amount))
        self.amounts[1] = amount

    @precondition(lambda self: any(worker.holds for worker in self.workers))
    @rule()
    def end_all(self) -> None:
        """When every call has ended, is shipped, and nobody wants more, nothing is held back."""
        for number, worker in enumerate(self.workers):
            for hold in worker.holds:
                used = min([1, *(charge.amount for charge in hold.charges)])
                worker.charges += hold.settle_each(used, used)
            worker.holds = []
            self.ship(number)
            for index in range(len(WINDOWS)):
                self.ask(number, index, "leave", [1], lost=False)
        for window, spent in zip(WINDOWS, self.spent, strict=True):
            assert find_sums(self.store, window) == (spent, 0)
        with self.store.database.read() as connection:
            assert connection.execute(select(LEASES)).all() == []

    def ship_charges(self, worker: Worker, charges: list[Charge]) -> None:
        ship(self.store, worker.journal_id, uuid.uuid4().hex, charges)
        for charge in charges:
            self.spent[WINDOWS.index(charge.window)] += charge.amount

    @invariant()
    def no_budget_is_exceeded(self) -> None:
        granted = [find_granted(self.store, worker.journal_id) for worker in self.workers]
        for index, window in enumerate(WINDOWS):
            spent, leased = find_sums(self.store, window)
            assert spent == self.spent[index]
            assert spent + leased <= max(self.amounts[index], self.before[index])
            self.before[index] = spent + leased
            for worker, leases in zip(self.workers, granted, strict=True):
                free = worker.stocks[index].free
                assert free >= 0
                assert leases.get(window, 0) >= free + worker.count_used(window)


@pytest.mark.parametrize(
    ("reason", "free", "kept"), [("leave", 0, 0), ("less", 20, 20), ("need", 60, 60)]
)
def test_what_shall_go_back_is_not_free_meanwhile(reason: Reason, free: int, kept: int) -> None:
    stock = Stock(WINDOWS[0], 0, 500, taken=100, free=60, ahead=20, usual=10)
    want = stock.make_want(reason, [30, 70])
    assert (stock.free, stock.taken - stock.free) == (free, 40)
    assert (want.used, want.kept, want.need, want.least) == (40, kept, 100, 30)
    stock.note_answer(Answer(taken=140, rest=1, spent=2, amount=3, ahead=4, gone=False), 0)
    assert (stock.taken, stock.free, stock.left) == (140, 100, 101)


def test_a_second_attempt_holds_as_much_again_or_nothing() -> None:
    stocks = [Stock(window, 0, 500, taken=100, free=100) for window in WINDOWS]
    for stock in stocks:
        stock.free -= 40
    hold = Hold([(stock, 40) for stock in stocks])
    assert hold.double()
    assert [stock.free for stock in stocks] == [20, 20]
    assert [charge.amount for charge in hold.charges] == [80, 80]
    assert not hold.double()
    assert [stock.free for stock in stocks] == [20, 20]
    stocks[0].free = 80
    assert not hold.double(), "each of its budgets must have room"
    stocks[0].free = 20
    charges = hold.settle_each(30, 50)
    assert [charge.amount for charge in charges] == [50, 30]
    assert [stock.free for stock in stocks] == [50, 70]


@pytest.fixture
def _store(tmp_path: Path) -> Iterator[None]:
    Budgets.store = store = open_store(tmp_path / "trunkline.db")
    link = store.database.engine.raw_connection()
    link.cursor().execute("PRAGMA synchronous = OFF")  # quick, and nobody pulls the plug
    link.close()
    set_budgets(store, "a")
    add_key(store, "k1", Budget("tokens", "total", 1000))
    yield
    store.close()


@pytest.mark.usefixtures("_store")
def test_no_budget_is_exceeded_whatever_happens() -> None:
    run_state_machine_as_test(
        Budgets, settings=settings(max_examples=25, stateful_step_count=25, deadline=None)
    )
