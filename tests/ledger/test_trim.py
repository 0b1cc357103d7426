"""Cutting an entry: whatever is left out, what it used and was charged is what it was."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.calling import make_entry, make_opening
from trunkline.ledger.entry import Attempt, Entry, Tokens, sum_attempts
from trunkline.ledger.trim import trim_entry, trim_opening

ENCODE = msgspec.msgpack.Encoder().encode
DECODE = msgspec.msgpack.Decoder(Entry).decode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
ATTEMPTS = st.builds(
    Attempt,
    TEXT,
    st.sampled_from(["complete", "failed", "left", "lost"]),
    st.sampled_from(["provider", "counted", "estimated", "none"]),
    st.builds(Tokens, st.integers(0, 1 << 40), st.integers(0, 1 << 40)),
    st.none() | st.integers(0, 1 << 50),
    TEXT,
    TEXT,
)
ENTRIES = st.builds(
    Entry,
    st.builds(
        lambda text, holds: make_opening("c", holds=holds, model=text), TEXT, st.integers(0, 3)
    ),
    st.sampled_from(["complete", "failed"]),
    st.lists(ATTEMPTS, max_size=8).map(tuple),
    st.just(make_opening("c").holds),
    TEXT,
    TEXT,
)


@given(ENTRIES, st.integers(0, 3000))
def test_it_fits_or_is_not_given(entry: Entry, limit: int) -> None:
    data = trim_entry(entry, ENCODE, limit)
    if data is None:
        assert limit < 3000
        return
    assert len(data) <= limit
    read = DECODE(data)
    if len(ENCODE(entry)) <= limit:
        assert read == entry
    assert sum_attempts(read.attempts)[0] == sum_attempts(entry.attempts)[0]
    assert read.charges == entry.charges
    assert (read.opening.id, read.status) == (entry.opening.id, entry.status)


@pytest.mark.parametrize("excess", [1, 4, 20, 150])
def test_changes_are_cut_first_and_no_more_than_needed(excess: int) -> None:
    entry = make_entry(make_opening("c"), changes="dropped:seed," * 20)
    size = len(ENCODE(entry))
    data = trim_entry(entry, ENCODE, size - excess)
    assert data is not None
    read = DECODE(data)
    assert msgspec.structs.replace(read, changes=entry.changes) == entry
    assert read.changes[-1] == "…"
    assert entry.changes.startswith(read.changes[:-1])
    assert size - excess - len(data) <= 8


def test_an_opening_of_usual_size_stays() -> None:
    opening = make_opening("c")
    assert trim_opening(opening) == opening
    assert len(trim_opening(make_opening("c", model="m" * 65)).model) == 64
