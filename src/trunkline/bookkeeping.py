"""Everything behind the desk of one worker: limits, budgets, prices, the journal, its shipping."""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trunkline.admission import Desk
from trunkline.ledger.journal import Journal
from trunkline.ledger.price_list import PriceList
from trunkline.ledger.retention import remove_old
from trunkline.ledger.ship import Shipper
from trunkline.limits.limiter import open_limiter
from trunkline.limits.purse import Purse
from trunkline.observe.metrics import Family, Sample
from trunkline.settings import Settings
from trunkline.store.store import Store

FOLDER: Final = "ledger"
"""The folder of the journals, in the data folder."""
TIDY_EVERY_S: Final = 3600.0
KEEP_WINDOWS_US: Final = 400 * 86_400_000_000
"""Longer than any period of a budget that ends."""
STOP_S: Final = 10.0
"""How long the end of a worker waits for the database; what is not shipped then is kept."""

_log = logging.getLogger(__name__)


class Bookkeeping:
    """Opens, watches and closes what admits and settles calls.

    Args:
        settings: the operator's.
        store: a database that everything is kept in.
        data_dir: in which the journals lie.
    """

    def __init__(self, settings: Settings, store: Store, data_dir: Path) -> None:
        self._store = store
        self._keep_days = settings.ledger.keep_days
        journal_id = secrets.token_hex(8)
        folder = data_dir / FOLDER
        self._limiter = open_limiter(settings.store.limits_url, settings.store.limits_away)
        self._journal = Journal.create(folder, journal_id)
        self._purse = Purse(store.leases, journal_id)
        self._shipper = Shipper(store.ledger, folder, self._journal)
        prices = PriceList(
            settings.prices,
            {name: row.prices for name, row in settings.providers.items() if row.prices},
        )
        prices.load()
        self.desk = Desk(self._limiter, self._purse, prices, self._journal)
        self._tidying: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ship what is written, from now on, and remove what is old."""
        self._shipper.start()
        self._tidying = asyncio.get_running_loop().create_task(self._tidy())

    async def close(self) -> None:
        """Settle everything; what the database does not take in time is kept for the next start."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait((self._tidying,))
        await self._limiter.close()
        await asyncio.to_thread(self._shipper.stop, STOP_S)
        await self._purse.close()
        self._journal.close()

    async def check(self) -> None:
        """Find out how the limits' server is: nothing else has to be asked."""
        await self._limiter.check()

    def list_faults(self) -> dict[str, str]:
        """Why calls are refused that should not be: a reason by the part that fails."""
        return {"ledger": fault} if (fault := self._journal.fault) else {}

    def list_warnings(self) -> dict[str, str]:
        """What works for now, but not as it should: a reason by part."""
        parts = {
            "limits": self._limiter.fault,
            "budgets": self._purse.fault,
            "shipping": self._shipper.fault,
        }
        return {name: fault for name, fault in parts.items() if fault}

    def list_families(self) -> Iterable[Family]:
        """The metrics of the accounts."""
        yield from self.desk.tally.list_families()
        faults = self.list_faults() | self.list_warnings()
        yield Family(
            "trunkline_part_up",
            "Whether a part of the accounts works as it should: 1 or 0.",
            "gauge",
            tuple(
                Sample(0 if part in faults else 1, {"part": part})
                for part in ("ledger", "limits", "budgets", "shipping")
            ),
        )
        yield Family(
            "trunkline_ledger_dropped",
            "Records of calls that could not be written to the journal.",
            "counter",
            (Sample(self._journal.dropped),),
        )
        yield Family(
            "trunkline_ledger_shipped",
            "Entries that this worker has moved to the database.",
            "counter",
            (Sample(self._shipper.shipped),),
        )
        yield Family(
            "trunkline_ledger_waiting_seconds",
            "For how long the oldest record has waited that is not in the database yet.",
            "gauge",
            (Sample(self._shipper.waiting_s),),
        )

    def _remove_old(self) -> None:
        now_us = time.time_ns() // 1000
        remove_old(self._store, self._keep_days, now_us)
        self._store.leases.remove_windows(now_us - KEEP_WINDOWS_US)

    async def _tidy(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._remove_old)
            except Exception as error:  # noqa: BLE001 - tried again; no call depends on it
                _log.warning("old entries of the ledger could not be removed: %s", error)
            await asyncio.sleep(TIDY_EVERY_S)
