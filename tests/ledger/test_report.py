"""Reports over real tables: the sums of what was asked for, and a reason where there is none."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from store.conftest import KINDS
from store.postgres import make_schema, make_url
from store.used import ACCOUNTS, DAYS, FIRST_DAY, KEYS, MODELS, make_calls, ship_calls
from trunkline.errors import GatewayError
from trunkline.ledger import report
from trunkline.ledger.question import find_day, read_question
from trunkline.ledger.report import draw_sheet, make_report
from trunkline.store.posting import DAY_US, EntryRow
from trunkline.store.store import Store, open_store

CALLS = make_calls(120)
LAST_DAY = FIRST_DAY + DAYS - 1
NOW_US = LAST_DAY * DAY_US
ALL = {"since": str(find_day(FIRST_DAY))}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = open_store(tmp_path / "trunkline.db")
        yield opened
        opened.close()
        return
    with make_schema() as options:
        opened = open_store(make_url(options=options))
        yield opened
        opened.close()


@pytest.fixture
def used(store: Store) -> Store:
    for account_id in ACCOUNTS:
        store.accounts.create(account_id, "", 1)
    ship_calls(store, CALLS)
    return store


QUERIES = st.fixed_dictionaries(
    {
        "since": st.integers(0, DAYS - 1).map(lambda number: str(find_day(FIRST_DAY + number))),
        "until": st.integers(DAYS - 1, DAYS).map(lambda number: str(find_day(FIRST_DAY + number))),
        "by": st.sampled_from(["day", "model,day", "key,account", "hour", "status,target"]),
    },
    optional={
        "account": st.sampled_from(ACCOUNTS),
        "key": st.sampled_from(KEYS),
        "model": st.sampled_from(MODELS),
    },
)


def is_asked(call: EntryRow, query: Mapping[str, str]) -> bool:
    return (
        query["since"] <= str(find_day(call.at_us // DAY_US)) <= query["until"]
        and query.get("account", call.account_id) == call.account_id
        and query.get("key", call.key_id) == call.key_id
        and query.get("model", call.model) == call.model
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES)
def test_json_and_csv_hold_the_sums_of_the_calls(used: Store, query: dict[str, str]) -> None:
    chosen = [call for call in CALLS if is_asked(call, query)]
    assume(chosen)
    body, kind = make_report(used, query, NOW_US)
    answer = json.loads(body)
    assert kind == "application/json"
    for name in ("input_tokens", "output_tokens", "reasoning_tokens", "cost_micros"):
        wanted = sum(getattr(call, name) or 0 for call in chosen)
        assert answer["total"][name] == wanted
        assert sum(row[name] for row in answer["rows"]) == wanted
    assert answer["total"]["calls"] == len(chosen)

    text, kind = make_report(used, {**query, "format": "csv"}, NOW_US)
    assert kind.startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
    assert len(rows) == len(answer["rows"])
    for row, shown in zip(rows, answer["rows"], strict=True):
        assert {name: value.removeprefix("'") for name, value in row.items()} == {
            name: str(value) for name, value in shown.items()
        }


def test_rows_are_in_the_order_of_their_parts(used: Store) -> None:
    body, _ = make_report(used, {**ALL, "by": "day,account"}, NOW_US)
    parts = [(row["day"], row["account"]) for row in json.loads(body)["rows"]]
    assert parts == sorted(parts)
    assert len(parts) == DAYS * len(ACCOUNTS)


def test_keys_are_told_with_their_names(used: Store) -> None:
    from trunkline.store.key import Key

    key = Key(
        id="key_1",
        account_id="a",
        name="batch jobs",
        role="member",
        prefix="",
        models=None,
        expires_at_us=None,
        revoked_at_us=5,
        created_at_us=1,
        last_used_at_us=None,
        subject_id="key_1",
    )
    used.keys.create(key, b"1" * 32)
    body, _ = make_report(used, {**ALL, "by": "key"}, NOW_US)
    names = {row["key"]: row["key_name"] for row in json.loads(body)["rows"]}
    assert names == {"key_1": "batch jobs", "key_2": "", "key_3": ""}


def test_nothing_used_is_an_answer(used: Store) -> None:
    used.accounts.create("new", "", 1)
    body, _ = make_report(used, {**ALL, "account": "new"}, NOW_US)
    answer = json.loads(body)
    assert (answer["rows"], answer["total"]["calls"]) == ([], 0)


@pytest.mark.parametrize(("name", "text"), [("account", "tema b"), ("key", "key_9")])
def test_a_name_that_nobody_has_is_refused(used: Store, name: str, text: str) -> None:
    with pytest.raises(GatewayError, match=f"There is no {name}") as caught:
        make_report(used, {**ALL, name: text}, NOW_US)
    assert (caught.value.code, caught.value.param) == ("validation_error", name)


def test_an_account_that_is_not_there_any_more_is_still_told(store: Store) -> None:
    ship_calls(store, CALLS)
    body, _ = make_report(store, {**ALL, "account": "team b"}, NOW_US)
    assert json.loads(body)["total"]["calls"] > 0


def test_what_only_removed_calls_knew_is_refused(used: Store) -> None:
    used.ledger.remove_before((FIRST_DAY + 2) * DAY_US, 1_000)
    with pytest.raises(GatewayError, match=str(find_day(FIRST_DAY + 2))) as caught:
        make_report(used, {**ALL, "by": "status"}, NOW_US)
    assert (caught.value.code, caught.value.param) == ("validation_error", "since")
    kept = {"since": str(find_day(FIRST_DAY + 2)), "by": "status"}
    body, _ = make_report(used, kept, NOW_US)
    assert json.loads(body)["total"]["calls"] > 0
    body, _ = make_report(used, {**ALL, "by": "model"}, NOW_US)
    assert json.loads(body)["total"]["calls"] == len(CALLS)


def test_too_many_rows_are_refused(used: Store) -> None:
    question = read_question({**ALL, "by": "model"}, NOW_US)
    assert len(draw_sheet(used, question, len(MODELS)).rows) == len(MODELS)
    with pytest.raises(GatewayError, match="more than 2 rows") as caught:
        draw_sheet(used, question, len(MODELS) - 1)
    assert (caught.value.code, caught.value.param) == ("validation_error", "by")
    assert report.MOST_ROWS > 2
