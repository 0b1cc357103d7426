"""A session with the store ends in an exit code and at most one line."""

import sqlite3
from pathlib import Path

import pytest

from trunkline.cli.session import run_session
from trunkline.store.store import Store


def test_a_session_creates_the_store_and_closes_it(tmp_path: Path) -> None:
    seen: list[Store] = []
    assert run_session(tmp_path / "data", seen.append) == 0
    assert len(seen) == 1
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "trunkline.db",
        "trunkline.db.lock",
    ]  # SQLite removes its log when the last connection is closed


def test_a_database_that_does_not_answer_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_store(store: Store) -> None:
        other = sqlite3.connect(tmp_path / "trunkline.db")
        other.execute("DROP TABLE accounts")
        other.close()
        store.accounts.list()

    assert run_session(tmp_path, break_store) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "trunkline: the database does not answer: no such table: accounts\n"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), BrokenPipeError()], ids=repr)
def test_what_the_operator_cannot_mend_goes_on_up(tmp_path: Path, error: Exception) -> None:
    def fail(store: Store) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run_session(tmp_path, fail)
    assert caught.value is error


def test_the_configuration_says_which_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "trunkline.toml"
    config.write_text("[store]\nurl = 'sqlite'\n")
    seen: list[Store] = []
    assert run_session(tmp_path / "data", seen.append, config) == 0
    assert seen[0].database.name == str(tmp_path / "data" / "trunkline.db")
    config.write_text("[store]\nurl = 'postgresql://me:pw-canary@127.0.0.1:1/a'\n")
    assert run_session(tmp_path / "data", seen.append, config) == 1
    assert "cannot open the database postgresql://me@127.0.0.1:1/a" in capsys.readouterr().err
    config.write_text("[store]\nurl = 'postgresql://me:pw-canary'\n")
    assert run_session(tmp_path / "data", seen.append, config) == 2
    out, err = capsys.readouterr()
    assert (out, len(seen)) == ("", 1)
    assert "trunkline.toml:2: store.url: expected" in err
    assert "canary" not in err
