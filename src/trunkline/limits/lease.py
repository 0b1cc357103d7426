"""The calls under way in one process, as the server of the limits knows them.

Each holds a lease there, which runs out by itself: so a process that is killed takes nothing with
it for longer than that. While a call runs its lease is renewed; when it ends, it is settled.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, TypeVar

import msgspec

from trunkline.limits import gcra
from trunkline.limits.limit import Subject
from trunkline.limits.link import Link, LinkError, load_script

Each = TypeVar("Each")

_SETTLE: Final = load_script("settle")
_RENEW: Final = load_script("renew")
_BATCH: Final = 200


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long things take, in seconds.

    ``answer_s`` is how long the server may take for an answer, a new connection included; after a
    failure it is tried again every ``retry_s``. A lease runs out after ``lease_s``, is renewed
    three times within that, and is settled within it or not at all.
    """

    answer_s: float = 0.25
    retry_s: float = 1.0
    lease_s: float = 30.0

    @property
    def lease_us(self) -> int:
        """The length of a lease in microseconds."""
        return round(self.lease_s * 1_000_000)


class Claim(msgspec.Struct, frozen=True):
    """What a call took: of whom, how many tokens, and the name of its lease."""

    subjects: Sequence[Subject]
    tokens: int
    lease: str


class _Ended(msgspec.Struct, frozen=True):
    """A call that has ended, with the tokens that it did use if they are known."""

    claim: Claim
    actual_tokens: int | None
    by_s: float


class Leases:
    """Keeps the server informed about the calls under way, in rounds, from a task of its own.

    Args:
        link: the conversation with the server.
        prefix: what the names of all keys there begin with.
        patience: how long things take.
        report: told why a round failed, or None when the server has taken a write again.
    """

    def __init__(
        self, link: Link, prefix: str, patience: Patience, report: Callable[[str | None], None]
    ) -> None:
        self._link = link
        self._prefix = prefix
        self._patience = patience
        self._report = report
        self._running: dict[str, Claim] = {}
        self._ended: list[_Ended] = []
        self._away = False
        self._renewal_due_s = 0.0
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._worker: asyncio.Task[None] | None = None

    def hold(self, claim: Claim) -> None:
        """A call is under way, whose lease was just made."""
        self._running[claim.lease] = claim
        self._start()

    def end(self, claim: Claim, actual_tokens: int | None) -> None:
        """A call has ended that is under way, or may be for all the server knows."""
        self._running.pop(claim.lease, None)
        by_s = asyncio.get_running_loop().time() + self._patience.lease_s
        self._ended.append(_Ended(claim, actual_tokens, by_s))
        self._start()
        self._wake.set()

    def doubt(self) -> None:
        """The server has failed somebody: find out now whether it is still there."""
        self._start()
        self._renewal_due_s = 0.0
        self._wake.set()

    async def check(self) -> None:
        """Find out now whether the server is there, and wait for the report."""
        self.doubt()
        await self._go_round()

    async def settle_all(self) -> None:
        """Wait until all that has ended is settled, or the server did not take it."""
        if self._ended or self._turn.locked():
            await self._go_round()

    async def close(self) -> None:
        """Settle all, and look after nothing any more."""
        await self.settle_all()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait((self._worker,))

    def _start(self) -> None:
        if self._worker is None:
            self._renewal_due_s = _read_clock() + self._patience.lease_s / 3
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while True:
            # While the server is away nothing is urgent, however many calls end.
            if self._away:
                await asyncio.sleep(self._patience.retry_s)
            else:
                await self._wait()
            self._wake.clear()
            await self._go_round()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._renewal_due_s):
                await self._wake.wait()

    async def _go_round(self) -> None:
        async with self._turn:
            ended, self._ended = self._ended, []
            try:
                await self._settle(ended)
                if self._away or self._renewal_due_s <= _read_clock():
                    await self._renew()
                    self._report(None)
            except LinkError as error:
                now_s = _read_clock()
                self._ended[:0] = [each for each in ended if each.by_s > now_s]
                self._away = True
                self._report(str(error))
            else:
                self._away = False

    async def _settle(self, ended: Sequence[_Ended]) -> None:
        for batch in _split(ended):
            keys: list[str] = []
            words: list[str | int] = []
            for each in batch:
                for subject in filter(is_leased, each.claim.subjects):
                    keys += name_keys(self._prefix, subject)
                    words += each.claim.lease, _find_change(each, subject)
            await self._link.run(_SETTLE, keys, words)

    async def _renew(self) -> None:
        """Renew every lease, and one that nobody holds: the server must take writes."""
        self._renewal_due_s = _read_clock() + self._patience.lease_s / 3
        leases = [(f"{self._prefix}:probe", "probe")]
        leases += (
            (name_keys(self._prefix, subject)[1], claim.lease)
            for claim in self._running.values()
            for subject in filter(is_leased, claim.subjects)
        )
        for batch in _split(leases):
            keys, names = zip(*batch, strict=True)
            await self._link.run(_RENEW, keys, (self._patience.lease_us, *names))


def is_leased(subject: Subject) -> bool:
    """Whether anything is left to be told about a call of this subject once it has ended."""
    return subject.limits.tpm is not None or subject.limits.concurrent is not None


def name_keys(prefix: str, subject: Subject) -> tuple[str, str]:
    """The keys of a subject's rates and of its runs; both have the same hash tag."""
    tag = f"{prefix}:{{{subject.kind}:{subject.id}}}"
    return f"{tag}:rates", f"{tag}:runs"


def _find_change(ended: _Ended, subject: Subject) -> int:
    """Microseconds to add to the subject's limit of tokens."""
    tpm = subject.limits.tpm
    if tpm is None or ended.actual_tokens is None:
        return 0
    return gcra.find_change(ended.claim.tokens, ended.actual_tokens, tpm)


def _split(many: Iterable[Each]) -> Iterator[list[Each]]:
    rest = iter(many)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _read_clock() -> float:
    return asyncio.get_running_loop().time()
