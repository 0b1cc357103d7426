"""``trunkline keys`` on a real data folder: the key is shown once, and only there."""

import argparse
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trunkline.access.bootstrap import ensure_bootstrap
from trunkline.access.key import NewKey, create_key, hash_key
from trunkline.access.pepper import load_pepper
from trunkline.cli import keys
from trunkline.cli.operator import name_operator
from trunkline.store.audit import AuditEntry
from trunkline.store.store import open_store

Command = Callable[..., int]
Capture = pytest.CaptureFixture[str]

DAY_US = 86_400_000_000


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    store = open_store(tmp_path / "data" / "trunkline.db")
    for account_id in ("a", "team b"):
        store.accounts.create(account_id, "", 1)
    store.close()
    return tmp_path / "data"


@pytest.fixture
def command(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("TRUNKLINE_PEPPER", raising=False)

    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        keys.add_arguments(parser)
        args = parser.parse_args(words)
        args.data_dir = data_dir
        return keys.run(args)

    return run


def create_one(command: Command, capsys: Capture, *words: str) -> str:
    assert command("create", *words) == 0
    return capsys.readouterr().out.strip()


def list_all(command: Command, capsys: Capture, *words: str) -> list[dict[str, object]]:
    assert command("list", "--json", *words) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def expect_fault(capsys: Capture, word: str) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trunkline: ")
    assert err.count("\n") == 1
    assert word in err
    return err


def test_a_created_key_stands_alone_on_stdout(command: Command, capsys: Capture) -> None:
    assert command("create", "--account", "team b") == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"tl-[\w-]{43}\n", out, re.ASCII)
    assert "'team b'" in err
    assert out.strip() not in err


def test_it_works_with_the_pepper_of_the_data_folder(
    command: Command, capsys: Capture, data_dir: Path
) -> None:
    text = create_one(command, capsys, "--account", "a")
    store = open_store(data_dir / "trunkline.db")
    digest = hash_key(load_pepper(data_dir), text.encode())
    assert len(store.keys.find_by_hash([digest])) == 1
    store.close()


def test_the_pepper_of_the_environment_wins(
    command: Command, capsys: Capture, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_PEPPER", "ab" * 32)
    text = create_one(command, capsys, "--account", "a")
    store = open_store(data_dir / "trunkline.db")
    assert len(store.keys.find_by_hash([hash_key(b"\xab" * 32, text.encode())])) == 1
    store.close()
    assert not (data_dir / "pepper").exists()


def test_every_wish_is_kept(command: Command, capsys: Capture) -> None:
    words = "--account a --role admin --name ci --models gpt-4o,local/* --expires 2999-01-31 "
    words += "--rpm 60 --tpm 10000 --budget-usd 12.50 --budget-period day"
    text = create_one(command, capsys, *words.split(), "--also-for", "team b")
    (row,) = list_all(command, capsys)
    assert row.pop("subject_id") == row["id"]
    assert re.fullmatch("key_[0-9a-f]{24}", str(row.pop("id")))
    assert str(row.pop("created_at")).endswith("Z")
    assert row == {
        "account_id": "a",
        "accounts": ["a", "team b"],
        "budgets": [{"period": "day", "usd": "12.50"}],
        "expires_at": "2999-02-01T00:00:00Z",
        "last_used_at": None,
        "limits": {"rpm": 60, "tpm": 10_000, "concurrent": None},
        "models": ["gpt-4o", "local/*"],
        "name": "ci",
        "prefix": text[:11],
        "revoked_at": None,
        "role": "admin",
        "state": "active",
    }


def test_lists_never_show_a_key(command: Command, capsys: Capture, data_dir: Path) -> None:
    text = create_one(command, capsys, "--account", "a", "--name", "ci")
    store = open_store(data_dir / "trunkline.db")
    ensure_bootstrap(store, load_pepper(data_dir), "canary", 5)
    store.close()
    for words in (["list"], ["list", "--json"]):
        assert command(*words) == 0
        out = capsys.readouterr().out
        assert text[:11] in out
        assert text[:12] not in out
        assert "can" not in out


def test_the_table_is_aligned(command: Command, capsys: Capture) -> None:
    create_one(command, capsys, "--account", "a", "--name", "ci")
    create_one(command, capsys, "--account", "team b", "--models", "gpt-4o", "--role", "admin")
    assert command("list") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    for title, cells in {
        "ACCOUNT": ["a", "team b"],
        "NAME": ["ci", "-"],
        "ROLE": ["member", "admin"],
        "MODELS": ["all", "gpt-4o"],
        "STATE": ["active", "active"],
        "EXPIRES": ["-", "-"],
    }.items():
        start = head.index(title)
        assert [row[start:].split("  ")[0].strip() for row in rows] == cells
        assert all(row[start - 1] == " " for row in rows)


def test_a_list_can_be_of_one_account(command: Command, capsys: Capture) -> None:
    create_one(command, capsys, "--account", "a")
    create_one(command, capsys, "--account", "team b")
    (row,) = list_all(command, capsys, "--account", "team b")
    assert row["account_id"] == "team b"


@pytest.mark.parametrize(
    "words", [["create", "--account", "o'b"], ["list", "--account", "o'b"]], ids=" ".join
)
def test_an_unknown_account_comes_with_the_way_to_create_it(
    command: Command, capsys: Capture, words: list[str]
) -> None:
    assert command(*words) == 1
    expect_fault(capsys, """trunkline accounts create 'o'"'"'b'""")


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("--name bootstrap", "kept for"),
        ("--models gpt-4o,", "pattern"),
        ("--expires soon", "2027-01-31"),
        ("--expires 2001-01-01", "past"),
        ("--expires 9999-12-31", "never"),
        ("--also-for nobody", "nobody"),
    ],
)
def test_a_fault_is_one_line_and_makes_no_key(
    command: Command, capsys: Capture, words: str, word: str
) -> None:
    assert command("create", "--account", "a", *words.split()) == 1
    expect_fault(capsys, word)
    assert list_all(command, capsys) == []


@pytest.mark.parametrize(
    ("text", "expiry_us"),
    [
        ("1970-01-01", DAY_US),
        ("19700101", DAY_US),
        ("1970-01-02T00:00", DAY_US),
        ("1970-01-02T00:00Z", DAY_US),
        ("1970-01-02T02:00+02:00", DAY_US),
        ("1970-01-02 00:00:00.000001", DAY_US + 1),
    ],
)
def test_a_day_lasts_until_its_end(text: str, expiry_us: int) -> None:
    assert keys.read_expiry(text) == expiry_us


@pytest.mark.parametrize("cut", ["id", "part of id", "shown", "cell", "whole"])
def test_a_key_is_revoked_by_what_the_operator_has(
    command: Command, capsys: Capture, cut: str
) -> None:
    text = create_one(command, capsys, "--account", "a")
    create_one(command, capsys, "--account", "a")
    row = list_all(command, capsys)[0]
    key_id, shown = str(row["id"]), str(row["prefix"])
    words = {
        "id": key_id,
        "part of id": key_id[:16],
        "shown": shown,
        "cell": f"{shown}…",
        "whole": text,
    }
    assert command("revoke", words[cut]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert key_id in err
    assert text not in err
    assert [row["state"] for row in list_all(command, capsys)] == ["revoked", "active"]


def test_revoking_again_keeps_the_first_time(command: Command, capsys: Capture) -> None:
    create_one(command, capsys, "--account", "a")
    key_id = str(list_all(command, capsys)[0]["id"])
    assert command("revoke", key_id) == 0
    capsys.readouterr()
    before = list_all(command, capsys)
    assert command("revoke", key_id) == 0
    capsys.readouterr()
    assert list_all(command, capsys) == before


def test_a_revoke_that_fits_no_key_or_several_does_nothing(
    command: Command, capsys: Capture
) -> None:
    for _ in range(2):
        create_one(command, capsys, "--account", "a")
    assert command("revoke", "tl-canary-canary-canary") == 1
    assert "canary" not in expect_fault(capsys, "no key")
    for text in ("", "key_", "tl-"):
        assert command("revoke", text) == 1
        expect_fault(capsys, "at least 8 characters")
    assert {row["state"] for row in list_all(command, capsys)} == {"active"}


def test_two_keys_that_start_alike_need_the_whole_id(
    command: Command, capsys: Capture, data_dir: Path
) -> None:
    for _ in range(2):
        create_one(command, capsys, "--account", "a")
    first, second = (str(row["id"]) for row in list_all(command, capsys))
    store = open_store(data_dir / "trunkline.db")
    with store.database.write() as connection:
        for number, key_id in enumerate((first, second)):
            connection.exec_driver_sql(
                "UPDATE keys SET id = ? WHERE id = ?", (f"key_same_{number}", key_id)
            )
    store.close()
    assert command("revoke", "key_same") == 1
    assert "key_same_0, key_same_1" in expect_fault(capsys, "2 keys start like this")
    assert command("revoke", "key_same_1") == 0


def read_audit(data_dir: Path) -> list[AuditEntry]:
    store = open_store(data_dir / "trunkline.db")
    try:
        return store.audit.list()
    finally:
        store.close()


def test_a_key_is_changed_by_what_is_named_and_nothing_else(
    command: Command, capsys: Capture, data_dir: Path
) -> None:
    words = "--account a --name ci --rpm 60 --models gpt-4o --expires 2999-01-31 --also-for"
    text = create_one(command, capsys, *words.split(), "team b")
    (before,) = list_all(command, capsys)
    assert command("set", text, "--tpm", "5", "--budget-usd", "1", "--name", "nightly") == 0
    out, err = capsys.readouterr()
    assert (out, text in err) == ("", False)
    assert f"{before['id']} of account 'a': 60 rpm, 5 tpm, $1.00 a month;" in err
    (after,) = list_all(command, capsys)
    assert after == {
        **before,
        "name": "nightly",
        "limits": {"rpm": 60, "tpm": 5, "concurrent": None},
        "budgets": [{"period": "month", "usd": "1.00"}],
    }
    words = "--models none --expires none --also-for none --rpm none --tpm none --budget-usd none"
    assert command("set", str(before["id"]), *words.split()) == 0
    capsys.readouterr()
    (after,) = list_all(command, capsys)
    assert after == {
        **before,
        "name": "nightly",
        "models": None,
        "expires_at": None,
        "accounts": ["a"],
        "limits": {"rpm": None, "tpm": None, "concurrent": None},
    }
    entries = read_audit(data_dir)
    assert [entry.action for entry in entries] == ["key.change", "key.change", "key.create"]
    assert {entry.actor for entry in entries} == {name_operator()}
    assert text[3:] not in repr(entries)


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("", "nothing to change"),
        ("--name bootstrap", "kept for"),
        ("--expires 2001-01-01", "past"),
        ("--also-for nobody", "nobody"),
        ("--models ,", "pattern"),
        ("--budget-tokens x", "whole number"),
        ("--budget-usd 1,5", "such as 12.50"),
    ],
)
def test_a_change_that_cannot_be_changes_nothing(
    command: Command, capsys: Capture, data_dir: Path, words: str, word: str
) -> None:
    create_one(command, capsys, "--account", "a", "--rpm", "3")
    before = list_all(command, capsys)
    assert command("set", str(before[0]["id"]), *words.split()) == 1
    expect_fault(capsys, word)
    assert list_all(command, capsys) == before
    assert len(read_audit(data_dir)) == 1


def test_a_rotated_key_stands_alone_on_stdout_and_takes_over_everything(
    command: Command, capsys: Capture, data_dir: Path
) -> None:
    words = "--account a --role admin --name ci --models gpt-4o --rpm 60 --budget-usd 3 --also-for"
    text = create_one(command, capsys, *words.split(), "team b")
    before = list_all(command, capsys)[0]
    assert command("rotate", text[:11], "--overlap", "0") == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"tl-[\w-]{43}\n", out, re.ASCII)
    assert out.strip() not in err
    assert out.strip() != text
    old, new = list_all(command, capsys)
    assert (old["id"], old["state"]) == (before["id"], "expired")
    assert str(old["id"]) in err
    assert str(new["id"]) in err
    own = ("id", "prefix", "created_at")
    assert {name: new[name] for name in new if name not in own} == {
        name: before[name] for name in before if name not in own
    }
    assert new["subject_id"] == before["id"]
    store = open_store(data_dir / "trunkline.db")
    digest = hash_key(load_pepper(data_dir), out.strip().encode())
    assert [match.key.id for match in store.keys.find_by_hash([digest])] == [new["id"]]
    store.close()


def test_the_old_key_goes_on_for_a_day_unless_something_else_is_said(
    command: Command, capsys: Capture
) -> None:
    for overlap, hours in ((), 24), (("--overlap", "30m"), 0.5), (("--overlap", "7d"), 168):
        create_one(command, capsys, "--account", "a")
        key_id = str(list_all(command, capsys)[-1]["id"])
        asked = datetime.now(UTC).replace(microsecond=0)
        assert command("rotate", key_id, *overlap) == 0
        capsys.readouterr()
        old, new = list_all(command, capsys)[-2:]
        assert (old["id"], old["state"], new["state"]) == (key_id, "active", "active")
        ends = datetime.fromisoformat(str(old["expires_at"]))
        assert timedelta() <= ends - asked - timedelta(hours=hours) < timedelta(minutes=5)


@pytest.mark.parametrize("overlap", ["soon", "-1h", "1.5h", "24", "", "1w", "1h30m", "400d"])
def test_an_overlap_that_makes_no_sense_rotates_nothing(
    command: Command, capsys: Capture, overlap: str
) -> None:
    create_one(command, capsys, "--account", "a")
    before = list_all(command, capsys)
    assert command("rotate", str(before[0]["id"]), f"--overlap={overlap}") == 1
    expect_fault(capsys, "overlap")
    assert list_all(command, capsys) == before


def test_the_list_says_which_keys_have_expired(
    command: Command, capsys: Capture, data_dir: Path
) -> None:
    store = open_store(data_dir / "trunkline.db")
    new = NewKey(account_id="a", expires_at_us=2)
    create_key(store, b"\0" * 32, new, 1)
    store.close()
    (row,) = list_all(command, capsys)
    assert (row["state"], row["expires_at"]) == ("expired", "1970-01-01T00:00:00Z")
