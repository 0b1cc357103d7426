"""Tables and times for people."""

import pytest

from trunkline.cli.table import format_table, format_time


def test_columns_are_aligned_and_lines_end_without_blanks() -> None:
    assert format_table(("ID", "NAME"), [("long id", ""), ("b", "x")]).splitlines() == [
        "ID       NAME",
        "long id  -",
        "b        x",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert format_table(("ID", "NAME"), []) == "ID  NAME"


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00Z"),
        (1_800_000_000_999_999, "2027-01-15T08:00:00Z"),
    ],
)
def test_times_are_in_utc_to_the_second(time_us: int | None, text: str | None) -> None:
    assert format_time(time_us) == text
