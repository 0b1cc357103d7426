"""Circuits of targets: they open, a single probe goes, they close; nobody else can open them."""

import shutil
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from api.crossing import PATH, Crossing, cross
from api.faulty import FAULTS, cut_late, hang, say
from gateway import Door
from trunkline.ledger.recovery import adopt, list_journals

ONCE = """
[routing]
retries = 0
[routing.circuit]
failures = 3
open_s = {open_s}
"""


def fail(at: Crossing, times: int = 3) -> None:
    at.one.fault = FAULTS["500"]
    for _ in range(times):
        assert at.ask("alone").status_code == 502


def poll(at: Crossing, is_true: Callable[[httpx.Response], bool]) -> httpx.Response:
    give_up_s = time.monotonic() + 10
    while not is_true(response := at.ask("alone")):
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    return response


@pytest.mark.parametrize("stream", [False, True])
def test_a_single_target_that_fails_is_left_alone(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with cross(tmp_path, door, client, ONCE.format(open_s=30)) as at:
        fail(at)
        start_s = time.monotonic()
        for _ in range(5):
            response = at.ask("alone", stream=stream, headers={"x-trunkline-debug": "true"})
            assert (response.status_code, at.one.hits) == (503, 3)
            assert response.json()["error"]["code"] == "overloaded"
            assert 25 < float(response.headers["retry-after"]) <= 30
            assert "lab/one=open" in response.headers["x-trunkline-route"]
        assert time.monotonic() - start_s < 2
        ready = at.look("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        reasons = ready.json()["reasons"]
        assert "model alone" in reasons
        assert "target lab/one" in reasons
        assert "model both" not in reasons
        metrics = at.look("/metrics").text
        assert 'trunkline_target_open{target="lab/one"' in metrics
        assert 'trunkline_attempts_total{outcome="upstream_error",target="lab/one"' in metrics
        assert at.ask("both").headers["x-trunkline-attempts"] == "1"


def test_one_probe_goes_and_closes_it(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    with cross(tmp_path, door, client, ONCE.format(open_s=0.3)) as at:
        fail(at)
        at.one.fault = hang  # within 0.4 s
        with ThreadPoolExecutor(8) as pool:
            give_up_s = time.monotonic() + 10
            while at.one.hits == 3:
                answers = [each.status_code for each in pool.map(at.ask, ["alone"] * 8)]
                assert time.monotonic() < give_up_s
        # One of them was the probe, and the others were told at once.
        assert at.one.hits == 4
        assert sorted(answers) == [503] * 7 + [504]
        at.one.fault = None
        response = poll(at, lambda answer: answer.status_code == 200)
        assert "Hello" in response.text
        assert at.one.hits == 5
        assert [at.ask("alone").status_code for _ in range(5)] == [200] * 5
        assert at.look("/readyz").json()["status"] == "ok"


def test_with_another_target_the_probe_costs_no_call(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    more = ONCE.format(open_s=0.2).replace("retries = 0", "")
    with cross(tmp_path, door, client, more) as at:
        at.one.fault = FAULTS["500"]
        attempts = [int(at.ask().headers["x-trunkline-attempts"]) for _ in range(10)]
        assert attempts[:3] == [2, 2, 2]
        at.one.fault = None
        give_up_s = time.monotonic() + 10
        while (response := at.ask()).headers["x-trunkline-target"] != "lab/one":
            assert response.status_code == 200
            assert time.monotonic() < give_up_s
            time.sleep(0.02)


@pytest.mark.parametrize("door", ["direct"])
def test_a_stream_that_is_cut_after_its_content_counts(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with cross(tmp_path, door, client, ONCE.format(open_s=30)) as at:
        at.one.fault = cut_late
        for _ in range(3):
            with pytest.raises(httpx.RemoteProtocolError):
                at.ask("alone", stream=True)
        assert at.ask("alone").status_code == 503
        assert at.one.hits == 3


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429])
def test_what_the_request_or_the_key_is_to_blame_for_does_not_count(
    tmp_path: Path, door: Door, client: httpx.Client, status: int
) -> None:
    with cross(tmp_path, door, client, ONCE.format(open_s=30)) as at:
        at.one.fault = say(status, headers={"retry-after": "60"})
        statuses = {at.ask("alone").status_code for _ in range(6)}
        assert 503 not in statuses
        assert at.one.hits == 6


@pytest.mark.parametrize("door", ["direct"])
def test_a_call_that_is_lost_is_known_by_the_target_that_it_was_sent_to(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    more = ONCE.format(open_s=30).replace("failures = 3", "failures = 1")
    with cross(tmp_path, door, client, more) as at:
        fail(at, 1)
        at.two.fault = hang
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(at.ask, "both")
            give_up_s = time.monotonic() + 10
            while not at.two.hits:
                assert time.monotonic() < give_up_s
                time.sleep(0.01)
            # What a machine that loses power now would find.
            shutil.copytree(tmp_path / "ledger", tmp_path / "left")
            assert asked.result(20).status_code == 504
    (journal,) = list_journals(tmp_path / "left")
    adopted = adopt(journal)
    assert adopted is not None
    (lost,) = adopted.list_lost()
    adopted.close()
    assert [each.target for each in lost.attempts] == ["other/two"]


def test_clients_in_a_hurry_do_not_count(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    with cross(tmp_path, door, client, ONCE.format(open_s=30)) as at:
        at.one.fault = hang
        for name in ("x-trunkline-timeout", "x-stainless-read-timeout"):
            for _ in range(4):
                assert at.ask("alone", headers={name: "0.05"}).status_code == 504
        at.one.fault = None
        assert at.ask("alone").status_code == 200


def test_clients_that_leave_do_not_count(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    body = b'{"model": "alone", "messages": [{"role": "user", "content": "Hi"}]}'
    with cross(tmp_path, door, client, ONCE.format(open_s=30)) as at:
        at.one.fault = hang
        key = at.gateway.headers["x-api-key"]
        head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n"
        sent = head.encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body)
        for number in range(1, 7):
            with socket.create_connection(("127.0.0.1", at.gateway.port), timeout=20) as leaving:
                leaving.sendall(sent)
                give_up_s = time.monotonic() + 10
                while at.one.hits < number:
                    assert time.monotonic() < give_up_s
                    time.sleep(0.01)
        at.one.fault = None
        assert at.ask("alone").status_code == 200
