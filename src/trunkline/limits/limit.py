"""What is limited and for whom, what a call took of it, and how a client is told.

A call is one request, some tokens (estimated when it is admitted, known when it ends), and one of
the calls at once while it runs. Pure: times are microseconds on the limiter's own clock.
"""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Final, Literal

import msgspec

from trunkline.errors import GatewayError
from trunkline.limits import gcra
from trunkline.terms import NO_LIMITS, Kind, Limits

Unit = Literal["requests", "tokens", "calls at once"]

BUSY_WAIT_US: Final = 1_000_000
"""The advice to whom has too many calls at once: nobody knows when one of them ends."""


class Subject(msgspec.Struct, frozen=True):
    """Whose limits they are: those of one key, or those of one account."""

    kind: Kind
    id: str
    limits: Limits


def list_limited(*subjects: Subject) -> tuple[Subject, ...]:
    """Those of the subjects that have limits: what a limiter is asked about."""
    return tuple(subject for subject in subjects if subject.limits != NO_LIMITS)


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What a subject has used: when each limit will be full again, and its calls under way."""

    requests_full_us: int = 0
    tokens_full_us: int = 0
    running: int = 0

    def admit(self, limits: Limits, tokens: int, now_us: int) -> "Standing | None":
        """The standing with one more call; None when a limit has no room for it."""
        rpm, tpm, concurrent = limits.rpm, limits.tpm, limits.concurrent
        requests_us, tokens_us = self.requests_full_us, self.tokens_full_us
        running = self.running + 1
        if concurrent is not None and running > concurrent:
            return None
        if rpm is not None:
            full_us = gcra.admit(requests_us, 1, rpm, now_us)
            if full_us is None:
                return None
            requests_us = full_us
        if tpm is not None:
            full_us = gcra.admit(tokens_us, tokens, tpm, now_us)
            if full_us is None:
                return None
            tokens_us = full_us
        return Standing(requests_us, tokens_us, running)

    def end(self, limits: Limits, taken: int, actual: int | None, now_us: int) -> "Standing":
        """The standing with one call less, whose tokens are now known; None leaves them as taken.

        ``limits`` are those that it was admitted under.
        """
        tokens_us = self.tokens_full_us
        if limits.tpm is not None and actual is not None and actual != taken:
            change_us = gcra.find_change(taken, actual, limits.tpm)
            tokens_us = gcra.true_up(tokens_us, change_us, now_us)
        return Standing(self.requests_full_us, tokens_us, self.running - 1)

    def is_idle(self, now_us: int) -> bool:
        """Whether nothing of it need be remembered."""
        return not self.running and self.requests_full_us <= now_us >= self.tokens_full_us


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a call asked for, of whom, and what each of them stood at afterwards."""

    subjects: Sequence[Subject]
    tokens: int
    standings: Sequence[Standing]
    now_us: int


class Permit(msgspec.Struct):
    """The leave to make one call; it must be ended, once: by ``settle`` or by ``release``.

    Both return at once and never fail, so that a ``finally`` can do it; a second end does nothing.

    Args:
        reading: what the call took, and what was left after it.
        _end: ends it with the tokens that it did use, None when nobody knows.
    """

    reading: Reading
    _end: Callable[[Reading, int | None], None] | None = None

    def settle(self, actual_tokens: int) -> None:
        """The call has ended and used this many tokens: 0 for one that reached no model."""
        end, self._end = self._end, None
        if end is not None:
            end(self.reading, actual_tokens)

    def release(self) -> None:
        """The call has ended and its tokens are not known: the estimate stays taken."""
        end, self._end = self._end, None
        if end is not None:
            end(self.reading, None)


FREE: Final = Permit(Reading((), 0, (), 0))
"""The permit of every call that nobody limits."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a call may not be made now: the limit that needs the longest wait, and whose it is.

    ``wait_us`` is None when no wait can help: the call asks for more than the limit ever holds.
    """

    subject: Subject
    unit: Unit
    wait_us: int | None
    reading: Reading

    @property
    def retry_after_s(self) -> float:
        """Seconds after which a retry may succeed; the longest that clients honour if never."""
        return 60.0 if self.wait_us is None else self.wait_us / 1_000_000

    def make_error(self) -> GatewayError:
        """The refusal as the client is told it: which limit, whose, and how long to wait."""
        limits, tokens = self.subject.limits, self.reading.tokens
        whose = _name_subject(self.subject)
        wait = f"try again in {write_duration(self.wait_us or 0)}."
        if self.unit == "requests":
            text = f"{whose} may make {limits.rpm} requests a minute and has made them; {wait}"
        elif self.unit == "calls at once":
            text = (
                f"{whose} may have {limits.concurrent} calls at once and has them under way; "
                "try again when one has ended."
            )
        elif self.wait_us is None:
            text = (
                f"{whose} may use {limits.tpm} tokens a minute, and this call asks for {tokens}; "
                "shorten the prompt or lower max_tokens."
            )
        else:
            text = (
                f"{whose} may use {limits.tpm} tokens a minute and has too few left for the "
                f"{tokens} that this call asks for; {wait}"
            )
        message = text[0].upper() + text[1:]
        return GatewayError("rate_limit_exceeded", message, retry_after_s=self.retry_after_s)


def explain_refusal(reading: Reading) -> Refusal:
    """Why the subjects, as they stand, have no room for the call that was asked for."""
    waits = [
        (wait_us, unit, subject)
        for subject, standing in zip(reading.subjects, reading.standings, strict=True)
        for unit, wait_us in _list_waits(subject.limits, standing, reading)
    ]
    wait_us, unit, subject = max(waits, key=lambda each: inf if each[0] is None else each[0])
    return Refusal(subject, unit, wait_us, reading)


def _list_waits(
    limits: Limits, standing: Standing, reading: Reading
) -> Iterator[tuple[Unit, int | None]]:
    """How long each limit lets the call wait, in microseconds: None for ever, 0 for not at all."""
    now_us = reading.now_us
    if limits.rpm is not None:
        yield "requests", gcra.find_wait(standing.requests_full_us, 1, limits.rpm, now_us)
    if limits.tpm is not None:
        tokens = reading.tokens
        yield "tokens", gcra.find_wait(standing.tokens_full_us, tokens, limits.tpm, now_us)
    if limits.concurrent is not None:
        yield "calls at once", BUSY_WAIT_US if standing.running >= limits.concurrent else 0


def _name_subject(subject: Subject) -> str:
    return "this API key" if subject.kind == "key" else f"the account {subject.id!r}"


def write_headers(reading: Reading) -> bytes:
    """Header lines that say what is left of the limits a minute: of each, the tightest one's.

    Names and forms are OpenAI's (its guide "Rate limits", section "Rate limits in headers", in a
    copy of June 2026, read 2026-11-22): numbers, and for the time until the limit is full again
    a duration like ``6m0s``.
    Nothing for a limit that nobody has; calls at once have no such headers.
    """
    now_us, count_left = reading.now_us, gcra.count_left
    requests = tokens = 0  # of the limit that is the tightest so far; 0 while there is none
    requests_left = tokens_left = requests_full_us = tokens_full_us = 0
    for subject, standing in zip(reading.subjects, reading.standings):  # noqa: B905 - as long
        rpm, tpm = subject.limits.rpm, subject.limits.tpm
        if rpm is not None:
            full_us = standing.requests_full_us
            left = count_left(full_us, rpm, now_us)
            if not requests or (left, -full_us) < (requests_left, -requests_full_us):
                requests, requests_left, requests_full_us = rpm, left, full_us
        if tpm is not None:
            full_us = standing.tokens_full_us
            left = count_left(full_us, tpm, now_us)
            if not tokens or (left, -full_us) < (tokens_left, -tokens_full_us):
                tokens, tokens_left, tokens_full_us = tpm, left, full_us
    lines = ""
    if requests:
        reset = write_duration(requests_full_us - now_us)
        lines = (
            f"x-ratelimit-limit-requests: {requests}\r\n"
            f"x-ratelimit-remaining-requests: {requests_left}\r\n"
            f"x-ratelimit-reset-requests: {reset}\r\n"
        )
    if tokens:
        reset = write_duration(tokens_full_us - now_us)
        lines += (
            f"x-ratelimit-limit-tokens: {tokens}\r\n"
            f"x-ratelimit-remaining-tokens: {tokens_left}\r\n"
            f"x-ratelimit-reset-tokens: {reset}\r\n"
        )
    return lines.encode()


def write_duration(duration_us: int) -> str:
    """A duration as OpenAI writes it in headers, rounded up to milliseconds.

    Go's form: ``0s``, ``17ms``, ``1s``, ``8.64s``, ``6m0s``, ``1h0m0.5s``. What has passed is 0.
    """
    if duration_us <= 0:
        return "0s"
    duration_ms = -(-duration_us // 1000)
    if 0 < duration_ms < 1000:
        return f"{duration_ms}ms"
    if duration_ms < 60_000:
        return f"{duration_ms / 1000:g}s"
    minutes, rest_ms = divmod(duration_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{f'{hours}h' if hours else ''}{minutes}m{rest_ms / 1000:g}s"
