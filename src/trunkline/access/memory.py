"""A memory of the store's answers: fresh for seconds, honoured for longer when the store fails."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

Name = TypeVar("Name", bound=Hashable)
Answer = TypeVar("Answer")

_BATCH: Final = 500

_log = logging.getLogger(__name__)


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How long an answer counts, and how much is remembered.

    An answer is used for ``fresh_s`` after it was asked for, and one in use is asked for anew
    after ``renew_s``, so that nobody waits for it; while the store does not answer, the last known
    one is honoured up to ``honoured_s``. A look-up that takes ``look_up_s`` counts as failed, and
    after ``stale_s`` already for whoever has an answer that can be honoured; after a failure the
    store is asked again every ``retry_s``. At most ``size`` names that exist are remembered, and
    as many that do not.
    """

    fresh_s: float = 5.0
    renew_s: float = 2.5
    honoured_s: float = 120.0
    look_up_s: float = 2.0
    stale_s: float = 0.5
    retry_s: float = 1.0
    size: int = 10_000


class UnreachableError(Exception):
    """The store did not answer, and nothing is remembered that could be honoured."""


class _Entry(Generic[Answer]):
    """One answer, None for a name that does not exist, and how long it counts."""

    __slots__ = ("answer", "fresh_until_s", "honoured_until_s", "renew_at_s")

    def __init__(self, answer: Answer | None, asked_at_s: float, freshness: Freshness) -> None:
        self.answer = answer
        self.fresh_until_s = asked_at_s + freshness.fresh_s
        # What does not exist is not asked for by itself: else unknown keys would cost twice.
        wait_s = freshness.fresh_s if answer is None else freshness.renew_s
        self.renew_at_s = min(asked_at_s + wait_s, self.fresh_until_s)
        self.honoured_until_s = asked_at_s + freshness.honoured_s


class Memory(Generic[Name, Answer]):
    """Answers by name, looked up in a thread: one look-up at a time, for all names asked so far.

    However many unknown names arrive, they cost one thread, and push out only each other.

    Args:
        look_up: finds the answers of up to 500 names; a name that it leaves out does not exist.
            Runs in a thread; whatever it raises counts as a failed look-up.
        freshness: how long answers count.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        look_up: Callable[[Sequence[Name]], Mapping[Name, Answer]],
        freshness: Freshness,
        clock: Callable[[], float],
    ) -> None:
        self._look_up = look_up
        self._freshness = freshness
        self._clock = clock
        self._known: dict[Name, _Entry[Answer]] = {}
        self._unknown: dict[Name, _Entry[Answer]] = {}
        self._asked: dict[Name, asyncio.Future[_Entry[Answer] | None]] = {}
        self._queue: list[Name] = []
        self._worker: asyncio.Task[None] | None = None
        self._retry_at_s: float | None = None  # None while the store answers

    def peek(self, name: Name) -> Answer | None:
        """The fresh answer for a name that exists; None when it must be looked up."""
        entry = self._known.get(name)
        if entry is None:
            return None
        # The usual case first: each call with a key asks this.
        if self._clock() < entry.renew_at_s or self._is_fresh(name, entry):
            return entry.answer
        return None

    async def find(self, name: Name) -> Answer | None:
        """The answer for a name, looked up if need be; None when the name does not exist.

        Raises:
            UnreachableError: it had to be looked up, and could not.
        """
        entry = self._known.get(name) or self._unknown.get(name)
        if entry is not None and self._is_fresh(name, entry):
            return entry.answer
        now_s = self._clock()
        honoured = entry is not None and now_s < entry.honoured_until_s
        if self._retry_at_s is not None and entry is not None and honoured:
            # The store is failing: nobody waits for it who can do without.
            if now_s >= self._retry_at_s:
                self._retry_at_s = now_s + self._freshness.retry_s
                self._ask(name)
            return entry.answer
        freshness = self._freshness
        wait_s = min(freshness.look_up_s, freshness.stale_s) if honoured else freshness.look_up_s
        found = await self._wait(name, wait_s)
        if found is not None:
            return found.answer
        if entry is not None and self._clock() < entry.honoured_until_s:
            return entry.answer
        raise UnreachableError

    async def close(self) -> None:
        """Wait for the look-up that is under way, if any; nobody may ask afterwards."""
        if self._worker is not None:
            await asyncio.wait((self._worker,))

    def _is_fresh(self, name: Name, entry: _Entry[Answer]) -> bool:
        """Whether an answer counts; one that soon will not is asked for, and nobody waits."""
        now_s = self._clock()
        if now_s < entry.renew_at_s:
            return True
        if now_s >= entry.fresh_until_s:
            return False
        entry.renew_at_s = entry.fresh_until_s
        if len(self._asked) < self._freshness.size:
            future = self._ask(name)
            future.get_loop().call_later(self._freshness.look_up_s, self._judge, future)
        return True

    def _judge(self, future: asyncio.Future[_Entry[Answer] | None]) -> None:
        """The time of a look-up is over that nobody waits for."""
        if not future.done():
            self._note_failure()

    async def _wait(self, name: Name, wait_s: float) -> _Entry[Answer] | None:
        """The looked-up answer for a name; None when the look-up failed or takes too long."""
        if len(self._asked) >= self._freshness.size:
            return None  # the store hangs, and requests go on coming
        future = self._ask(name)
        await asyncio.wait((future,), timeout=wait_s)
        if future.done():
            return future.result()
        self._note_failure()
        return None

    def _ask(self, name: Name) -> asyncio.Future[_Entry[Answer] | None]:
        """The coming answer for a name; its result is None when the look-up failed."""
        future = self._asked.get(name)
        if future is None:
            future = self._asked[name] = asyncio.get_running_loop().create_future()
            self._queue.append(name)
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work())
        return future

    async def _work(self) -> None:
        while self._queue:
            batch, self._queue = self._queue[:_BATCH], self._queue[_BATCH:]
            asked_at_s = self._clock()
            try:
                found = await asyncio.to_thread(self._look_up, batch)
            except Exception as error:  # noqa: BLE001 - known keys go on working, whatever it was
                self._note_failure(error)
                for name in batch:
                    self._asked.pop(name).set_result(None)
                continue
            self._retry_at_s = None
            for name in batch:
                entry = self._remember(name, found.get(name), asked_at_s)
                self._asked.pop(name).set_result(entry)

    def _remember(self, name: Name, answer: Answer | None, asked_at_s: float) -> _Entry[Answer]:
        known, unknown = self._known, self._unknown
        home, other = (unknown, known) if answer is None else (known, unknown)
        other.pop(name, None)
        home.pop(name, None)  # so that it comes last, as the newest
        if len(home) >= self._freshness.size:
            del home[next(iter(home))]
        entry = home[name] = _Entry(answer, asked_at_s, self._freshness)
        return entry

    def _note_failure(self, error: Exception | None = None) -> None:
        if self._retry_at_s is None:  # once, not at every attempt
            _log.error("the store does not answer; known keys are honoured", exc_info=error)
        self._retry_at_s = self._clock() + self._freshness.retry_s
