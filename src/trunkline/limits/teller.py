"""Asks the database about leases, in a thread of its own, and knows whether it answers."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from trunkline.limits.wait import is_done_soon
from trunkline.store.database import explain_error
from trunkline.store.lease import Answer, Leases, Want

_BATCH: Final = 200
_FAULT: Final = (
    "the database does not answer; calls that have budgets are admitted only from what was "
    "taken before"
)

_log = logging.getLogger(__name__)


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long things take, in seconds.

    ``answer_s`` is how long a call waits for the database at most; after a failure it is asked
    again every ``retry_s``. What was idle for ``idle_s`` goes back. That a budget has too little
    left is remembered for ``known_s``.
    """

    answer_s: float = 0.5
    retry_s: float = 1.0
    idle_s: float = 1.0
    known_s: float = 0.2


class Teller:
    """Takes one question at a time to the database.

    Args:
        leases: the store's.
        journal_id: whose leases they are.
        answer_s: after so many seconds without an answer the database counts as away.
        on_away: called when it does.
    """

    def __init__(
        self, leases: Leases, journal_id: str, answer_s: float, on_away: Callable[[], None]
    ) -> None:
        self._leases = leases
        self._journal_id = journal_id
        self._answer_s = answer_s
        self._on_away = on_away
        # Of its own, so that nobody else's questions to a database that hangs are in the way.
        self._thread = ThreadPoolExecutor(1, "budgets")
        self.fault: str | None = None
        """Why there are no answers, in a clause for people; None while there are."""
        self.outages = 0
        """How often the database has gone away so far."""

    async def ask(self, wants: Sequence[Want]) -> list[Answer] | None:
        """The answers, however long they take; None when there are none.

        The database is back when it has answered soon.
        """
        question = self._start(wants)
        soon = await is_done_soon(question, self._answer_s)
        if not soon:
            self._note_failure(f"no answer within {self._answer_s:g} s")
            await asyncio.wait((question,))
        try:
            answers = question.result()
        except Exception as error:  # noqa: BLE001 - budgets stay closed, whatever it was
            self._note_failure(explain_error(error))
            return None
        if soon and self.fault is not None:
            self.fault = None
            _log.warning("the database answers about budgets again")
        return answers

    async def close(self, wants: Sequence[Want]) -> None:
        """Ask for the last time, and wait for the end of it as long as for any answer."""
        question = self._start(wants)
        soon = await is_done_soon(question, self._answer_s)
        if not soon or question.exception() is not None:
            _log.warning("what was taken of budgets goes back when the journal has been shipped")
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start(self, wants: Sequence[Want]) -> "asyncio.Future[list[Answer]]":
        loop = asyncio.get_running_loop()
        question = loop.run_in_executor(self._thread, self._change, wants)
        question.add_done_callback(_forget_failure)
        return question

    def _change(self, wants: Sequence[Want]) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, max(1, len(wants)), _BATCH):
            answers += self._leases.change(self._journal_id, wants[start : start + _BATCH])
        return answers

    def _note_failure(self, reason: str) -> None:
        if self.fault is None:  # once, not at every attempt
            self.fault = _FAULT
            self.outages += 1
            _log.error("%s: %s", _FAULT, reason)
            self._on_away()


def _forget_failure(question: "asyncio.Future[list[Answer]]") -> None:
    """Nobody need look at what became of a question that was given up."""
    if not question.cancelled():
        question.exception()
