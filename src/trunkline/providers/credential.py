"""Credentials that end: who signs requests with them, and how they are renewed in time."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from trunkline.errors import GatewayError

Value = TypeVar("Value")

_LEAD_S: Final = 225.0
"""How long before its end a credential is renewed. Metadata servers may hand out the old one
until 4 (Google) or 5 (AWS) minutes before its end: asking sooner may bring nothing new."""
_LEAD_SHARE: Final = 0.2
"""The same for what lives shorter: a share of its life."""
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0
_TICK_S: Final = 0.01

_log = logging.getLogger(__name__)


class Signer(Protocol):
    """Adds to each request of one provider what proves who we are."""

    def sign(self, path: str, body: bytes) -> bytes | None:
        """Header lines for a POST, each ended by CR LF; None when no credential is at hand yet.

        Args:
            path: the request target as it stands in the request line.
            body: the whole body.
        """

    async def ready(self) -> None:
        """Wait until ``sign`` has a credential.

        Raises:
            GatewayError: ``upstream_auth`` when none can be had.
        """

    async def close(self) -> None:
        """Stop renewing."""


class Issued(msgspec.Struct, Generic[Value], frozen=True):
    """A credential and the time at which it ends, in seconds since 1970."""

    value: Value
    ends_at_s: float = math.inf


class Source(Protocol[Value]):
    """Where a credential comes from."""

    async def obtain(self) -> Issued[Value]:
        """A credential, asked for anew.

        Raises:
            GatewayError: there is none; the message says why and holds no secret.
        """

    async def close(self) -> None:
        """Close the connections that wait."""


class Keeper(Generic[Value]):
    """Holds one credential and renews it in a task of its own, so that no call waits for that.

    A renewal that fails is tried again after 1 s, 2 s, 4 s and so on up to 30 s: unasked while
    the old credential counts, by the next call after its end.

    Args:
        name: what the credential is for, in log lines and errors.
        source: where it comes from; closed with the keeper.
        clock: seconds since 1970.
    """

    def __init__(self, name: str, source: Source[Value], clock: Callable[[], float]) -> None:
        self._name = name
        self._source = source
        self._clock = clock
        self._issued: Issued[Value] | None = None
        self._due_s = 0.0  # when to ask the source again, by the clock
        self._failures = 0
        self._reason = "the last one has ended"
        self._renewal: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def peek(self) -> Value | None:
        """The credential at hand; None when there is none, or it has ended."""
        issued = self._issued
        if issued is None:
            return None
        now_s = self._clock()
        if now_s >= self._due_s:
            self._renew()
        return issued.value if now_s < issued.ends_at_s else None

    async def ready(self) -> None:
        """Wait until a credential is at hand.

        Raises:
            GatewayError: ``upstream_auth`` when the source has none, or had none a moment ago.
        """
        if self.peek() is not None:
            return
        if self._renewal is not None or self._failures == 0 or self._clock() >= self._due_s:
            # Not awaited itself: a call that is given up must not end the others' renewal.
            await asyncio.wait((self._renew(),))
        if self.peek() is None:
            raise GatewayError("upstream_auth", f"No credential for {self._name}: {self._reason}")

    async def close(self) -> None:
        """Stop renewing, and close the source."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait((self._renewal,))
        await self._source.close()

    def _renew(self) -> asyncio.Task[None]:
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().create_task(self._ask())
        return self._renewal

    async def _ask(self) -> None:
        try:
            issued = await self._source.obtain()
        except GatewayError as error:
            self._note_failure(error.message)
        except Exception as error:  # noqa: BLE001 - calls need an answer, whatever it was
            _log.exception("a source of credentials for %s has a fault", self._name)
            self._note_failure(f"an internal error ({type(error).__name__})")
        else:
            self._take(issued)
        finally:
            self._renewal = None

    def _take(self, issued: Issued[Value]) -> None:
        now_s = self._clock()
        left_s = issued.ends_at_s - now_s
        if left_s <= 0:
            self._note_failure("what came had ended already; is the clock of this machine right?")
            return
        if self._failures:
            _log.info("the credential for %s has been renewed", self._name)
        self._issued = issued
        self._failures = 0
        self._due_s = issued.ends_at_s - min(_LEAD_S, left_s * _LEAD_SHARE)
        self._arm()

    def _note_failure(self, reason: str) -> None:
        now_s = self._clock()
        retry_s = min(_FIRST_RETRY_S * 2.0 ** min(self._failures, 16), _LAST_RETRY_S)
        self._failures += 1
        self._reason = reason
        self._due_s = now_s + retry_s
        issued = self._issued
        if issued is None or now_s >= issued.ends_at_s:
            self._issued = None
            _log.error("no credential for %s: %s", self._name, reason)
        else:
            left_s = issued.ends_at_s - now_s
            text = "the credential for %s, good for %.0f s more, cannot be renewed: %s"
            _log.warning(text, self._name, left_s, reason)
            self._arm()

    def _arm(self) -> None:
        """Renew when it is due even if no call comes by."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due_s < math.inf:
            delay_s = max(self._due_s - self._clock(), _TICK_S)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._clock() >= self._due_s:
            self._renew()
        else:  # the clock was set, or the timer was early
            self._arm()
