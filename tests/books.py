"""What the ledger of a gateway says, once the gateway has stopped and shipped it."""

from contextlib import closing
from pathlib import Path

from trunkline.store.posting import AttemptRow, EntryRow, Posting
from trunkline.store.store import open_store

MOST = 100_000


def read_ledger(where: Path | str) -> list[Posting]:
    """Every call that the database knows, oldest first.

    ``where`` is a gateway's data folder, or a server's URL.
    """
    place = where / "trunkline.db" if isinstance(where, Path) else where
    with closing(open_store(place)) as store:
        entries = store.ledger.list_entries(0, 1 << 62, None, MOST)
        found = [store.ledger.find_entry(entry.id) for entry in entries]
    return [posting for posting in found if posting is not None]


def read_only(path: Path) -> tuple[EntryRow, tuple[AttemptRow, ...]]:
    """The entry and the attempts of the only call."""
    (posting,) = read_ledger(path)
    return posting.entry, posting.attempts
