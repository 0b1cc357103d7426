"""Hedged calls that end in other ways: clients that leave, answers that break, budgets, queues."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.crossing import TALK, cross
from api.faulty import Fault, cut_late, hang, talk
from api.hedging import (
    CONFIG,
    SOON_S,
    TRIES,
    Mark,
    Meeting,
    count_outcomes,
    hedge,
    leave,
    list_attempts,
    read_last,
    take_long,
    warm,
)
from gateway import Door
from scripted import Peer, Request
from trunkline.routing.hedge import LEAST
from trunkline.store.store import open_store
from trunkline.terms import AccountTerms, Budget


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_leaves_while_both_are_asked(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    times = []
    with hedge(tmp_path, door, client) as at:
        warm(at, stream=stream)
        for _ in range(TRIES):
            first, second = Meeting(), Meeting()
            at.one.fault, at.two.fault = first.wait, second.wait_second
            left_s = leave(at, stream=stream, after=second.asked)
            first.left.wait()
            second.left.wait()
            times.append(max(first.left.at_s, second.left.at_s) - left_s)
        assert min(times) < SOON_S
        assert count_outcomes(at) == {"left": TRIES}
    posting = read_last(tmp_path)
    assert list_attempts(posting) == [("lab/one", "left", ""), ("other/two", "left", "")]
    assert posting.entry.status == "left"
    assert posting.entry.input_tokens == 2 * posting.attempts[0].input_tokens > 0


@pytest.mark.parametrize("door", ["direct"])
def test_a_stream_that_keep_alives_have_begun(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    meeting = Meeting()

    async def say_later(peer: Peer, request: Request) -> bool:
        await asyncio.sleep(0.4)
        return await meeting.say(peer, request)

    more = "[stream]\nhold_s = 0.01\nkeepalive_s = 0.02\n"
    with hedge(tmp_path, door, client, more=more) as at:
        warm(at, stream=True)
        at.one.fault, at.two.fault = meeting.wait, say_later
        response = at.ask(stream=True)
        assert response.headers["x-trunkline-target"] == "lab/one"
        assert response.text.count(": ping\n\n") >= 4
        assert "Hello" in response.text
        assert response.text.endswith("data: [DONE]\n\n")
    assert read_last(tmp_path).entry.target == "other/two"


@pytest.mark.parametrize("door", ["direct"])
def test_a_winner_that_breaks_is_a_failed_call(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    """After the first content nothing else is tried, though there was another target."""
    with hedge(tmp_path, door, client) as at:
        warm(at, stream=True)
        at.one.fault, at.two.fault = hang, cut_late
        with pytest.raises(httpx.RemoteProtocolError):
            at.ask(stream=True)
        assert at.count() == [LEAST + 1, 1]
    posting = read_last(tmp_path)
    assert list_attempts(posting) == [
        ("lab/one", "left", "hedged"),
        ("other/two", "failed", "upstream_error"),
    ]
    assert posting.entry.status == "failed"
    assert posting.entry.first_token_us is not None


@pytest.mark.parametrize("door", ["direct"])
def test_budgets_have_room_for_both_or_the_call_is_not_hedged(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    body: dict[str, Any] = {"max_tokens": 50}
    worst = len(json.dumps({"model": "both", "messages": TALK, "stream": False} | body)) + 50
    with closing(open_store(tmp_path / "trunkline.db")) as store:
        for name, calls in (("tight", 1.5), ("roomy", 2000)):
            budget = Budget("tokens", "month", int(worst * calls))
            store.accounts.create(name, "", 1, AccountTerms(budgets=(budget,)))
    with hedge(tmp_path, door, client, more="[routing]\nretries = 0\n") as at:
        warm(at, stream=False)
        at.one.fault = hang
        roomy = {"x-selected-account-id": "roomy"}
        tight = {"x-selected-account-id": "tight", "x-trunkline-timeout": "3"}
        for _ in range(3):
            assert at.ask(headers=roomy, **body).headers["x-trunkline-attempts"] == "2"
        assert at.ask(headers=tight, **body).status_code in (429, 504)
        assert count_outcomes(at) == {"won": 3, "denied": 1}
        at.one.fault = None
        # What both had reserved is free again.
        assert at.ask(headers=tight, **body).status_code == 200


@pytest.mark.parametrize("door", ["direct"])
def test_a_busy_second_target_is_left_alone(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    """A hedge that would wait for its turn helps nobody."""
    meeting = Meeting()
    config = CONFIG.replace("[models.both]", "concurrent = 1\n[models.both]")
    on = "\n[models.both.routing]\nhedge_share = 1\n"
    with cross(tmp_path, door, client, on, config) as at, ThreadPoolExecutor(1) as pool:
        warm(at, stream=True)
        at.one.fault, at.two.fault = take_long, meeting.wait_second
        busy = pool.submit(at.ask, "other/m", headers={"x-trunkline-timeout": "3"})
        meeting.asked.wait()
        assert at.ask(stream=True).headers["x-trunkline-attempts"] == "1"
        assert count_outcomes(at) == {"denied": 1}
        assert busy.result().status_code == 504


@pytest.mark.parametrize("stream", [False, True])
def test_alternatives_that_are_asked_for_one_by_one(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    """All requests of a side count together: the first content of any claims the call."""
    config = CONFIG.replace("[models.both]", 'rewrites = ["n_fan_out"]\n[models.both]')
    on = "\n[models.both.routing]\nhedge_share = 1\n"
    with cross(tmp_path, door, client, on, config) as at:
        warm(at, stream=stream)
        at.one.fault = hang
        response = at.ask(stream=stream, n=3)
        assert response.headers["x-trunkline-target"] == "other/two"
        assert response.text.count("Hello") == 3
        assert at.count() == [LEAST + 1, 3]
        assert count_outcomes(at) == {"won": 1}
    posting = read_last(tmp_path)
    assert list_attempts(posting) == [("lab/one", "left", "hedged"), ("other/two", "complete", "")]
    assert posting.attempts[1].output_tokens == 9


@pytest.mark.parametrize("stream", [False, True])
def test_one_by_one_and_too_late(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    meeting = Meeting()
    config = CONFIG.replace("[models.both]", 'rewrites = ["n_fan_out"]\n[models.both]')
    on = "\n[models.both.routing]\nhedge_share = 1\n"
    with cross(tmp_path, door, client, on, config) as at:
        warm(at, stream=stream)
        at.one.fault, at.two.fault = meeting.say_when_asked, meeting.wait_second
        response = at.ask(stream=stream, n=3)
        assert response.headers["x-trunkline-target"] == "lab/one"
        assert "Hello" in response.text
        meeting.left.wait()
    posting = read_last(tmp_path)
    assert list_attempts(posting) == [("other/two", "left", "hedged"), ("lab/one", "complete", "")]


@pytest.mark.parametrize("stream", [False, True])
def test_an_account_that_drains_has_the_race_run_to_its_end(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    meeting, gone = Meeting(), Mark()

    async def say_when_gone(peer: Peer, request: Request) -> bool:
        meeting.asked.set()
        await gone.seen()
        await asyncio.sleep(0.1)
        return await meeting.say(peer, request)

    with closing(open_store(tmp_path / "trunkline.db")) as store:
        store.accounts.create("drainer", "", 1, AccountTerms(leaving="drain"))
    with hedge(tmp_path, door, client) as at:
        warm(at, stream=stream)
        at.one.fault, at.two.fault = meeting.wait, say_when_gone
        leave(at, stream=stream, after=meeting.asked, account="drainer")
        gone.set()
        meeting.left.wait()
        assert count_outcomes(at) == {"won": 1}
    posting = read_last(tmp_path)
    assert posting.entry.status == "left"
    assert list_attempts(posting) == [("lab/one", "left", "hedged"), ("other/two", "complete", "")]
    assert posting.attempts[1].usage_source == "provider"


@pytest.mark.parametrize("door", ["direct"])
def test_a_winner_that_breaks_is_continued_where_the_operator_wants_it(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    faults: list[Fault] = [cut_late]

    async def break_once(peer: Peer, request: Request) -> bool:
        return await (faults.pop() if faults else talk)(peer, request)

    config = CONFIG.replace("[models.both]", 'prefill = "assistant"\n[models.both]')
    on = "\n[models.both.routing]\nhedge_share = 1\nresume = true\n"
    with cross(tmp_path, door, client, on, config) as at:
        warm(at, stream=True)
        at.one.fault, at.two.fault = hang, break_once
        response = at.ask(stream=True)
        assert response.headers["x-trunkline-target"] == "other/two"
        assert response.text.endswith("data: [DONE]\n\n")
        assert at.count() == [LEAST + 1, 2]
    posting = read_last(tmp_path)
    assert list_attempts(posting) == [
        ("lab/one", "left", "hedged"),
        ("other/two", "failed", "upstream_error"),
        ("other/two", "complete", ""),
    ]
    assert posting.entry.status == "complete"
