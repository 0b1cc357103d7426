"""A call: one client request on its way through the gateway."""

import random
from typing import Protocol

import msgspec

from trunkline.events import Usage


class Deadlines(msgspec.Struct, frozen=True):
    """How long each part of an attempt may take, in seconds."""

    connect_s: float = 5
    first_token_s: float = 60
    idle_s: float = 60
    total_s: float = 600


class Reading(Protocol):
    """What one reply of an upstream has told so far."""

    @property
    def usage(self) -> Usage | None:
        """The provider's count."""

    @property
    def counted(self) -> Usage | None:
        """Where the provider has not counted: what passed through, if each token can be told."""

    @property
    def pieces(self) -> int:
        """Pieces of content that came: most servers send one a token."""

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended; None before it has."""


class Call(msgspec.Struct, gc=False):
    """What the gateway knows of one client request while it serves it; changes as it goes.

    Args:
        id: the request id that the client sees.
        started_ns: monotonic clock at the first look at the request.
        at_us: the same moment in microseconds since 1970, UTC.
        upstream_ns: time spent waiting for upstreams so far.
        attempts: tries at targets so far.
        target: ``provider/model`` of the newest attempt, "" before the first.
        changes: what was changed for that target.
        left: header lines that say what is left of the caller's limits.
        route: why it goes where it goes, for a caller who asks; "" for all others.
        begun_ns: the monotonic clock when the newest attempt began.
        sent_ns: when the call was first sent to a target, 0 before.
        first_ns: when the newest attempt's first content came, 0 before.
        sent: requests of the newest attempt that are out and that no upstream has refused.
        caller_paid: it was sent with the caller's own key at the vendor.
        readings: the newest attempt's replies.
    """

    id: str
    started_ns: int
    at_us: int
    upstream_ns: int = 0
    attempts: int = 0
    target: str = ""
    changes: list[str] = []
    left: bytes = b""
    route: str = ""
    begun_ns: int = 0
    sent_ns: int = 0
    first_ns: int = 0
    sent: int = 0
    caller_paid: bool = False
    readings: list[Reading] = []

    def begin_attempt(self, target: str, now_ns: int) -> None:
        """Forget what the attempt before had told."""
        if self.attempts:
            self.first_ns = self.sent = 0
            self.caller_paid = False
            self.readings = []
        self.attempts += 1
        self.target = target
        self.begun_ns = now_ns

    def adopt(self, other: "Call") -> None:
        """Go on with an attempt that was made beside the newest one, and knows of it."""
        self.upstream_ns = other.upstream_ns
        self.target = other.target
        self.changes = other.changes
        self.begun_ns = other.begun_ns
        self.sent_ns = self.sent_ns or other.sent_ns
        self.first_ns = other.first_ns
        self.sent = other.sent
        self.caller_paid = other.caller_paid
        # A list of its own: the attempt that is given up may add to the one it had.
        self.readings = [*other.readings]


def make_request_id(now_ns: int) -> str:
    """A new request id: not secret, never used again.

    It begins with the time (nanoseconds since 1970): ids in order cost a database a third of what
    random ones do.
    """
    number = (now_ns // 1_000_000) << 52 | random.getrandbits(52)
    return "req_" + number.to_bytes(12).hex()
