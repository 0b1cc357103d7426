"""What a batch of calls adds: entries one by one, or in series that are alike, and their sums.

Nearly all calls of a batch are like many others of it: of the same key, to the same model, with
the same end. What they share is bound once for several of them, and the rest summed up by column.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import add
from typing import Any, Final

import msgspec

from trunkline.store.posting import DAY_US, DayRow, EntryRow, Posting
from trunkline.terms import Charge, Window

SHARED: Final = slice(2, 14)
"""Which fields of an entry the entries of a series share, from ``account_id`` on."""

_NAMES: Final = EntryRow.__struct_fields__
SHARED_NAMES: Final = _NAMES[SHARED]
OWN_NAMES: Final = _NAMES[: SHARED.start] + _NAMES[SHARED.stop :]

_STREAM: Final = SHARED_NAMES.index("stream")
_AT: Final = OWN_NAMES.index("at_us")
_COST: Final = OWN_NAMES.index("cost_micros")
_TOKENS: Final = slice(OWN_NAMES.index("input_tokens"), _COST)


class Series(msgspec.Struct, frozen=True, gc=False):
    """Entries of one day that share what ``SHARED_NAMES`` names, and have no rows of attempts.

    ``shared`` are these values, ``stream`` as 0 or 1; ``own`` are those of ``OWN_NAMES``, one
    entry's behind another's; ``charges`` are what each entry is charged.
    """

    shared: tuple[Any, ...]
    own: list[Any]
    charges: list[tuple[Charge, ...]]

    def column(self, place: int) -> list[Any]:
        """The values of one of ``OWN_NAMES``."""
        return self.own[place :: len(OWN_NAMES)]

    def list_entries(self) -> list[EntryRow]:
        """The entries as rows."""
        own, width, before = self.own, len(OWN_NAMES), SHARED.start
        shared = [*self.shared]
        shared[_STREAM] = bool(shared[_STREAM])
        return [
            EntryRow(*own[at : at + before], *shared, *own[at + before : at + width])
            for at in range(0, len(own), width)
        ]

    def list_postings(self) -> list[Posting]:
        """The entries one by one."""
        pairs = zip(self.list_entries(), self.charges, strict=True)
        return [Posting(entry, (), charges) for entry, charges in pairs]


class Load:
    """What a batch of calls adds.

    ``charges`` are those of all, one for each window.

    Args:
        postings: calls one by one.
        series: more calls. Any of them may come several times.
    """

    def __init__(self, postings: Sequence[Posting], series: Sequence[Series] = ()) -> None:
        self.postings = postings
        self.series = series
        every = [posting.charges for posting in postings]
        every += chain.from_iterable(each.charges for each in series)
        self.charges = sum_charges(chain.from_iterable(every))
        self.count = len(every)

    def list_postings(self) -> list[Posting]:
        """All calls one by one."""
        return [*self.postings, *chain.from_iterable(each.list_postings() for each in self.series)]


def sum_days(load: Load) -> list[DayRow]:
    """What entries add to the sums of their days, ordered by key."""
    sums: dict[tuple[int, str, str, str], list[int]] = {}
    for series in load.series:
        _add_up(sums, series)
    for posting in load.postings:
        row = msgspec.structs.astuple(posting.entry)
        own = [*row[: SHARED.start], *row[SHARED.stop :]]
        _add_up(sums, Series(row[SHARED], own, [posting.charges]))
    return [DayRow(*key, *sums[key]) for key in sorted(sums)]


def sum_charges(charges: Iterable[Charge]) -> list[Charge]:
    """Charges with one for each window, in the windows' order: all writers lock them in it."""
    sums: dict[Window, int] = {}
    for charge in charges:
        window = charge.window
        sums[window] = sums.get(window, 0) + charge.amount
    ordered = sorted(sums, key=msgspec.structs.astuple)
    return [Charge(window, sums[window]) for window in ordered if sums[window]]


def _add_up(sums: dict[tuple[int, str, str, str], list[int]], series: Series) -> None:
    account_id, key_id, model, _, _, status, *_, source = series.shared
    own, calls, costs = series.own, len(series.charges), series.column(_COST)
    added = [
        calls,
        calls if status in {"failed", "refused"} else 0,
        costs.count(None),
        calls if status == "lost" or (source == "none" and status != "refused") else 0,
        *_sum_tokens(own, calls),
        sum(filter(None, costs)),
    ]
    key = (own[_AT] // DAY_US, account_id, key_id, model)
    known = sums.get(key)
    sums[key] = added if known is None else list(map(add, known, added))


def _sum_tokens(own: list[Any], calls: int) -> list[int]:
    first, end, width = _TOKENS.start, _TOKENS.stop, len(OWN_NAMES)
    if calls > end - first:  # more rows than columns
        return [sum(own[place::width]) for place in range(first, end)]
    tokens = own[_TOKENS]
    for at in range(width, len(own), width):
        tokens = list(map(add, tokens, own[at + first : at + end]))
    return tokens
