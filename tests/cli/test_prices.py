"""``trunkline prices`` on real configurations and a real store."""

import argparse
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from store.posted import list_days, make_posting, sum_up
from trunkline.cli import prices
from trunkline.store.load import Load
from trunkline.store.posting import DAY_US, Posting
from trunkline.store.store import open_store

Command = Callable[..., int]
Capture = pytest.CaptureFixture[str]

NOON_US = int(datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()) * 1_000_000
CONFIG = """
[providers.openai]
[providers.lab]
wire = "openai"
base_url = "http://127.0.0.1:9/v1"
[engines.smol]
model = "smollm2-135m-instruct"
[models.both]
targets = [
  { provider = "openai", model = "gpt-4o-mini" },
  { provider = "lab", model = "lab-1" },
  { provider = "local", model = "smol" },
]
[[prices.list]]
provider = "openai"
model = "old-*"
input = "1"
output = "2"
cached = "0.5"
request = "0.001"
"""


@pytest.fixture
def command(tmp_path: Path) -> Command:
    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        prices.add_arguments(parser)
        args = parser.parse_args(words)
        args.data_dir = tmp_path / "data"
        args.cache_dir = tmp_path / "cache"
        return prices.run(args)

    return run


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG, "utf-8")
    return str(path)


def post(folder: Path, *postings: Posting) -> None:
    folder.mkdir()
    with closing(open_store(folder / "trunkline.db")) as store:
        store.ledger.ship("journal", 1, Load(postings), 1)


def make_call(name: str, target: str, days_ago: int = 0, cost: int | None = 450) -> Posting:
    """A call of some days before: 100 input tokens, 50 of them cached, and 20 output tokens."""
    at_us = NOON_US - days_ago * DAY_US
    posting = make_posting(name, at_us=at_us, target=target, cost_micros=cost)
    (attempt,) = posting.attempts
    words = {"target": target, "cost_micros": cost}
    attempt = type(attempt)(
        **{**{n: getattr(attempt, n) for n in attempt.__struct_fields__}, **words}
    )
    return Posting(posting.entry, (attempt,))


def read_costs(folder: Path) -> dict[str, int | None]:
    """What entries cost, the sums of their days being right."""
    with closing(open_store(folder / "trunkline.db")) as store:
        entries = store.ledger.list_entries(0, 2**62, None, 100)
        assert list_days(store) == sum_up(entries)
        attempts = store.ledger.list_attempts(0, 2**62, None, 100)
    assert [each.cost_micros for each in attempts] == [each.cost_micros for each in entries]
    return {entry.id: entry.cost_micros for entry in entries}


def test_each_place_of_a_name_is_shown(command: Command, capsys: Capture) -> None:
    assert command("show", "gpt-4o-mini") == 0
    out, err = capsys.readouterr()
    first, *others = out.split("\n\n")
    assert [text.split("\n")[0] for text in others] == [
        "azure/gpt-4o-mini",
        "openrouter/openai/gpt-4o-mini",
    ]
    name, source, tokens, sample = first.split("\n")
    assert name == "openai/gpt-4o-mini"
    assert source.startswith("  from    genai-prices ")
    assert source.endswith(", openai: gpt-4o-mini")
    assert tokens == "  tokens  input $0.15, output $0.6, cached $0.075 a million"
    assert sample == "  sample  $0.000450 for 1,000 input and 500 output tokens"
    assert err == ""


def test_tiers_are_lines_of_their_own(command: Command, capsys: Capture) -> None:
    assert command("show", "gemini/gemini-2.5-pro") == 0
    lines = capsys.readouterr().out.split("\n")
    assert (
        "  tokens  above 200,000 input tokens: input $2.5, output $15, cached $0.25 a million"
        in lines
    )


def test_the_configurations_own_prices_are_shown(
    command: Command, capsys: Capture, config: str
) -> None:
    assert command("show", "openai/old-1", "--config", config) == 0
    assert capsys.readouterr().out == (
        "openai/old-1\n"
        "  from    prices.list[0]\n"
        "  tokens  input $1, output $2, cached $0.5 a million\n"
        "  request $0.001 each\n"
        "  sample  $0.003000 for 1,000 input and 500 output tokens\n"
    )


def test_what_has_no_price_is_told_with_the_lines_that_would_give_one(
    command: Command, capsys: Capture, config: str
) -> None:
    assert command("show", "both", "--config", config) == 1
    out, err = capsys.readouterr()
    assert "openai/gpt-4o-mini" in out
    assert "local/smollm2-135m-instruct\n  from    an engine of the gateway, which costs" in out
    assert "lab/lab-1" not in out
    assert err == (
        "trunkline: lab/lab-1 has no price: it is on no list, and no [[prices.list]] fits; its "
        "calls are served, and their cost is unknown. To price it, add to the configuration, in "
        "dollars per million tokens:\n\n"
        '[[prices.list]]\nprovider = "lab"\nmodel = "lab-1"\ninput = "…"\noutput = "…"\n\n'
    )


def test_what_is_not_on_its_list_is_told_so(command: Command, capsys: Capture) -> None:
    assert command("show", "openai/nothing") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "the shipped list 'openai' does not have it" in err


def test_json_is_for_programs(command: Command, capsys: Capture, config: str) -> None:
    assert command("show", "both", "--json", "--config", config) == 1
    listed, lab, engine = json.loads(capsys.readouterr().out)
    assert listed["target"] == "openai/gpt-4o-mini"
    assert listed["sample_micros"] == 450
    (rate,) = listed["rates"]
    assert (rate["above_tokens"], rate["input"], rate["cached"]) == (0, "0.15", "0.075")
    assert lab == dict.fromkeys(listed) | {"target": "lab/lab-1"}
    assert (engine["sample_micros"], engine["request"], engine["image"]) == (0, "0", "0")


def test_a_name_that_goes_nowhere_is_one_line(
    command: Command, capsys: Capture, config: str
) -> None:
    assert command("show", "gpt-nothing", "--config", config) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trunkline: Model 'gpt-nothing' not found.")
    assert err.count("\n") == 1


def test_a_faulty_configuration_is_told(command: Command, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[prices]\nunpriced = "never"\n', "utf-8")
    for words in (["show", "gpt-4o"], ["apply", "--since", "today"]):
        assert command(*words, "--config", str(path)) == 2
        assert "bad.toml:2: prices.unpriced: " in capsys.readouterr().err


def test_past_calls_are_priced_anew(
    command: Command, capsys: Capture, tmp_path: Path, config: str
) -> None:
    post(
        tmp_path / "data",
        make_call("mini", "openai/gpt-4o-mini", 1),
        make_call("old", "openai/old-1", 1, cost=None),
        make_call("none", "lab/lab-1", 1),
        make_call("free", "local/smollm2-135m-instruct", 0),
        make_call("before", "openai/old-1", 3),
        make_call("same", "openai/old-1", 2, cost=1115),
    )
    words = ["apply", "--since", "2026-06-08", "--until", "2026-06-10", "--config", config]
    said = (
        "5 attempts, 3 costs {}: $0.002465 before, $0.002703 after.\n"
        "1 have no price and keep the cost that they have.\n"
    )
    before = read_costs(tmp_path / "data")
    assert command(*words, "--dry-run") == 0
    assert capsys.readouterr().out == said.format("would change")
    assert read_costs(tmp_path / "data") == before
    assert command(*words) == 0
    assert capsys.readouterr().out == said.format("changed")
    # 50 * 0.15 + 50 * 0.075 + 20 * 0.6, and 50 * 1 + 50 * 0.5 + 20 * 2 + 1000 for the request.
    changed = {"mini": 23, "old": 1115, "free": 0}
    assert read_costs(tmp_path / "data") == before | changed
    assert command(*words) == 0
    assert "0 costs changed: $0.002703 before, $0.002703 after." in capsys.readouterr().out


def test_only_the_days_that_are_named_are_priced_anew(
    command: Command, capsys: Capture, tmp_path: Path, config: str
) -> None:
    calls = [make_call(f"c{days}", "openai/old-1", days) for days in range(5)]
    post(tmp_path / "data", *calls)
    days = ["--since", "2026-06-07", "--until", "2026-06-08"]
    assert command("apply", *days, "--config", config) == 0
    assert capsys.readouterr().out.startswith("2 attempts, 2 costs changed: ")
    costs = read_costs(tmp_path / "data")
    assert [name for name, cost in costs.items() if cost == 1115] == ["c3", "c2"]


def test_many_calls_are_priced_a_page_at_a_time(
    command: Command,
    capsys: Capture,
    tmp_path: Path,
    config: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prices, "PAGE", 3)
    post(tmp_path / "data", *(make_call(f"c{number}", "openai/old-1") for number in range(10)))
    assert command("apply", "--since", "2026-06", "--config", config) == 0
    assert capsys.readouterr().out == (
        "10 attempts, 10 costs changed: $0.004500 before, $0.011150 after.\n"
    )
    assert {*read_costs(tmp_path / "data").values()} == {1115}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--since", "soon"], "trunkline: --since: expected a day: 2026-01-31, "),
        (["--since", "1d", "--until", "2026-13"], "trunkline: --until: expected a day: "),
        (["--since", "1d", "--until", "2d"], "trunkline: --since: it is after the last day"),
    ],
)
def test_a_day_that_is_none_is_told(
    command: Command, capsys: Capture, words: list[str], fault: str
) -> None:
    assert command("apply", *words) == 2
    assert capsys.readouterr().err.startswith(fault)
