"""What a client is told: headers, messages, and advice on when to come again."""

import pytest

from limits.asking import account, key
from trunkline.limits.limit import (
    FREE,
    Reading,
    Refusal,
    Standing,
    Subject,
    explain_refusal,
    list_limited,
    write_duration,
    write_headers,
)
from trunkline.terms import NO_LIMITS, Limits
from trunkline.wire.failure import write_failure_headers

NOW_US = 1_800_000_000_000_000
MINUTE_US = 60_000_000


def read(subject: Subject, standing: Standing, tokens: int = 10) -> Reading:
    return Reading((subject,), tokens, (standing,), NOW_US)


@pytest.mark.parametrize("fault", [0, -1])
@pytest.mark.parametrize("name", ["rpm", "tpm", "concurrent"])
def test_a_limit_is_at_least_one(name: str, fault: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Limits(**{name: fault})
    assert Limits(**{name: 1}) != NO_LIMITS


def test_only_whoever_has_limits_is_asked_about() -> None:
    assert list_limited(key(), account()) == ()
    assert list_limited(key(rpm=1), account()) == (key(rpm=1),)
    assert list_limited(key(tpm=1), account(concurrent=1)) == (key(tpm=1), account(concurrent=1))


@pytest.mark.parametrize(
    ("duration_us", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (17_000, "17ms"),
        (999_001, "1s"),
        (1_000_000, "1s"),
        (8_640_000, "8.64s"),
        (59_999_000, "59.999s"),
        (59_999_001, "1m0s"),
        (60_000_000, "1m0s"),
        (72_500_000, "1m12.5s"),
        (360_000_000, "6m0s"),
        (3_600_000_000, "1h0m0s"),
        (86_400_500_000, "24h0m0.5s"),
    ],
)
def test_durations_are_written_as_openai_does(duration_us: int, text: str) -> None:
    assert write_duration(duration_us) == text


def test_headers_say_what_is_left() -> None:
    standing = Standing(NOW_US + 1_000_000, NOW_US + 6_000, 3)
    reading = read(key(rpm=60, tpm=150_000, concurrent=9), standing)
    assert write_headers(reading).decode().splitlines() == [
        "x-ratelimit-limit-requests: 60",
        "x-ratelimit-remaining-requests: 59",
        "x-ratelimit-reset-requests: 1s",
        "x-ratelimit-limit-tokens: 150000",
        "x-ratelimit-remaining-tokens: 149985",
        "x-ratelimit-reset-tokens: 6ms",
    ]


def test_headers_are_those_of_the_tightest_limit() -> None:
    subjects = (key(rpm=60, tpm=1000), account(rpm=100, tpm=500))
    standings = (
        Standing(NOW_US + 30_000_000, NOW_US),
        Standing(NOW_US + 57_000_000, NOW_US - 1),
    )
    assert write_headers(Reading(subjects, 1, standings, NOW_US)).decode().splitlines() == [
        "x-ratelimit-limit-requests: 100",
        "x-ratelimit-remaining-requests: 5",
        "x-ratelimit-reset-requests: 57s",
        "x-ratelimit-limit-tokens: 500",
        "x-ratelimit-remaining-tokens: 500",
        "x-ratelimit-reset-tokens: 0s",
    ]


def test_of_equally_tight_limits_headers_show_the_one_that_is_full_last() -> None:
    subjects = (key(rpm=10), account(rpm=20))
    standings = (Standing(NOW_US + MINUTE_US), Standing(NOW_US + 2 * MINUTE_US))
    assert write_headers(Reading(subjects, 1, standings, NOW_US)).decode().splitlines() == [
        "x-ratelimit-limit-requests: 20",
        "x-ratelimit-remaining-requests: 0",
        "x-ratelimit-reset-requests: 2m0s",
    ]


@pytest.mark.parametrize("subject", [key(concurrent=1), key()])
def test_no_headers_for_limits_that_nobody_has(subject: Subject) -> None:
    assert write_headers(read(subject, Standing())) == b""
    assert write_headers(FREE.reading) == b""


def check_told(refusal: Refusal, message: str, retry_after_s: float) -> None:
    error = refusal.make_error()
    assert (error.code, error.status) == ("rate_limit_exceeded", 429)
    assert (error.message, error.retry_after_s) == (message, retry_after_s)


def test_a_refusal_names_the_requests_a_minute() -> None:
    standing = Standing(NOW_US + MINUTE_US + 1_500_000)
    refusal = explain_refusal(read(key(rpm=60), standing))
    assert (refusal.unit, refusal.wait_us) == ("requests", 2_500_000)
    check_told(
        refusal,
        "This API key may make 60 requests a minute and has made them; try again in 2.5s.",
        2.5,
    )
    headers = dict(write_failure_headers(refusal.make_error(), "req_1"))
    assert (headers[b"retry-after"], headers[b"retry-after-ms"]) == (b"3", b"2500")


def test_a_refusal_names_the_tokens_a_minute_and_the_account() -> None:
    refusal = explain_refusal(read(account("Acme Ltd", tpm=60), Standing(0, NOW_US + MINUTE_US)))
    check_told(
        refusal,
        "The account 'Acme Ltd' may use 60 tokens a minute and has too few left for the 10 that "
        "this call asks for; try again in 10s.",
        10,
    )


def test_a_refusal_says_when_no_wait_can_help() -> None:
    refusal = explain_refusal(read(key(tpm=9, rpm=1), Standing(NOW_US + MINUTE_US, 0)))
    assert refusal.wait_us is None
    check_told(
        refusal,
        "This API key may use 9 tokens a minute, and this call asks for 10; "
        "shorten the prompt or lower max_tokens.",
        60,
    )


def test_a_refusal_names_the_calls_at_once() -> None:
    refusal = explain_refusal(read(key(concurrent=2), Standing(0, 0, 2)))
    check_told(
        refusal,
        "This API key may have 2 calls at once and has them under way; "
        "try again when one has ended.",
        1,
    )


def test_a_refusal_is_about_the_longest_wait() -> None:
    subjects = (key(rpm=60, concurrent=1), account(rpm=60, tpm=60))
    standings = (
        Standing(NOW_US + MINUTE_US, 0, 1),
        Standing(NOW_US + MINUTE_US, NOW_US + MINUTE_US, 0),
    )
    refusal = explain_refusal(Reading(subjects, 2, standings, NOW_US))
    assert (refusal.subject, refusal.unit, refusal.wait_us) == (subjects[1], "tokens", 2_000_000)
