"""``trunkline accounts`` on a real data folder."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.cli import accounts
from trunkline.cli.operator import name_operator
from trunkline.store.store import open_store

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


def list_all(command: Command, capsys: Capture) -> list[dict[str, object]]:
    assert command("list", "--json") == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_an_account_is_created_and_listed(command: Command, capsys: Capture) -> None:
    assert command("create", "team a", "--name", "The A team") == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Created account 'team a'.\n")
    assert command("create", "b") == 0
    assert command("list") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("ID", "NAME", "STATUS", "LIMITS", "BUDGETS", "SHARE", "PRIORITY", "CREATED")
    ]
    start = head.index("STATUS")
    assert [row[start : start + 6] for row in rows] == ["active", "active"]
    assert rows[0].startswith("team a  The A team  ")
    assert rows[1].startswith("b       -           ")


def test_json_is_for_programs(command: Command, capsys: Capture) -> None:
    command("create", "ü", "--name", 'a "name"')
    capsys.readouterr()
    assert command("list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row.pop("created_at").endswith("Z")
    assert row == {
        "id": "ü",
        "name": 'a "name"',
        "status": "active",
        "limits": {"rpm": None, "tpm": None, "concurrent": None},
        "budgets": [],
        "leaving": "cancel",
        "over_budget": "refuse",
        "share": 1,
        "priority": "normal",
    }


def test_limits_budgets_and_policies_are_set_and_removed(
    command: Command, capsys: Capture, tmp_path: Path
) -> None:
    words = "--rpm 60 --budget-usd 12.50 --budget-tokens 9 --leaving drain --over-budget clamp"
    assert command("create", "a", *words.split()) == 0
    expected = "60 rpm, $12.50 a month, 9 tokens a month"
    assert capsys.readouterr().err == f"Created account 'a': {expected}.\n"
    words = "--status suspended --tpm 1000 --budget-usd 0.000001 --budget-period day"
    assert command("set", "a", *words.split()) == 0
    expected = "60 rpm, 1000 tpm, $12.50 a month, 9 tokens a month, $0.000001 a day"
    assert f"'a' (suspended): {expected};" in capsys.readouterr().err
    assert command("set", "a", "--rpm", "none", "--budget-usd", "none", "--leaving", "cancel") == 0
    assert command("set", "a", "--name", "A", "--status", "active") == 0
    capsys.readouterr()
    (row,) = list_all(command, capsys)
    assert (row["name"], row["status"]) == ("A", "active")
    assert row["limits"] == {"rpm": None, "tpm": 1000, "concurrent": None}
    assert row["budgets"] == [{"period": "month", "tokens": 9}]
    assert (row["leaving"], row["over_budget"]) == ("cancel", "clamp")
    store = open_store(tmp_path / "data" / "trunkline.db")
    entries = store.audit.list()
    store.close()
    assert [entry.action for entry in entries] == ["account.change"] * 3 + ["account.create"]
    assert {entry.actor for entry in entries} == {name_operator()}


def test_share_and_priority_are_set_one_by_one(command: Command, capsys: Capture) -> None:
    assert command("create", "a", "--share", "3") == 0
    assert command("set", "a", "--priority", "low") == 0
    capsys.readouterr()
    (row,) = list_all(command, capsys)
    assert (row["share"], row["priority"]) == (3, "low")
    assert command("list") == 0
    head, shown = capsys.readouterr().out.splitlines()
    assert shown[head.index("SHARE") :].split()[:2] == ["3", "low"]


def test_the_table_shows_limits_and_budgets(command: Command, capsys: Capture) -> None:
    command("create", "a", "--concurrent", "4", "--budget-usd", "5", "--budget-period", "total")
    capsys.readouterr()
    assert command("list") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert row[head.index("LIMITS") :].startswith("4 at once  ")
    assert row[head.index("BUDGETS") :].startswith("$5.00 in total  ")


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("set a", "nothing to change"),
        ("set b --name B", "accounts create b"),
        ("set a --rpm 0", "1 or more"),
        ("set a --share 0", "from 1 to 1000"),
        ("set a --share 1001", "from 1 to 1000"),
        ("set a --rpm -5", "whole number"),
        ("set a --tpm 1e3", "whole number"),
        ("set a --rpm 1000000000001", "at most 1,000,000,000,000"),
        ("set a --budget-usd 1000000001", "at most 1,000,000,000 dollars"),
        ("set a --budget-usd 1.0000001", "more than 6 decimals"),
        ("set a --budget-period day", "--budget-usd or --budget-tokens"),
        ("create b --rpm 0", "1 or more"),
    ],
)
def test_a_change_that_cannot_be_is_one_line_and_changes_nothing(
    command: Command, capsys: Capture, words: str, word: str
) -> None:
    command("create", "a", "--rpm", "7")
    capsys.readouterr()
    before = list_all(command, capsys)
    assert command(*words.split()) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("trunkline: ")
    assert word in err
    assert list_all(command, capsys) == before


def test_accounts_are_kept_without_a_pepper(command: Command, tmp_path: Path) -> None:
    assert command("create", "a") == 0
    assert not (tmp_path / "data" / "pepper").exists()


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
    assert "create|list|set" in capsys.readouterr().err
