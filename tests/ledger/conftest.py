"""A new place for a store for each test that asks for one, once for every kind of database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.conftest import store, where  # noqa: F401 - pytest finds the fixtures here
from trunkline.ledger.journal import Journal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where journals are."""
    return tmp_path / "ledger"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    """A worker's journal, of small segments."""
    made = Journal.create(folder, "own", segment_bytes=64 * 1024)
    yield made
    made.close()
