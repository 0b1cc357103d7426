"""Attempts of one call: another target takes over before the content, the same one is asked again
only as long and as often as it may be."""

import socket
import time
from pathlib import Path

import httpx
import pytest

from api.crossing import MORE, PATH, TALK, cross
from api.faulty import FAULTS, cut_late, hang, refuse, say, stall_early
from books import read_ledger, read_only
from gateway import Door

PATIENT = """
[routing.circuit]
failures = 1000
"""
PRICES = """
[[prices.list]]
provider = "other"
model = "*"
input = "1000"
output = "2000"
"""
BOUNDED = """
[routing]
retry_share = {share}
"""


@pytest.mark.parametrize("stream", [False, True])
def test_whatever_fails_before_the_content_the_other_target_answers(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with cross(tmp_path, door, client, PATIENT + PRICES) as at:
        for name, fault in FAULTS.items():
            at.one.fault = fault
            response = at.ask(stream=stream)
            assert response.status_code == 200, (name, response.text)
            assert response.headers["x-trunkline-target"] == "other/two", name
            assert response.headers["x-trunkline-attempts"] == "2", name
            assert response.text.count("Hello") == 1, name
            assert "canary" not in response.text
            assert "error" not in response.text
            assert response.text.endswith("[DONE]\n\n") == stream
        assert at.two.hits == len(FAULTS)
    slow = {"408", "504", "stalls-early", "hangs"}
    busy = {"503", "529"}
    for name, posting in zip(FAULTS, read_ledger(tmp_path), strict=True):
        entry, (first, second) = posting.entry, posting.attempts
        code = "upstream_timeout" if name in slow else "upstream_error"
        assert (first.target, first.status) == ("lab/one", "failed"), name
        assert first.code == ("overloaded" if name in busy else code), name
        assert (second.target, second.status, second.code) == ("other/two", "complete", "")
        assert (second.input_tokens, second.output_tokens) == (7, 3)
        assert (first.cost_micros or 0, second.cost_micros) == (0, 13_000)
        assert (entry.status, entry.target, entry.output_tokens) == ("complete", "other/two", 3)


def test_a_refused_connection_is_taken_over(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        away = taken.getsockname()[1]
    config = MORE.replace("lab", "away")
    config += f'\n[providers.away]\nbase_url = "http://127.0.0.1:{away}"\nwire = "openai"\n'
    with cross(tmp_path, door, client, config=config) as at:
        response = at.ask()
        assert response.headers["x-trunkline-target"] == "other/two"
        assert at.ask("alone").json()["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("door", ["direct"])
def test_nothing_is_tried_again_after_the_first_content(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with cross(tmp_path, door, client) as at:
        at.one.fault = cut_late
        body = {"model": "both", "messages": TALK, "stream": True}
        received = ""
        url, headers = at.gateway.url + PATH, at.gateway.headers
        with (
            pytest.raises(httpx.RemoteProtocolError),
            client.stream("POST", url, json=body, headers=headers) as response,
        ):
            for piece in response.iter_text():
                received += piece
        assert received.count("Hello") == 1
        assert "event: error" in received
        assert at.count() == [1, 0]
    entry, attempts = read_only(tmp_path)
    assert (entry.status, len(attempts), attempts[0].code) == ("failed", 1, "upstream_error")


@pytest.mark.parametrize("fault", [hang, stall_early])
def test_keep_alives_do_not_end_the_search(
    tmp_path: Path, door: Door, client: httpx.Client, fault: object
) -> None:
    more = "\n[stream]\nhold_s = 0.1\nkeepalive_s = 0.1\n"
    with cross(tmp_path, door, client, more) as at:
        at.one.fault = FAULTS["hangs" if fault is hang else "stalls-early"]
        response = at.ask(stream=True)
        assert response.text.startswith(": ping")
        assert response.text.count("Hello") == 1
        assert response.text.endswith("[DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_a_single_target_is_asked_again(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with cross(tmp_path, door, client) as at:
        at.one.fault = FAULTS["500"]
        response = at.ask("alone", stream=stream)
        assert (response.status_code, at.one.hits) == (502, 3)
        assert response.json()["error"]["code"] == "upstream_error"
    _, attempts = read_only(tmp_path)
    assert [(each.number, each.code) for each in attempts] == [
        (number, "upstream_error") for number in (1, 2, 3)
    ]


def test_an_upstreams_wish_to_wait_is_honoured(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with cross(tmp_path, door, client, "\n[routing]\nretries = 1\n") as at:
        at.one.fault = say(429, headers={"retry-after-ms": "300"})
        start_s = time.monotonic()
        response = at.ask("alone")
        assert (response.status_code, at.one.hits) == (429, 2)
        assert time.monotonic() - start_s >= 0.3
        assert int(response.headers.get("x-trunkline-overhead-us", 0)) < 300_000


def test_a_wish_that_does_not_fit_is_the_clients_to_decide(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with cross(tmp_path, door, client) as at:
        at.one.fault = say(503, headers={"retry-after": "30"})
        start_s = time.monotonic()
        response = at.ask("alone")
        assert time.monotonic() - start_s < 5
        assert (response.status_code, at.one.hits) == (503, 1)
        assert response.headers["retry-after"] == "30"
        at.one.fault = say(503, headers={"retry-after": "1"})
        hurried = at.ask("alone", headers={"x-trunkline-timeout": "0.9"})
        assert (hurried.status_code, at.one.hits) == (503, 2)


def test_the_total_bounds_all_attempts(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    more = "total_s = 0.6\n[routing]\nretries = 9\n"
    with cross(tmp_path, door, client, more) as at:
        at.one.fault = at.two.fault = hang
        start_s = time.monotonic()
        response = at.ask()
        assert 0.55 < time.monotonic() - start_s < 3
        assert response.json()["error"]["code"] == "upstream_timeout"
        assert at.count() == [1, 1]


@pytest.mark.parametrize("door", ["direct"])
@pytest.mark.parametrize(("share", "most"), [("0", 10), ("0.5", 40)])
def test_an_outage_is_not_multiplied(
    tmp_path: Path, door: Door, client: httpx.Client, share: str, most: int
) -> None:
    with cross(tmp_path, door, client, BOUNDED.format(share=share) + PATIENT) as at:
        at.one.fault = FAULTS["500"]
        for _ in range(60):
            assert at.ask("alone").status_code == 502
        # Ten to begin with, the share, and one in six seconds, of which sixty calls take few.
        assert most <= at.one.hits - 60 <= most + 6
        metrics = at.look("/metrics").text
        assert 'trunkline_retries_denied_total{target="lab/one"' in metrics


def test_targets_kept_for_a_failure_are_tried_for_it_alone(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    config = MORE.replace(
        'provider = "other", model = "two"',
        'provider = "other", model = "two", on = ["context", "filter"]',
    )
    with cross(tmp_path, door, client, config=config) as at:
        for code in ("context_length_exceeded", "content_filter"):
            at.one.fault = refuse(code)
            response = at.ask(stream=True)
            assert response.headers["x-trunkline-target"] == "other/two"
            assert "Hello" in response.text
        at.one.fault = refuse("unsupported_value")
        assert at.ask().status_code == 400
        at.one.fault = FAULTS["500"]
        assert at.ask().status_code == 502
        assert at.two.hits == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_asks_is_told_why(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with cross(tmp_path, door, client) as at:
        at.one.fault = FAULTS["500"]
        debug = {"x-trunkline-debug": "true"}
        route = at.ask(stream=stream, headers=debug).headers["x-trunkline-route"]
        assert route == "policy=ordered; lab/one=closed,tried:upstream_error; other/two=closed"
        at.two.fault = FAULTS["500"]
        failed = at.ask(stream=stream, headers=debug)
        assert failed.status_code == 502
        assert failed.headers["x-trunkline-route"].count("tried:upstream_error") == 3
        assert "x-trunkline-route" not in at.ask(stream=stream).headers
        assert "x-trunkline-route" not in at.ask(headers={"x-trunkline-debug": "no"}).headers
