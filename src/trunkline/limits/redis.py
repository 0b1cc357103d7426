"""The limiter of several processes: what is used is counted in one Redis or Valkey server.

One script a call decides and takes, by the server's own clock, so that gateways whose clocks
differ agree; another tells it of the calls that ended, many at a time and never while a client
waits. Every key there expires. A script touches the keys of a call's key and of its account at
once: so the server is a single one (or what answers at one address for a main server that can be
replaced, as Sentinel or a cloud's service do), not a Redis Cluster. A clock that is set back on the
server makes whoever had used up a limit wait for as much longer. Tried with Redis 7.0. Needs
redis-py (the extra ``redis``).
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final

from trunkline.errors import GatewayError
from trunkline.limits import gcra
from trunkline.limits.address import mask_url
from trunkline.limits.lease import Claim, Leases, Patience, is_leased, name_keys
from trunkline.limits.limit import (
    FREE,
    Permit,
    Reading,
    Refusal,
    Standing,
    Subject,
    explain_refusal,
)
from trunkline.limits.limiter import Away
from trunkline.limits.link import Link, LinkError, Reply, load_script
from trunkline.limits.memory import MemoryLimiter
from trunkline.terms import Limits

_ADMIT: Final = load_script("admit")
_FAULTS: Final[dict[Away, str]] = {
    "closed": "the server of the limits does not answer; calls that have limits are refused",
    "open": "the server of the limits does not answer; each process limits its own calls",
}
_NONE: Final = -1

_log = logging.getLogger(__name__)


class RedisLimiter:
    """Limits calls by what all processes that share a server have admitted.

    While the server is away no call waits for it: a task tries it now and then, and once it
    answers again, it decides again.

    Args:
        url: as ``check_url`` lets it pass.
        away: what happens while the server is away.
        patience: how long things take.
        prefix: what the names of all keys on the server begin with; gateways that share a server
            but no limits need one each.
    """

    def __init__(
        self,
        url: str,
        away: Away = "closed",
        patience: Patience | None = None,
        prefix: str = "trunkline",
    ) -> None:
        patience = patience or Patience()
        self._name = mask_url(url)
        self._away: Away = away
        self._lease_us = patience.lease_us
        self._prefix = prefix
        self._link = Link(url, patience.answer_s)
        self._leases = Leases(self._link, prefix, patience, self._note)
        self._local = MemoryLimiter()
        self._fault: str | None = None
        self.outages = 0
        """How often the server has gone away so far."""

    @property
    def fault(self) -> str | None:
        """As ``Limiter.fault``: known once a call with limits has asked, or ``check``."""
        return self._fault

    async def check(self) -> str | None:
        """Ask the server now, and return the ``fault``."""
        await self._leases.check()
        return self._fault

    def decide(self, _subjects: Sequence[Subject], _tokens: int) -> None:
        """The server has to be asked."""

    async def admit(self, subjects: Sequence[Subject], tokens: int) -> Permit | Refusal:
        """As ``Limiter.admit``; raises only while the server is away and ``away`` is closed."""
        if not subjects:
            return FREE
        if self._fault is not None:
            return await self._do_without(subjects, tokens)
        claim = Claim(subjects, tokens, f"{random.getrandbits(96):024x}")
        try:
            reply = await self._ask(claim)
        except LinkError as error:
            self._withdraw(claim)
            self._leases.doubt()
            self._note(str(error))
            return await self._do_without(subjects, tokens)
        except asyncio.CancelledError:
            self._withdraw(claim)
            raise
        reading = _read_reply(reply, claim)
        if not reply[0]:
            return explain_refusal(reading)
        if not any(map(is_leased, subjects)):
            return Permit(reading)
        self._leases.hold(claim)
        return Permit(reading, lambda _, actual_tokens: self._leases.end(claim, actual_tokens))

    async def settle_all(self) -> None:
        """As ``Limiter.settle_all``."""
        await self._leases.settle_all()

    async def close(self) -> None:
        """As ``Limiter.close``."""
        await self._leases.close()
        await self._link.close()

    async def _ask(self, claim: Claim) -> Reply:
        keys: list[str] = []
        words: list[str | int] = [claim.lease, self._lease_us]
        for subject in claim.subjects:
            keys += name_keys(self._prefix, subject)
            words += _list_costs(subject.limits, claim.tokens)
        return await self._link.run(_ADMIT, keys, words)

    def _withdraw(self, claim: Claim) -> None:
        """Give back what an admission may have taken that nobody has an answer of."""
        if any(map(is_leased, claim.subjects)):
            self._leases.end(claim, 0)

    async def _do_without(self, subjects: Sequence[Subject], tokens: int) -> Permit | Refusal:
        if self._away == "open":
            return await self._local.admit(subjects, tokens)
        raise GatewayError(
            "overloaded",
            "The gateway cannot tell at the moment what is left of the limits; try again.",
            retry_after_s=1,
        )

    def _note(self, reason: str | None) -> None:
        """The server has answered, or failed for a reason."""
        if reason is None:
            if self._fault is not None:
                _log.warning("the limits at %s answer again", self._name)
            self._fault = None
        elif self._fault is None:  # once, not at every attempt
            self._fault = _FAULTS[self._away]
            self.outages += 1
            _log.error("%s: %s: %s", self._name, self._fault, reason)


def _list_costs(limits: Limits, tokens: int) -> tuple[int, int, int]:
    """What the script takes of a subject: both costs in microseconds, and the calls at once."""
    return (
        _NONE if limits.rpm is None else gcra.find_cost(1, limits.rpm),
        _NONE if limits.tpm is None else gcra.find_cost(tokens, limits.tpm),
        _NONE if limits.concurrent is None else limits.concurrent,
    )


def _read_reply(reply: Reply, claim: Claim) -> Reading:
    _, now_us, *rest = reply
    standings = [Standing(*rest[at : at + 3]) for at in range(0, len(rest), 3)]
    return Reading(claim.subjects, claim.tokens, standings, now_us)
