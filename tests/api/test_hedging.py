"""A call that is late at its first target is sent to a second one: the sooner one answers."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from api.faulty import FAULTS, Fault, hang, say, stall_early, talk
from api.hedging import (
    SOON_S,
    TRIES,
    USUAL_S,
    Meeting,
    count_outcomes,
    hedge,
    list_attempts,
    read_last,
    warm,
)
from books import read_ledger
from gateway import Door
from scripted import Peer, Request
from trunkline.routing.hedge import LEAST


@pytest.mark.parametrize("stream", [False, True])
def test_the_second_one_is_sooner(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    meeting = Meeting()
    with hedge(tmp_path, door, client) as at:
        warm(at, stream=stream)
        at.one.fault, at.two.fault = meeting.wait, meeting.say
        response = at.ask(stream=stream, headers={"x-trunkline-debug": "true"})
        assert response.status_code == 200
        assert response.headers["x-trunkline-target"] == "other/two"
        assert response.headers["x-trunkline-attempts"] == "2"
        assert re.search(r"other/two=closed,hedge\b", response.headers["x-trunkline-route"])
        assert "Hello" in response.text
        assert response.text.endswith("[DONE]\n\n") == stream
        meeting.left.wait()
        if not stream:
            overhead_us = int(response.headers["x-trunkline-overhead-us"])
            assert overhead_us < USUAL_S * 1e6 / 2
        assert at.count() == [LEAST + 1, 1]
        assert count_outcomes(at) == {"won": 1}
    posting = read_last(tmp_path)
    entry, attempts = posting.entry, posting.attempts
    assert list_attempts(posting) == [("lab/one", "left", "hedged"), ("other/two", "complete", "")]
    assert (entry.status, entry.target, entry.attempts) == ("complete", "other/two", 2)
    # Nobody knows what the first one has read: the rule of thumb says so, and so says the sum.
    assert (attempts[0].usage_source, attempts[1].usage_source) == ("estimated", "provider")
    assert entry.usage_source == "estimated"
    assert attempts[0].input_tokens > 0
    assert attempts[0].first_token_us is None
    assert entry.input_tokens == attempts[0].input_tokens + 7
    assert entry.output_tokens == 3
    assert entry.cost_micros == entry.input_tokens * 1 + 3 * 2
    first_us, second_us = entry.first_token_us, attempts[1].first_token_us
    assert first_us is not None
    assert second_us is not None
    assert first_us >= second_us + USUAL_S * 1e6
    assert entry.queue_us < USUAL_S * 1e6


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_one_is_sooner_after_all(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    meeting = Meeting()
    with hedge(tmp_path, door, client) as at:
        warm(at, stream=stream)
        at.one.fault, at.two.fault = meeting.say_when_asked, meeting.wait_second
        response = at.ask(stream=stream)
        assert response.headers["x-trunkline-target"] == "lab/one"
        assert response.headers["x-trunkline-attempts"] == "2"
        assert "Hello" in response.text
        meeting.left.wait()
        assert count_outcomes(at) == {"lost": 1}
    posting = read_last(tmp_path)
    assert list_attempts(posting) == [("other/two", "left", "hedged"), ("lab/one", "complete", "")]
    assert (posting.entry.target, posting.entry.output_tokens) == ("lab/one", 3)


@pytest.mark.parametrize("stream", [False, True])
def test_the_one_that_lost_is_left_at_once(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    times = []
    with hedge(tmp_path, door, client) as at:
        warm(at, stream=stream)
        for number in range(TRIES):
            meeting = Meeting()
            if number % 2:
                at.one.fault, at.two.fault = meeting.wait, meeting.say
            else:
                at.one.fault, at.two.fault = meeting.say_when_asked, meeting.wait_second
            assert at.ask(stream=stream).status_code == 200
            meeting.left.wait()
            times.append(meeting.left.at_s - meeting.said.at_s)
    assert max(min(times[::2]), min(times[1::2])) < SOON_S


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_in_time_is_not_hedged(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with hedge(tmp_path, door, client) as at:
        warm(at, stream=stream)
        at.one.fault = None
        for _ in range(20):
            assert at.ask(stream=stream).headers["x-trunkline-attempts"] == "1"
        assert at.two.hits == 0
        assert count_outcomes(at) == {}


@pytest.mark.parametrize("door", ["direct"])
def test_one_late_piece_is_enough(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    """A stream that has begun, without content, has not answered; what it says later is lost."""
    with hedge(tmp_path, door, client) as at:
        warm(at, stream=True)
        at.one.fault = stall_early
        response = at.ask(stream=True)
        assert response.headers["x-trunkline-target"] == "other/two"
        assert response.text.count('"role"') == 1
    (lost, _) = read_last(tmp_path).attempts
    assert (lost.status, lost.output_tokens) == ("left", 0)


@pytest.mark.parametrize("door", ["direct"])
def test_no_more_than_the_share(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    with hedge(tmp_path, door, client, share=0.1, more="[routing]\nretries = 0\n") as at:
        warm(at, stream=True)
        at.one.fault = hang
        for _ in range(2):  # a tenth of the 20 calls so far
            assert at.ask(stream=True).headers["x-trunkline-target"] == "other/two"
        late = at.ask(stream=True, headers={"x-trunkline-timeout": "3"})
        assert late.status_code == 504
        assert at.two.hits == 2
        assert count_outcomes(at) == {"won": 2, "denied": 1}


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_one_fails_while_both_are_asked(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    meeting = Meeting()
    with hedge(tmp_path, door, client, more="[routing]\nretries = 0\n") as at:
        warm(at, stream=stream)
        at.one.fault, at.two.fault = meeting.fail_when_asked, meeting.say_after_failure
        response = at.ask(stream=stream)
        assert response.status_code == 200
        assert response.headers["x-trunkline-target"] == "other/two"
        assert response.headers["x-trunkline-attempts"] == "2"
        assert at.count() == [LEAST + 1, 1]
        assert count_outcomes(at) == {"won": 1}
    posting = read_last(tmp_path)
    assert list_attempts(posting) == [
        ("lab/one", "failed", "upstream_error"),
        ("other/two", "complete", ""),
    ]
    assert posting.entry.usage_source == "provider"


@pytest.mark.parametrize("stream", [False, True])
def test_the_second_one_fails_and_the_first_goes_on(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    meeting = Meeting()

    async def fail(peer: Peer, request: Request) -> bool:
        await FAULTS["503"](peer, request)
        meeting.asked.set()
        return True

    with hedge(tmp_path, door, client, more="[routing]\nretries = 0\n") as at:
        warm(at, stream=stream)
        at.one.fault, at.two.fault = meeting.say_when_asked, fail
        response = at.ask(stream=stream)
        assert response.headers["x-trunkline-target"] == "lab/one"
        assert response.headers["x-trunkline-attempts"] == "2"
        assert count_outcomes(at) == {"lost": 1}
    posting = read_last(tmp_path)
    assert list_attempts(posting) == [
        ("other/two", "failed", "overloaded"),
        ("lab/one", "complete", ""),
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_both_fail_and_the_call_goes_on_as_ever(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    meeting = Meeting()
    faults: list[Fault] = [meeting.fail_when_asked]

    async def fail_once(peer: Peer, request: Request) -> bool:
        return await (faults.pop() if faults else talk)(peer, request)

    async def fail(peer: Peer, request: Request) -> bool:
        meeting.asked.set()
        await meeting.left.seen()
        await asyncio.sleep(0.05)
        return await say(429, headers={"retry-after": "20"})(peer, request)

    with hedge(tmp_path, door, client, more="[routing]\nretries = 1\n") as at:
        warm(at, stream=stream)
        at.one.fault, at.two.fault = fail_once, fail
        response = at.ask(stream=stream)
        assert response.status_code == 200
        assert response.headers["x-trunkline-target"] == "lab/one"
        assert response.headers["x-trunkline-attempts"] == "3"
        assert at.count() == [LEAST + 2, 1]
        assert count_outcomes(at) == {"lost": 1}
        # A call that cannot be hedged, as its second target goes last for a while.
        at.one.fault = FAULTS["500"]
        assert at.ask(stream=stream).status_code in (429, 502)
    posting = read_ledger(tmp_path)[-2]
    assert list_attempts(posting) == [
        ("lab/one", "failed", "upstream_error"),
        ("other/two", "failed", "rate_limit_exceeded"),
        ("lab/one", "complete", ""),
    ]
    assert posting.entry.usage_source == "provider"
