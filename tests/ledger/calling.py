"""Calls to write down, and what a journal holds of them."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trunkline.ledger.entry import Attempt, Entry, Opening, Status, Tokens
from trunkline.ledger.recovery import Batch, read_records
from trunkline.terms import Charge, Window

SMALL = 64 * 1024
"""The smallest segment."""
TARGET = "echo/small"


def make_opening(call_id: str, *, holds: int = 2, model: str = "small") -> Opening:
    return Opening(
        id=call_id,
        at_us=1_760_000_000_000_000,
        account_id="account-1",
        key_id="key_1",
        model=model,
        operation="chat",
        stream=True,
        target=TARGET,
        holds=tuple(
            Charge(Window("account", f"account-{number}", "usd", "month", 0), 1000 + number)
            for number in range(holds)
        ),
    )


def make_entry(
    opening: Opening, *, status: Status = "complete", changes: str = "", attempts: int = 1
) -> Entry:
    return Entry(
        opening,
        status,
        tuple(
            Attempt(TARGET, status, "provider", Tokens(number + 1, 10), 7, total_us=5)
            for number in range(attempts)
        ),
        opening.holds,
        changes=changes,
        total_us=1234,
    )


def read_all(directory: Path, *, final: bool = False, limit: int = 7) -> Batch:
    """Everything, in small batches, as one."""
    whole = Batch([], 0, more=True, damages=[])
    while True:
        batch = read_records(directory, whole.position, limit, final=final)
        whole = Batch(
            whole.records + batch.records,
            batch.position,
            batch.more,
            whole.damages + batch.damages,
        )
        if not batch.more:
            return whole


@contextmanager
def limit_files(size: int) -> Iterator[None]:
    """Files of this process grow no further, as on a full disk or with a used-up quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
