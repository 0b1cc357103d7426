"""Fits a model's deadlines to one call: its client may shorten them, and time passes. Pure."""

from typing import Final

from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.wishes import TIMEOUT, Wishes

_MARGIN: Final = 0.05
_MARGIN_MOST_S: Final = 1.0
"""An answer must leave this much before its client gives up, or nobody hears it."""
_LEAST_S: Final = 0.001


def fit_deadlines(deadlines: Deadlines, wishes: Wishes, *, stream: bool) -> Deadlines:
    """The deadlines of one call: those of its model, shortened as its client wishes.

    ``x-trunkline-timeout`` is in seconds and bounds each of them. ``x-stainless-read-timeout``
    says how long the client waits for the next byte: a whole answer comes all at once, so the
    call ends a little before that, while there is somebody to tell. A stream has keep-alives.

    Args:
        deadlines: of the model.
        wishes: of the request.
        stream: the answer is streamed.

    Raises:
        GatewayError: ``invalid_request`` for a wish that is no number of seconds above 0.
    """
    wish = wishes.timeout
    patience = None if stream else wishes.patience
    if wish is None and patience is None:
        return deadlines
    most_s = deadlines.total_s
    if wish is not None:
        wished_s = _read_seconds(wish)
        if wished_s is None:
            raise GatewayError(
                "invalid_request", f"{TIMEOUT.decode()}: expected a number of seconds above 0."
            )
        most_s = min(most_s, wished_s)
    if patience is not None:
        patience_s = _read_seconds(patience)
        if patience_s is not None:
            most_s = min(most_s, patience_s - min(patience_s * _MARGIN, _MARGIN_MOST_S))
    return _bound(deadlines, most_s)


def shorten(deadlines: Deadlines, spent_s: float) -> Deadlines:
    """What is left for an attempt when the call has already taken ``spent_s`` seconds.

    Raises:
        GatewayError: ``upstream_timeout`` when nothing is left.
    """
    left_s = round(deadlines.total_s - spent_s, 3)
    if left_s < _LEAST_S:
        error = GatewayError(
            "upstream_timeout",
            f"The call was not complete within {deadlines.total_s:g} s (total_s).",
        )
        error.cause = "local"
        raise error
    return _bound(deadlines, left_s)


def _bound(deadlines: Deadlines, most_s: float) -> Deadlines:
    """The same, none of them longer than ``most_s``; the total bounds the others anyway."""
    if most_s >= deadlines.total_s:
        return deadlines
    return Deadlines(
        min(deadlines.connect_s, most_s),
        min(deadlines.first_token_s, most_s),
        min(deadlines.idle_s, most_s),
        min(deadlines.total_s, most_s),
    )


def _read_seconds(text: bytes) -> float | None:
    """A number of seconds above 0, None for anything else."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    # Neither of these compares as true with NaN; infinity is no time at all.
    return seconds if 0 < seconds < float("inf") else None
