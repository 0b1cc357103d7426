"""The arithmetic of a limit per minute: the generic cell rate algorithm, in whole microseconds.

A limit of N a minute is a minute's worth of time: taking n costs n / N of a minute, and time pays
it back. All that is remembered of a limit is one instant, when it will be full again; in the past
means that it is full now. A full limit can be taken at once, so that any span of s seconds sees
at most N + N * s / 60. The same instant serves while a limit is raised or lowered: what was used
stays used in proportion. Pure: times are microseconds on any clock that the caller sticks to.
"""

from typing import Final

MINUTE_US: Final = 60_000_000


def find_cost(amount: int, per_minute: int) -> int:
    """What taking an amount costs, in microseconds, rounded up so that no limit is exceeded.

    ``per_minute`` is 1 or more.
    """
    return -(-amount * MINUTE_US // per_minute)


def find_change(taken: int, actual: int, per_minute: int) -> int:
    """What it costs more, in microseconds, to have taken the actual amount; negative for less."""
    return (-taken * MINUTE_US // per_minute) - (-actual * MINUTE_US // per_minute)


def admit(full_at_us: int, amount: int, per_minute: int, now_us: int) -> int | None:
    """When the limit will be full again after the amount is taken; None if it has no room."""
    # Not max(), and no other function, here and below: this is asked up to four times a call.
    start_us = full_at_us if full_at_us > now_us else now_us  # noqa: FURB136
    after_us = start_us - (-amount * MINUTE_US // per_minute)
    return None if after_us > now_us + MINUTE_US else after_us


def find_wait(full_at_us: int, amount: int, per_minute: int, now_us: int) -> int | None:
    """Microseconds until the amount can be taken if nobody else takes any, 0 for now.

    None if it can never be taken, because it is more than the limit.
    """
    cost_us = find_cost(amount, per_minute)
    if cost_us > MINUTE_US:
        return None
    return max(0, find_reset(full_at_us, now_us) + cost_us - MINUTE_US)


def true_up(full_at_us: int, change_us: int, now_us: int) -> int:
    """When the limit will be full again once a cost that was taken is changed afterwards.

    What is given back never makes a limit more than full. What is added may leave it in debt:
    then nothing can be taken until time has paid.
    """
    start_us = full_at_us if full_at_us > now_us else now_us  # noqa: FURB136
    after_us = start_us + change_us
    return after_us if after_us > now_us else now_us  # noqa: FURB136


def count_left(full_at_us: int, per_minute: int, now_us: int) -> int:
    """The largest amount that could be taken now."""
    used_us = full_at_us - now_us
    if used_us <= 0:
        return per_minute
    return (MINUTE_US - used_us) * per_minute // MINUTE_US if used_us < MINUTE_US else 0


def find_reset(full_at_us: int, now_us: int) -> int:
    """Microseconds until the limit is full again; 0 when it is."""
    return max(0, full_at_us - now_us)
