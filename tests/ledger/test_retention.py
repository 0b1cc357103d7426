"""Retention: old calls go in batches, the sums of their days stay."""

from pathlib import Path

import pytest

from store.used import FIRST_DAY, make_call, ship_calls
from trunkline.ledger import retention
from trunkline.ledger.retention import remove_old
from trunkline.store.posting import DAY_US
from trunkline.store.store import open_store
from trunkline.store.usage import Choice


def test_calls_go_when_their_day_is_old_enough(tmp_path: Path) -> None:
    store = open_store(tmp_path / "trunkline.db")
    starts_us = [(FIRST_DAY + number) * DAY_US for number in range(4)]
    ship_calls(store, [make_call(n, at_us=start_us) for n, start_us in enumerate(starts_us)])
    now_us = starts_us[3] + 5
    assert remove_old(store, 3, now_us) == 0
    assert remove_old(store, 2, now_us) == 1
    assert remove_old(store, 0, now_us) == 2
    (left,) = store.usage.list_calls(Choice(), 10)
    assert left.at_us == starts_us[3]
    assert len(store.usage.list_shares(Choice(), ["day"])) == 4
    store.close()


def test_more_than_one_batch_goes_and_no_more_than_the_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "MOST", 6)
    store = open_store(tmp_path / "trunkline.db")
    ship_calls(store, [make_call(number) for number in range(8)])
    now_us = (FIRST_DAY + 9) * DAY_US
    assert [remove_old(store, 1, now_us) for _ in range(3)] == [6, 2, 0]
    store.close()
