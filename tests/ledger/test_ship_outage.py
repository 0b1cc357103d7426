"""The database is cut off, frozen, or silent at the worst moment: nothing is lost or doubled."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from ledger.shipping import Told, check_ledger, make_ids, make_shipper, poll, write_calls
from store.line import Line
from store.posted import find_spent
from store.postgres import PASSWORD, find_server, make_schema, make_url
from trunkline.ledger.journal import Journal
from trunkline.ledger.recovery import list_journals
from trunkline.store.postgres import Patience, open_postgres
from trunkline.store.revision import renew_schema
from trunkline.store.store import Store

pytestmark = pytest.mark.postgres

PATIENCE = Patience(connect_s=2, answer_s=0.5, idle_s=1.0)


@pytest.fixture
def line() -> Iterator[Line]:
    with Line(*find_server()) as made:
        yield made


@pytest.fixture
def schema() -> Iterator[str]:
    with make_schema() as options:
        yield options


@pytest.fixture
def near(schema: str) -> Iterator[Store]:
    """A store that is always there."""
    database = open_postgres(make_url(options=schema))
    renew_schema(database)
    made = Store(database)
    yield made
    made.close()


@pytest.fixture
def far(near: Store, schema: str, line: Line) -> Iterator[Store]:
    """The same behind the line, which gives a silent server up soon."""
    made = Store(open_postgres(make_url(line.port, options=schema), PATIENCE))
    yield made
    made.close()


@pytest.mark.parametrize("how", ["freeze", "cut"])
def test_entries_wait_for_the_database(  # noqa: PLR0917
    near: Store,
    far: Store,
    line: Line,
    folder: Path,
    journal: Journal,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Told()
    shipper = make_shipper(far, folder, journal, told)
    ids = make_ids("call", 300)
    write_calls(journal, ids[:10])
    assert shipper.flush(30)
    (line.freeze if how == "freeze" else line.cut)()
    write_calls(journal, ids[10:150])
    poll(lambda: shipper.fault, "the outage is not noticed")
    write_calls(journal, ids[150:])
    assert shipper.waiting_bytes > 0
    assert shipper.waiting_s > 0
    (line.thaw if how == "freeze" else line.mend)()
    assert shipper.flush(30)
    poll(lambda: shipper.fault is None, "the fault stays")
    assert shipper.stop(30)
    check_ledger(near, ids)
    assert told.amounts == find_spent(near)
    assert PASSWORD not in caplog.text
    assert "the ledger is shipped again" in caplog.text


@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_without_an_answer_counts_once(
    near: Store, far: Store, line: Line, folder: Path, journal: Journal, *, arrives: bool
) -> None:
    silenced: list[Connection] = []

    def silence(connection: Connection) -> None:
        """The commit is on its way, and so is silence."""
        if not silenced:
            silenced.append(connection)
            line.strand()

    told = Told()
    shipper = make_shipper(far, folder, journal, told)
    write_calls(journal, ["first"])
    assert shipper.flush(30)
    event.listen(far.database.engine, "commit", silence)
    ids = make_ids("call", 50)
    write_calls(journal, ids[:30])
    poll(lambda: shipper.fault, "the silence is not noticed")
    assert silenced
    if arrives:
        line.thaw()
    write_calls(journal, ids[30:])
    assert shipper.flush(30), shipper.fault
    assert shipper.stop(30)
    line.thaw()
    check_ledger(near, ["first", *ids])
    assert told.amounts == find_spent(near)
    # What came late was there already when the same batch was sent again.
    assert shipper.shipped == (21 if arrives else 51)


def test_a_stop_without_the_database_leaves_the_journal(
    near: Store, far: Store, line: Line, folder: Path, journal: Journal
) -> None:
    shipper = make_shipper(far, folder, journal)
    write_calls(journal, make_ids("call", 5))
    assert shipper.flush(30)
    line.cut()
    write_calls(journal, ["late"], ["open"])
    assert shipper.stop(30) is False
    assert shipper.fault is not None
    assert [path.name for path in list_journals(folder)] == ["own"]
    next_one = make_shipper(near, folder, Journal.create(folder, "next"))
    poll(lambda: not (folder / "own").exists(), "the journal stays")
    assert next_one.stop(30)
    check_ledger(near, [*make_ids("call", 5), "late"], ["open"])
