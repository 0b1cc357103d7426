"""``trunkline usage`` on a real data folder."""

import argparse
import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.used import make_call, ship_calls
from trunkline.cli import usage
from trunkline.ledger.question import find_day
from trunkline.store.key import Key
from trunkline.store.lease import Want
from trunkline.store.load import Load
from trunkline.store.posting import DAY_US, AttemptRow, EntryRow, Posting
from trunkline.store.store import Store, open_store
from trunkline.store.usage import Choice
from trunkline.terms import AccountTerms, Budget, Terms, Window

Command = Callable[..., int]
Capture = pytest.CaptureFixture[str]

OLD_US = 20_000 * DAY_US  # 2024-10-04
HARMFUL = "=HYPERLINK(1)\x1b[2J"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "data" / "trunkline.db")
    yield opened
    opened.close()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        usage.add_arguments(parser)
        args = parser.parse_args(words)
        args.data_dir = tmp_path / "data"
        return usage.run(args)

    return run


@pytest.fixture
def used(store: Store) -> Store:
    store.accounts.create("team b", "", 1)
    now_us = time.time_ns() // 1000
    calls = [
        make_call(1, at_us=now_us, account_id="team b", input_tokens=1_500, cost_micros=12_345_678),
        make_call(2, at_us=now_us, model=HARMFUL, status="refused", cost_micros=None),
        make_call(3, at_us=OLD_US, account_id="team b", status="lost", cost_micros=500_000),
    ]
    ship_calls(store, calls)
    return store


def make_key(key_id: str, subject_id: str, created_at_us: int, terms: Terms) -> Key:
    return Key(
        id=key_id,
        account_id="a",
        name=f"name of {key_id}",
        role="member",
        prefix="",
        models=None,
        expires_at_us=None,
        revoked_at_us=None,
        created_at_us=created_at_us,
        last_used_at_us=None,
        subject_id=subject_id,
        terms=terms,
    )


def test_it_is_this_month_by_model(command: Command, used: Store, capsys: Capture) -> None:
    assert command() == 0
    span, head, first, second, total, gap = capsys.readouterr().out.splitlines()
    assert span.startswith("Usage ")
    assert head.split() == ["MODEL", "CALLS", "FAILED", "INPUT", "OUTPUT", "COST"]
    assert first.split() == [r"=HYPERLINK(1)\x1b[2J", "1", "1", "0", "0", "$0.000000"]
    assert second.split() == ["gpt-4o", "1", "0", "1,500", "0", "$12.345678"]
    assert total.split() == ["Total", "2", "1", "1,500", "0", "$12.345678"]
    assert gap == "1 call has no price; its cost is not in the sums."


def test_parts_can_be_repeated(command: Command, used: Store, capsys: Capture) -> None:
    words = ("--since", "2024-10", "--by", "account", "--by", "day", "--account", "team b")
    assert command(*words, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["by"] == ["account", "day"]
    today = find_day(used.usage.list_calls(Choice(), 1)[0].at_us // DAY_US)
    assert [row["day"] for row in answer["rows"]] == ["2024-10-04", str(today)]
    assert answer["total"]["cost_micros"] == 12_845_678
    assert command(*words, "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [row["cost_usd"] for row in rows] == ["0.500000", "12.345678"]


def test_a_model_cannot_become_a_formula(command: Command, used: Store, capsys: Capture) -> None:
    assert command("--csv") == 0
    _, first, *_ = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    assert first[0] == f"'{HARMFUL}"


def test_calls_are_chosen_by_every_word(command: Command, used: Store, capsys: Capture) -> None:
    words = ("--status", "lost", "--target", "openai/gpt-4o", "--model", "gpt-4o", "--since")
    assert command(*words, "2024-10-01", "--until", "2024-10-31", "--by", "hour", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["hour"], row["unknown_calls"]) == ("2024-10-04T00:00Z", 1)


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("--since", "soon"), "--since: It is no day"),
        (("--by", "week"), "--by: It names some of"),
        (("--status", "done"), "--status: It is one of"),
        (("--limit", "5"), "--limit says nothing about sums"),
        (("--calls", "--by", "day"), "--by says nothing about --calls"),
        (("--call", "req_1", "--csv"), "--csv says nothing about --call"),
        (("--budgets", "--since", "7d"), "--since says nothing about --budgets"),
        (("--calls", "--limit", "0"), "--limit: It is from 1 to"),
    ],
)
def test_a_wrong_word_is_one_line(
    command: Command, capsys: Capture, words: tuple[str, ...], word: str, tmp_path: Path
) -> None:
    assert command(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"trunkline: {word}")
    assert err.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("--account", "tema b"), "--account: There is no account 'tema b'"),
        (("--key", "key_9"), "--key: There is no key"),
        (("--budgets", "--key", "key_9"), "--key: There is no key"),
        (("--budgets", "--account", "x"), "there is no account 'x'"),
        (("--call", "req_9"), "there is no such call"),
        (("--call", "\ud800"), "there is no such call"),
    ],
)
def test_what_is_not_there_is_one_line(
    command: Command, capsys: Capture, words: tuple[str, ...], word: str
) -> None:
    assert command(*words) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"trunkline: {word}")


def test_calls_are_listed_newest_first(command: Command, used: Store, capsys: Capture) -> None:
    assert command("--calls") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["ID", "TIME", "ACCOUNT"]
    assert [row.split()[0][-1] for row in rows] == ["2", "1", "3"]
    assert rows[0].endswith("-")  # no price is no $0.00
    assert rows[1].endswith("$12.345678")
    assert r"\x1b" in rows[0]
    assert command("--calls", "--limit", "1", "--since", "2024-10", "--csv") == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert (row["model"], row["cost_micros"], row["cost_usd"]) == (f"'{HARMFUL}", "", "")
    assert command("--calls", "--account", "team b", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first.keys() == row.keys()
    assert (second["at"], second["cost_usd"]) == ("2024-10-04T00:00:00Z", "0.500000")


def test_no_calls_is_a_sentence(command: Command, capsys: Capture) -> None:
    assert command("--calls") == 0
    assert capsys.readouterr().out == "No calls.\n"


def test_one_call_is_shown_with_its_attempts(
    command: Command, store: Store, capsys: Capture
) -> None:
    call = make_call(1, at_us=OLD_US, attempts=2, output_tokens=7, cost_micros=1_500_000)
    names = AttemptRow.__struct_fields__
    fields = {name: getattr(call, name) for name in EntryRow.__struct_fields__ if name in names}
    first = AttemptRow(
        **{
            **fields,
            "entry_id": call.id,
            "number": 1,
            "target": "lab/x\x1b",
            "status": "failed",
            "code": "upstream_timeout",
            "output_tokens": 0,
            "cost_micros": None,
        }
    )
    second = AttemptRow(**{**fields, "entry_id": call.id, "number": 2})
    store.ledger.ship("journal", 1, Load([Posting(call, (first, second))]), 1)

    assert command("--call", call.id) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == [["id", call.id], ["at", "2024-10-04T00:00:00Z"]]
    start = lines.index(["attempt", "1"])
    assert lines[start + 1] == ["target", r"lab/x\x1b"]
    assert ["code", "upstream_timeout"] in lines[start:]
    assert ["cost_usd", "no", "price"] in lines[start:]
    assert ["cost_usd", "1.500000"] in lines[lines.index(["attempt", "2"]) :]

    assert command("--call", call.id, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [each["cost_micros"] for each in answer["attempts"]] == [None, 1_500_000]
    assert "entry_id" not in answer["attempts"][0]


def test_budgets_show_what_is_left(command: Command, store: Store, capsys: Capture) -> None:
    dollars = Budget("usd", "total", 10_000_000)
    tokens = Budget("tokens", "total", 1_000)
    store.accounts.create("a", "The A team", 1, AccountTerms(budgets=(dollars,)))
    store.accounts.create("b", "", 1)
    store.keys.create(make_key("key_1", "key_1", 1, Terms()), b"1" * 32)
    store.keys.create(make_key("key_2", "key_1", 2, Terms(budgets=(tokens,))), b"2" * 32)
    ship_calls(store, [make_call(1, cost_micros=2_500_000, output_tokens=1_200)])
    window = Window("account", "a", "usd", "total", 0)
    want = Want(window=window, used=0, kept=0, amount=0, need=1_000_000, least=1_000_000)
    (answer,) = store.leases.change("journal", [want])
    assert answer.taken == 1_000_000

    assert command("--budgets") == 0
    head, account, key = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("KIND", "ID", "NAME", "ACCOUNT", "UNIT", "PERIOD", "RENEWS", "AT"),
        *("AMOUNT", "SPENT", "RESERVED", "LEFT"),
    ]
    assert account.split("  ")[0] == "account"
    assert account.split()[-5:] == ["-", "$10.00", "$2.50", "$1.00", "$6.50"]
    assert "name of key_2" in key
    assert key.split()[-5:] == ["-", "1,000", "1,200", "0", "0"]

    assert command("--budgets", "--key", "key_2", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "kind": "key",
        "id": "key_1",
        "name": "name of key_2",
        "account": "a",
        "unit": "tokens",
        "period": "total",
        "amount": 1_000,
        "spent": 1_200,
        "reserved": 0,
        "left": 0,
        "started_at": None,
        "renews_at": None,
    }
    assert command("--budgets", "--account", "b") == 0
    assert capsys.readouterr().out == "No budgets.\n"


def test_budgets_are_renewed_at_midnight(command: Command, store: Store, capsys: Capture) -> None:
    budgets = (Budget("usd", "day", 1), Budget("usd", "month", 2))
    store.accounts.create("a", "=1", 1, AccountTerms(budgets=budgets))
    assert command("--budgets", "--csv") == 0
    day, month = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert day["name"] == "'=1"
    assert day["started_at"] < day["renews_at"] <= month["renews_at"]
    assert month["started_at"].endswith("-01T00:00:00Z")
    assert month["renews_at"].endswith("-01T00:00:00Z")


def test_a_revoked_key_has_no_budget_any_more(
    command: Command, store: Store, capsys: Capture
) -> None:
    store.accounts.create("a", "", 1)
    terms = Terms(budgets=(Budget("usd", "day", 1),))
    store.keys.create(make_key("key_1", "key_1", 1, terms), b"1" * 32)
    assert command("--budgets", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    store.keys.change_revoked("key_1", 5)
    assert command("--budgets", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
