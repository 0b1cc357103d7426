"""Sheets: the same exact numbers as JSON, as CSV and as a table, and texts that do no harm."""

import csv
import io
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.ledger.question import Question
from trunkline.ledger.sheet import (
    Sheet,
    calm_cell,
    count_places,
    format_usd,
    write_csv,
    write_json,
    write_table,
    write_usd,
)
from trunkline.store.usage import Choice, Share, Sums

DAY = 20_000  # 2024-10-04
CHOICE = Choice(since_day=DAY, until_day=DAY + 1)
QUIET = Sums(calls=1, input_tokens=5, cost_micros=2_500_000)
LOUD = Sums(
    calls=1_200,
    failed_calls=3,
    unpriced_calls=2,
    unknown_calls=1,
    input_tokens=1_000_000,
    output_tokens=2,
    reasoning_tokens=1,
    cost_micros=12_345_678,
)
TOTAL = Sums(
    calls=1_201,
    failed_calls=3,
    unpriced_calls=2,
    unknown_calls=1,
    input_tokens=1_000_005,
    output_tokens=2,
    reasoning_tokens=1,
    cost_micros=14_845_678,
)
SHEET = Sheet(
    Question(CHOICE, ("day", "key", "model")),
    [Share((DAY, "key_1", "=1+1"), QUIET), Share((DAY + 1, "key_2", 'a "b", c'), LOUD)],
    TOTAL,
    {"key_1": "-ops", "key_3": "other"},
)
NARROW = Sheet(
    Question(CHOICE, ("key", "model")),
    [Share(share.parts[1:], share.sums) for share in SHEET.rows],
    TOTAL,
    SHEET.key_names,
)
EMPTY = Sheet(Question(CHOICE), [], Sums(), {})


def test_json_holds_everything() -> None:
    answer = json.loads(write_json(SHEET))
    assert list(answer) == ["since", "until", "by", "rows", "total"]
    assert (answer["since"], answer["until"]) == ("2024-10-04", "2024-10-05")
    assert answer["by"] == ["day", "key", "model"]
    assert answer["rows"][0] == {
        "day": "2024-10-04",
        "key": "key_1",
        "key_name": "-ops",
        "model": "=1+1",
        "calls": 1,
        "failed_calls": 0,
        "unpriced_calls": 0,
        "unknown_calls": 0,
        "input_tokens": 5,
        "output_tokens": 0,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "audio_input_tokens": 0,
        "audio_output_tokens": 0,
        "cost_micros": 2_500_000,
        "cost_usd": "2.500000",
    }
    assert answer["rows"][1]["key_name"] == ""
    assert answer["total"]["cost_micros"] == 14_845_678
    assert answer["total"]["cost_usd"] == "14.845678"


def test_json_without_rows_is_an_answer_too() -> None:
    answer = json.loads(write_json(EMPTY))
    assert (answer["rows"], answer["total"]["calls"]) == ([], 0)


def test_csv_has_the_fields_of_json() -> None:
    text = write_csv(SHEET)
    head, first, second, end = text.split("\r\n")
    assert head.split(",") == list(json.loads(write_json(SHEET))["rows"][0])
    assert first == "2024-10-04,key_1,'-ops,'=1+1,1,0,0,0,5,0,0,0,0,0,0,2500000,2.500000"
    assert second.startswith('2024-10-05,key_2,,"a ""b"", c",1200,3,2,1,1000000,')
    assert end == ""


def test_csv_without_rows_is_its_head() -> None:
    assert write_csv(EMPTY).startswith("model,calls,")
    assert write_csv(EMPTY).count("\r\n") == 1


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "'"])
def test_no_text_becomes_a_formula(first: str) -> None:
    assert calm_cell(f"{first}1") == f"'{first}1"


@given(text=st.text(st.sampled_from("=+-@'\t\r\n\",;a 1"), max_size=8))
def test_a_text_comes_back_when_the_mark_is_taken_off(text: str) -> None:
    sheet = Sheet(Question(CHOICE), [Share((text,), QUIET)], QUIET, {})
    _, (cell, *_) = csv.reader(io.StringIO(write_csv(sheet), newline=""))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert cell.removeprefix("'") == text


def test_a_table_is_aligned_and_ends_with_the_sums() -> None:
    assert write_table(NARROW).splitlines() == [
        "Usage from 2024-10-04 to 2024-10-05 (UTC).",
        "KEY    KEY NAME  MODEL     CALLS  FAILED      INPUT  OUTPUT  REASONING        COST",
        "key_1  -ops      =1+1          1       0          5       0          0   $2.500000",
        'key_2            a "b", c  1,200       3  1,000,000       2          1  $12.345678',
        "Total                      1,201       3  1,000,005       2          1  $14.845678",
        "2 calls have no price; their cost is not in the sums.",
        "Of 1 call nobody knows what was used; it is not in the sums.",
    ]


def test_a_table_without_gaps_says_nothing_of_them() -> None:
    sheet = Sheet(Question(CHOICE), [Share(("x",), QUIET)], QUIET, {})
    assert write_table(sheet).splitlines()[-1].split() == ["Total", "1", "0", "5", "0", "$2.50"]


def test_a_single_gap_is_told_in_the_singular() -> None:
    total = Sums(calls=2, unpriced_calls=1, unknown_calls=2)
    lines = write_table(Sheet(Question(CHOICE), [Share(("x",), total)], total, {})).splitlines()
    assert lines[-2:] == [
        "1 call has no price; its cost is not in the sums.",
        "Of 2 calls nobody knows what was used; it is not in the sums.",
    ]


def test_a_table_without_rows_is_a_sentence() -> None:
    assert write_table(EMPTY) == "No calls from 2024-10-04 to 2024-10-05 (UTC)."


def test_a_text_cannot_steer_the_terminal() -> None:
    sheet = Sheet(Question(CHOICE), [Share(("a\x1b[2J\n\u202eb",), QUIET)], QUIET, {})
    assert r"a\x1b[2J\n\u202eb" in write_table(sheet)


def test_hours_are_moments() -> None:
    sheet = Sheet(Question(CHOICE, ("hour",)), [Share((DAY * 24 + 7,), QUIET)], QUIET, {})
    assert json.loads(write_json(sheet))["rows"][0]["hour"] == "2024-10-04T07:00Z"


@pytest.mark.parametrize(
    ("micros", "places", "text"),
    [
        (0, 2, "$0.00"),
        (1, 6, "$0.000001"),
        (1_234_567_000_000, 2, "$1,234,567.00"),
        (-1_500_000, 2, "-$1.50"),
    ],
)
def test_dollars_for_people(micros: int, places: int, text: str) -> None:
    assert format_usd(micros, places) == text


@given(micros=st.integers(-(2**63), 2**63))
def test_dollars_are_exact(micros: int) -> None:
    wanted = Decimal(micros) / 1_000_000
    assert Decimal(write_usd(micros)) == wanted
    shown = format_usd(micros, count_places([0, micros]))
    assert Decimal(shown.replace("$", "").replace(",", "")) == wanted


def test_as_many_decimals_as_the_amounts_need() -> None:
    assert count_places([]) == 2
    assert count_places([1_000_000]) == 2
    assert count_places([1_500_000, 1_234_000]) == 3
