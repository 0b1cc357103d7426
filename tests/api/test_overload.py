"""Calls that wait for their turn at a provider: order, keep-alives, leaving, honest refusals."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from books import read_ledger
from gateway import (
    ACCOUNT,
    DOORS,
    KEY,
    Door,
    RunningGateway,
    run_gateway,
    run_upstream,
    write_answer,
    write_frames,
)
from scripted import Peer, Script
from trunkline.store.store import open_store
from trunkline.terms import AccountTerms

MORE = """
[providers.narrow]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"
concurrent = {concurrent}
queue = {queue}
queue_s = {queue_s}

[models.narrow]
targets = [{{ provider = "narrow", model = "one" }}]

[routing]
retries = 0

[stream]
hold_s = {hold_s}
keepalive_s = 0.1
"""
NATIVE = "/v4/completions"


@dataclass
class Slots:
    """An upstream that answers when it is told to, and notes who came in, in order."""

    prompts: list[str] = field(default_factory=list)
    lets_go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def script(self) -> Script:
        async def script(peer: Peer) -> None:
            while True:
                request = await peer.request()
                asked = json.loads(request.body)
                self.prompts.append(asked["messages"][0]["content"])
                await asyncio.to_thread(self.lets_go.acquire, True, 100)
                if asked.get("stream"):
                    await peer.begin_sse()
                    await peer.frames(write_frames(request, asked, ("Hi",)))
                    await peer.end_chunked()
                else:
                    await peer.answer(json.dumps(write_answer(request, asked, ("Hi",))).encode())

        return script


@dataclass
class Place:
    """A gateway before a provider that takes few calls at once."""

    gateway: RunningGateway
    slots: Slots
    crowd: ThreadPoolExecutor
    client: httpx.Client

    def ask(self, prompt: str, account: str = ACCOUNT, **more: Any) -> "Future[httpx.Response]":
        """Send a call, and go on when the gateway has it."""
        headers = self.gateway.headers | {"x-selected-account-id": account}
        headers |= more.pop("headers", {})
        body = {"model": "narrow", "prompt": prompt, **more}
        before = sum(self.count())
        answer = self.crowd.submit(
            self.client.post, self.gateway.url + NATIVE, json=body, headers=headers
        )
        poll(lambda: answer.done() or sum(self.count()) > before)
        return answer

    def count(self) -> tuple[int, int]:
        """How many calls run and how many wait, by the metrics."""
        text = self.client.get(f"{self.gateway.url}/metrics", headers=self.gateway.headers).text
        running, waiting = (
            next(line.split()[-1] for line in text.splitlines() if line.startswith(f"{name}{{"))
            for name in ("trunkline_calls_running", "trunkline_queue_waiting")
        )
        return int(float(running)), int(float(waiting))


def poll(is_true: Any, within_s: float = 10) -> None:
    give_up_s = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < give_up_s
        time.sleep(0.005)


@contextmanager
def serve(
    tmp_path: Path,
    *,
    concurrent: int = 1,
    queue: int = 10,
    queue_s: float = 400,
    hold_s: float = 20,
    accounts: dict[str, AccountTerms] | None = None,
    door: Door = "direct",
) -> Iterator[Place]:
    slots = Slots()
    with (
        ThreadPoolExecutor(32) as crowd,
        httpx.Client(timeout=60) as client,
        run_upstream(slots.script()) as upstream,
    ):
        more = MORE.format(
            port=upstream.port, concurrent=concurrent, queue=queue, queue_s=queue_s, hold_s=hold_s
        )
        store = open_store(tmp_path / "trunkline.db")
        for account, terms in (accounts or {}).items():
            store.accounts.create(account, "", 1, terms)
        store.close()
        with run_gateway(tmp_path, upstream.port, door=door, more=more) as gateway:
            try:
                yield Place(gateway, slots, crowd, client)
            finally:
                for _ in range(64):
                    slots.lets_go.release()


def test_calls_wait_for_their_turn(tmp_path: Path) -> None:
    with serve(tmp_path, concurrent=2) as at:
        answers = [at.ask(f"{number}") for number in range(5)]
        assert at.count() == (2, 3)
        assert len(at.slots.prompts) == 2
        for _ in answers:
            at.slots.lets_go.release()
        assert [answer.result(60).status_code for answer in answers] == [200] * 5
        assert at.count() == (0, 0)
    assert at.slots.prompts[2:] == ["2", "3", "4"]


def test_beyond_the_queue_a_call_is_refused_honestly(tmp_path: Path) -> None:
    with serve(tmp_path, queue=1) as at:
        waiting = [at.ask("first"), at.ask("second")]
        for stream in (False, True):
            refused = at.ask("third", stream=stream).result(60)
            failure = refused.json()["error"]
            assert (refused.status_code, failure["code"]) == (503, "overloaded")
            assert "'narrow' is busy" in failure["message"]
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        at.slots.lets_go.release(2)
        assert [answer.result(60).status_code for answer in waiting] == [200, 200]
    third = [posting for posting in read_ledger(tmp_path) if posting.entry.status != "complete"]
    assert [posting.entry.code for posting in third] == ["overloaded"] * 2
    assert {posting.entry.usage_source for posting in third} == {"none"}


def test_a_wait_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with serve(tmp_path, queue_s=0.2) as at:
        first = at.ask("first")
        late = at.ask("late").result(60)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "overloaded")
        impatient = at.ask("late", headers={"x-trunkline-timeout": "0.1"}).result(60)
        assert impatient.status_code == 503
        at.slots.lets_go.release()
        assert first.result(60).status_code == 200
    assert at.slots.prompts == ["first"]


def test_a_stream_is_kept_alive_while_it_waits(tmp_path: Path) -> None:
    with serve(tmp_path, hold_s=0.1) as at:
        first = at.ask("first")
        body = {"model": "narrow", "prompt": "second", "stream": True}
        url, headers = at.gateway.url + NATIVE, at.gateway.headers
        with httpx.stream("POST", url, json=body, headers=headers, timeout=20) as response:
            pieces, received = response.iter_text(), ""
            while received.count(": ping\n\n") < 3:
                received += next(pieces)
            assert at.slots.prompts == ["first"]
            at.slots.lets_go.release(2)
            received += "".join(pieces)
        assert first.result(60).status_code == 200
    assert '"text":"Hi"' in received


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("leaving", ["cancel", "drain"])
def test_who_leaves_while_waiting_frees_the_place(
    tmp_path: Path, leaving: str, stream: bool, door: Door
) -> None:
    terms = AccountTerms(leaving="drain" if leaving == "drain" else "cancel")
    with serve(tmp_path, queue=1, accounts={"leaves": terms}, door=door) as at:
        first = at.ask("first")
        # A busy machine may be late with any one of them, and not with all.
        taken_s = [leave_while_waiting(at, stream=stream) for _ in range(5)]
        third = at.ask("third")
        at.slots.lets_go.release(2)
        assert [first.result(60).status_code, third.result(60).status_code] == [200, 200]
    assert min(taken_s) < 0.05
    assert at.slots.prompts == ["first", "third"]
    postings = [each for each in read_ledger(tmp_path) if each.entry.account_id == "leaves"]
    assert [each.entry.status for each in postings] == ["left"] * len(taken_s)
    for entry in (each.entry for each in postings):
        assert (entry.input_tokens, entry.output_tokens, entry.cost_micros) == (0, 0, 0)
        assert entry.usage_source == "none"


def leave_while_waiting(at: Place, *, stream: bool) -> float:
    """Wait in the queue as a client of the account ``leaves``; how long the place is kept then."""
    content = json.dumps({"model": "narrow", "prompt": "left", "stream": stream}).encode()
    head = (
        f"POST {NATIVE} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n"
        f"x-selected-account-id: leaves\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", at.gateway.port), timeout=20) as client:
        client.sendall(head.encode() + content)
        poll(lambda: at.count()[1] == 1)
    left_s = time.monotonic()
    poll(lambda: at.count()[1] == 0)
    return time.monotonic() - left_s


def test_a_noisy_account_waits_longer_than_a_quiet_one(tmp_path: Path) -> None:
    accounts = {
        "noisy": AccountTerms(),
        "quiet": AccountTerms(),
        "vip": AccountTerms(priority="high"),
        "batch": AccountTerms(priority="low"),
        "wide": AccountTerms(share=2),
    }
    with serve(tmp_path, queue=20, accounts=accounts) as at:
        order = ["noisy", "batch", *["noisy"] * 4, *["wide"] * 4, "quiet", "vip"]
        answers = [at.ask(account, account) for account in order]
        at.slots.lets_go.release(len(order))
        assert {answer.result(60).status_code for answer in answers} == {200}
    served = at.slots.prompts[1:]
    assert served[0] == "vip", served
    assert served[-1] == "batch"
    assert served.index("quiet") <= 3
    assert served[1:7].count("wide") == 3


def test_a_noisy_account_cannot_fill_the_queue(tmp_path: Path) -> None:
    accounts = {"noisy": AccountTerms(), "quiet": AccountTerms()}
    with serve(tmp_path, queue=3, accounts=accounts) as at:
        noisy = [at.ask(f"noisy {number}", "noisy") for number in range(4)]
        body = {"model": "narrow", "prompt": "quiet"}
        headers = at.gateway.headers | {"x-selected-account-id": "quiet"}
        quiet = at.crowd.submit(at.client.post, at.gateway.url + NATIVE, json=body, headers=headers)
        assert noisy[-1].result(60).status_code == 503
        at.slots.lets_go.release(10)
        assert quiet.result(60).status_code == 200
        assert [answer.result(60).status_code for answer in noisy[:3]] == [200] * 3


def test_room_is_kept_for_an_account_that_uses_less(tmp_path: Path) -> None:
    accounts = {"noisy": AccountTerms(), "quiet": AccountTerms()}
    with serve(tmp_path, concurrent=2, accounts=accounts) as at:
        at.slots.lets_go.release()
        assert at.ask("quiet", "quiet").result(60).status_code == 200
        noisy = [at.ask("noisy", "noisy") for _ in range(3)]
        assert at.count() == (1, 2)
        quiet = at.ask("quiet", "quiet")
        assert at.count() == (2, 2)
        at.slots.lets_go.release(4)
        assert {answer.result(60).status_code for answer in (*noisy, quiet)} == {200}
        poll(lambda: at.count() == (0, 0))
