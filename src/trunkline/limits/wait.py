"""Waiting for an answer, for a bounded time, on an event loop that may be busy."""

import asyncio
from typing import Any, Final

_SLICES: Final = 5


async def is_done_soon(future: "asyncio.Future[Any]", within_s: float) -> bool:
    """Wait for a future, up to so many seconds; whether it is done.

    A loop that was busy for all that time, with a burst of calls, would see the time end before
    the answer that came meanwhile, and take the server for dead. So the time ends in slices:
    between two of them the loop takes what has come.
    """
    for _ in range(_SLICES):
        await asyncio.wait((future,), timeout=within_s / _SLICES)
        if future.done():
            return True
    return False
