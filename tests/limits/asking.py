"""Asking a limiter, and saying what came of it."""

import asyncio
from collections.abc import Awaitable, Callable

from trunkline.limits.limit import Permit, Refusal, Subject
from trunkline.limits.limiter import Limiter
from trunkline.terms import Limits


def key(
    name: str = "k",
    *,
    rpm: int | None = None,
    tpm: int | None = None,
    concurrent: int | None = None,
) -> Subject:
    return Subject("key", name, Limits(rpm=rpm, tpm=tpm, concurrent=concurrent))


def account(
    name: str = "a",
    *,
    rpm: int | None = None,
    tpm: int | None = None,
    concurrent: int | None = None,
) -> Subject:
    return Subject("account", name, Limits(rpm=rpm, tpm=tpm, concurrent=concurrent))


async def pass_(limiter: Limiter, *subjects: Subject, tokens: int = 1) -> Permit:
    """Ask, and be let pass."""
    outcome = await limiter.admit(subjects, tokens)
    assert isinstance(outcome, Permit), outcome
    return outcome


async def refuse(limiter: Limiter, *subjects: Subject, tokens: int = 1) -> Refusal:
    """Ask, and be refused."""
    outcome = await limiter.admit(subjects, tokens)
    assert isinstance(outcome, Refusal), outcome
    return outcome


async def poll(happened: Callable[[], Awaitable[bool]]) -> None:
    """Ask until what happens elsewhere, at its own time, has happened."""
    async with asyncio.timeout(20):
        while not await happened():  # noqa: ASYNC110 - in another process, or in another task
            await asyncio.sleep(0.005)
