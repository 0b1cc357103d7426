"""``trunkline accounts`` on a real data folder."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.cli import accounts

Command = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        accounts.add_arguments(parser)
        args = parser.parse_args(words)
        args.data_dir = tmp_path / "data"
        return accounts.run(args)

    return run


def test_an_account_is_created_and_listed(command: Command, capsys: Capture) -> None:
    assert command("create", "team a", "--name", "The A team") == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Created account 'team a'.\n")
    assert command("create", "b") == 0
    assert command("list") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["ID", "NAME", "STATUS", "CREATED"]
    start = head.index("STATUS")
    assert [row[start : start + 6] for row in rows] == ["active", "active"]
    assert rows[0].startswith("team a  The A team  ")
    assert rows[1].startswith("b       -           ")


def test_json_is_for_programs(command: Command, capsys: Capture) -> None:
    command("create", "ü", "--name", 'a "name"')
    capsys.readouterr()
    assert command("list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row.keys() == {"id", "name", "status", "created_at"}
    assert (row["id"], row["name"], row["status"]) == ("ü", 'a "name"', "active")
    assert row["created_at"].endswith("Z")


def test_no_account_is_an_empty_list(command: Command, capsys: Capture) -> None:
    assert command("list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(("account_id", "word"), [("a", "exists already"), (" ", "printable")])
def test_a_fault_is_one_line(command: Command, capsys: Capture, account_id: str, word: str) -> None:
    command("create", "a")
    capsys.readouterr()
    assert command("create", account_id) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trunkline: ")
    assert err.count("\n") == 1
    assert word in err


def test_a_database_that_cannot_be_opened_is_one_line(
    command: Command, capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    assert command("list") == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert str(tmp_path / "data" / "trunkline.db") in err


def test_an_action_is_required(command: Command, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        command()
    assert "create|list" in capsys.readouterr().err
