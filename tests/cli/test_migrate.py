"""``trunkline migrate`` on real databases: what it says, and its exit codes."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from store.postgres import PASSWORD, make_schema, make_url
from trunkline.cli import migrate
from trunkline.store.schema import REVISION
from trunkline.store.store import open_store

Command = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        migrate.add_arguments(parser)
        args = parser.parse_args(words)
        args.data_dir = tmp_path / "data"
        return migrate.run(args)

    return run


def write_config(tmp_path: Path, url: str) -> str:
    path = tmp_path / "trunkline.toml"
    path.write_text(f"[store]\nurl = '{url}'\n")
    return str(path)


def expect_fault(capsys: Capture, word: str) -> None:
    out, err = capsys.readouterr()
    assert out == ""
    assert word in err
    assert PASSWORD not in err


def test_the_file_in_the_data_folder_is_created_once(
    command: Command, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "data" / "trunkline.db"
    assert command() == 0
    assert capsys.readouterr().out == f"{path}: created at revision {REVISION}\n"
    assert command() == 0
    assert capsys.readouterr().out == f"{path}: already at revision {REVISION}\n"
    open_store(path).close()


def test_the_configuration_may_say_sqlite(
    command: Command, tmp_path: Path, capsys: Capture
) -> None:
    assert command("--config", write_config(tmp_path, "sqlite")) == 0
    assert "created at revision" in capsys.readouterr().out
    assert (tmp_path / "data" / "trunkline.db").exists()


@pytest.mark.postgres
def test_a_server_is_migrated_and_its_password_not_shown(
    command: Command, tmp_path: Path, capsys: Capture
) -> None:
    with make_schema() as options:
        url = make_url(options=options)
        for word in ("created at", "already at"):
            assert command("--config", write_config(tmp_path, url)) == 0
            out, err = capsys.readouterr()
            assert out.startswith("postgresql://")
            assert f"{word} revision {REVISION}\n" in out
            assert PASSWORD not in out + err
        open_store(url).close()


def test_a_server_that_is_away_is_one_line(
    command: Command, tmp_path: Path, capsys: Capture
) -> None:
    url = f"postgresql://me:{PASSWORD}@127.0.0.1:1/a"
    assert command("--config", write_config(tmp_path, url)) == 1
    expect_fault(capsys, "trunkline: cannot open the database postgresql://me@127.0.0.1:1/a: ")


def test_a_database_of_a_newer_version_is_left_alone(
    command: Command, tmp_path: Path, capsys: Capture
) -> None:
    store = open_store(tmp_path / "data" / "trunkline.db")
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    assert command() == 1
    expect_fault(capsys, "newer Trunkline (schema 9999")


@pytest.mark.parametrize("url", ["mysql://h/a", f"postgresql://me:@{PASSWORD}@h/a"])
def test_a_faulty_configuration_is_another_exit_code(
    command: Command, tmp_path: Path, capsys: Capture, url: str
) -> None:
    assert command("--config", write_config(tmp_path, url)) == 2
    expect_fault(capsys, "trunkline.toml:2: store.url: expected")


def test_a_missing_configuration_is_one_too(
    command: Command, tmp_path: Path, capsys: Capture
) -> None:
    assert command("--config", str(tmp_path / "none.toml")) == 2
    expect_fault(capsys, "none.toml: cannot be read")
