"""A limiter: decides whether a call may be made now, and takes what it needs if so."""

from collections.abc import Sequence
from typing import Literal, Protocol

from trunkline.limits.address import check_url, mask_url
from trunkline.limits.limit import Permit, Refusal, Subject
from trunkline.limits.memory import MemoryLimiter

Away = Literal["closed", "open"]
"""What happens to calls with limits while the server of the limits is away: they are refused, or
each process limits its own."""


class LimiterError(Exception):
    """The limiter cannot be opened."""


class Limiter(Protocol):
    """What every limiter can do, wherever it counts."""

    @property
    def fault(self) -> str | None:
        """Why the limits do not hold as they should, in a clause for people; None if they do."""

    def decide(self, subjects: Sequence[Subject], tokens: int) -> Permit | Refusal | None:
        """As ``admit``, where that can be decided here and now; None where it cannot."""

    async def admit(self, subjects: Sequence[Subject], tokens: int) -> Permit | Refusal:
        """Take one request, some tokens and one call at once from all subjects, or from none.

        Args:
            subjects: those that have limits, as ``list_limited`` returns them.
            tokens: the most that the call may use.

        Raises:
            GatewayError: ``overloaded``, when it cannot be decided.
        """

    async def check(self) -> str | None:
        """Find out now whether the limits can be told, and return the ``fault``."""

    async def settle_all(self) -> None:
        """Wait until every permit that has ended counts as ended, or cannot be told so."""

    async def close(self) -> None:
        """Settle all and let go of every connection; nobody may ask afterwards."""


def open_limiter(url: str, away: Away = "closed") -> Limiter:
    """The limiter of a ``store.limits_url``; nothing is connected before its first use.

    Args:
        url: as ``check_url`` lets it pass.
        away: what happens while the server is away.

    Raises:
        LimiterError: the URL needs a package that is not installed.
        ValueError: the URL cannot be one.
    """
    check_url(url)
    if url == "memory":
        return MemoryLimiter()
    try:
        from trunkline.limits.redis import RedisLimiter  # noqa: PLC0415 - redis is an extra
    except ImportError as error:
        raise LimiterError(
            f"cannot keep limits in {mask_url(url)}: redis is missing ({error}); "
            "install it with: pip install 'trunkline[redis]'"
        ) from error
    return RedisLimiter(url, away)
