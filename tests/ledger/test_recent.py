"""What was written last is had again in order, or is known to be missing."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.shipping import make_entry
from trunkline.ledger.entry import Entry
from trunkline.ledger.recent import MOST, Recent

ENTRIES = [make_entry(f"e{number}") for number in range(5)]


def fill(recent: Recent, count: int, begin: int = 0) -> None:
    for number in range(begin, begin + count):
        recent.add(ENTRIES[number % 5], (number + 1) * 8)


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 3))
def test_each_entry_comes_once_and_in_order(steps: list[int], limit: int) -> None:
    recent, position, taken = Recent(), 0, list[Entry]()
    added = 0
    for count in steps:
        fill(recent, count, added)
        added += count
        found = recent.take(position, limit)
        assert found is not None
        entries, position = found
        taken += entries
        assert len(entries) <= limit
        assert position == len(taken) * 8
        assert len(entries) == limit or len(taken) == added
    assert taken == [ENTRIES[number % 5] for number in range(len(taken))]


def test_what_was_read_from_the_journal_is_passed_over() -> None:
    recent = Recent()
    fill(recent, 5)
    assert recent.take(24, 10) == (ENTRIES[3:], 40)
    assert recent.take(40, 10) == ([], 40)


def test_a_shipper_that_is_too_far_behind_must_read() -> None:
    recent = Recent()
    fill(recent, MOST + 1)
    assert recent.take(0, 10) is None
    assert recent.take(MOST * 8, 10) is None
    fill(recent, 3, MOST + 1)
    assert recent.take(MOST * 8, 10) is None
    found = recent.take((MOST + 1) * 8, 10)
    assert found is not None
    assert len(found[0]) == 3
