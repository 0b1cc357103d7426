"""Questions about usage: what the words mean, and which words are refused."""

from datetime import date

import pytest

from trunkline.errors import GatewayError
from trunkline.ledger.question import Question, count_days, find_day, read_day, read_question
from trunkline.store.usage import Choice

TODAY = date(2028, 3, 15)
NOW_US = count_days(TODAY) * 86_400_000_000 + 86_399_999_999


def day(text: str) -> int:
    return count_days(date.fromisoformat(text))


def ask(**query: str) -> Question:
    return read_question(query, NOW_US)


def test_without_words_it_is_this_month_by_model() -> None:
    assert ask() == Question(
        Choice(since_day=day("2028-03-01"), until_day=day("2028-03-15")), ("model",), "json"
    )


def test_every_word_is_read() -> None:
    assert ask(
        account="team b",
        key="key_1",
        model="local/x, y",
        target="openai/gpt-4o",
        status="left",
        since="2027-12-31",
        until="2028-01-01",
        by="day, model,day",
        format="csv",
    ) == Question(
        Choice(
            account_id="team b",
            key_id="key_1",
            model="local/x, y",
            target="openai/gpt-4o",
            status="left",
            since_day=day("2027-12-31"),
            until_day=day("2028-01-01"),
        ),
        ("day", "model"),
        "csv",
    )


def test_without_a_first_day_it_is_the_month_of_the_last_one() -> None:
    choice = ask(until="2027-11-20").choice
    assert (choice.since_day, choice.until_day) == (day("2027-11-01"), day("2027-11-20"))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2028-02-29", "2028-02-29", "2028-02-29"),
        ("2028-02", "2028-02-01", "2028-02-29"),
        ("2027-02", "2027-02-01", "2027-02-28"),
        ("2027-12", "2027-12-01", "2027-12-31"),
        ("today", "2028-03-15", "2028-03-15"),
        ("yesterday", "2028-03-14", "2028-03-14"),
        ("0d", "2028-03-15", "2028-03-15"),
        ("7d", "2028-03-08", "2028-03-08"),
        ("2w", "2028-03-01", "2028-03-01"),
        ("1969-12-31", "1969-12-31", "1969-12-31"),
        ("9999-12", "9999-12-01", "9999-12-31"),
    ],
)
def test_days_have_several_names(text: str, first: str, last: str) -> None:
    assert read_day(text, count_days(TODAY)) == day(first)
    assert read_day(text, count_days(TODAY), last=True) == day(last)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "2027-02-29",
        "2027-13",
        "0000-01",
        "20270101",
        "2027-1-1",
        "7",
        "-7d",
        "d",
        "\u0667d",
    ],
)
def test_other_texts_are_no_days(text: str) -> None:
    assert read_day(text, count_days(TODAY)) is None
    with pytest.raises(GatewayError, match="It is no day") as caught:
        ask(until=text)
    assert caught.value.param == "until"


def test_days_are_counted_from_1970() -> None:
    assert (count_days(date(1970, 1, 2)), find_day(-1)) == (1, date(1969, 12, 31))


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("since", "soon", "no day"),
        ("since", "2028-03-16", "after the last day, 2028-03-15"),
        ("by", "", "some of day"),
        ("by", "day,week", "some of day"),
        ("format", "xml", "json or csv"),
        ("status", "done", "complete, failed"),
        ("account", "", "printed"),
        ("account", " a", "printed"),
        ("key", "\ud800", "printed"),
        ("model", "a\0", "printed"),
        ("target", "", "printed"),
        ("accounts", "a", "no such parameter; there are account, key"),
    ],
)
def test_a_wrong_word_is_named(name: str, text: str, word: str) -> None:
    with pytest.raises(GatewayError, match=word) as caught:
        ask(**{name: text})
    assert (caught.value.code, caught.value.param) == ("validation_error", name)
    (fault,) = caught.value.faults
    assert fault.loc == ("query", name)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(GatewayError, match="and 2 more") as caught:
        ask(since="x", until="y", by="z")
    assert {fault.loc[1] for fault in caught.value.faults} == {"since", "until", "by"}


def test_an_unknown_name_is_not_repeated_at_any_length() -> None:
    with pytest.raises(GatewayError) as caught:
        ask(**{"x" * 10_000: ""})
    assert len(caught.value.message) < 300
