"""A new place for a store for each test, once for every kind of database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.postgres import make_schema, make_url
from trunkline.store.store import Store, open_store

KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    if request.param == "sqlite":
        yield tmp_path / "trunkline.db"
        return
    with make_schema() as options:
        yield make_url(options=options)


@pytest.fixture
def store(where: Path | str) -> Iterator[Store]:
    opened = open_store(where)
    yield opened
    opened.close()
