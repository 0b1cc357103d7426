"""A new store for each test: in a file, or once for every kind of database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.conftest import KINDS
from store.postgres import make_schema, make_url
from trunkline.store.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "trunkline.db")
    yield opened
    opened.close()


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    """Where a store of every kind can be opened."""
    if request.param == "sqlite":
        yield tmp_path / "trunkline.db"
        return
    with make_schema() as options:
        yield make_url(options=options)


@pytest.fixture
def any_store(place: Path | str) -> Iterator[Store]:
    """A store of every kind."""
    opened = open_store(place)
    yield opened
    opened.close()
