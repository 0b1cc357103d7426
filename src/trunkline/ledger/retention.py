"""Retention: calls one by one are kept for so many days; the sums of their days stay."""

from typing import Final

from trunkline.store.posting import DAY_US
from trunkline.store.store import Store

BATCH: Final = 500
"""How many calls are removed in one write, so that no other write waits long for it."""

MOST: Final = 20_000
"""How many calls are removed in one go, at most."""


def remove_old(store: Store, keep_days: int, now_us: int) -> int:
    """Remove calls that are older than the days that are kept, oldest first; says how many.

    Today and ``keep_days`` whole days before it (UTC) are kept. At most ``MOST`` are removed: ask
    again soon when so many were.

    Args:
        store: where they are; the call waits for its database.
        keep_days: 0 or more.
        now_us: microseconds since 1970.
    """
    before_us = (now_us // DAY_US - keep_days) * DAY_US
    removed = 0
    while removed < MOST:
        batch = store.ledger.remove_before(before_us, BATCH)
        removed += batch
        if batch < BATCH:
            break
    return removed
