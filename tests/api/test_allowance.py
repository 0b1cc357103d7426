"""Limits and budgets as a client meets them, through a whole gateway."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from books import read_ledger, read_only
from gateway import Door, RunningGateway, run_gateway, run_upstream, talking
from scripted import Peer, Script
from trunkline.access.key import NewKey, create_key
from trunkline.access.pepper import load_pepper
from trunkline.store.store import open_store
from trunkline.terms import AccountTerms, Budget, Limits, Terms

CHAT: dict[str, Any] = {
    "model": "lab/m",
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 10,
}
ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v4/beta/chat/completions", CHAT),
    ("/v4/completions", {"model": "lab/m", "prompt": "Hi", "model_parameters": {"max_tokens": 10}}),
]
PRICES = """
[[prices.list]]
provider = "lab"
model = "*"
input = "1"
output = "2"
"""


@contextmanager
def place(
    tmp_path: Path,
    door: Door,
    key: Terms,
    account: AccountTerms | None = None,
    script: Script | None = None,
    more: str = PRICES,
) -> Iterator[RunningGateway]:
    """A gateway whose ``headers`` carry a key of these terms."""
    with closing(open_store(tmp_path / "trunkline.db")) as store:
        store.accounts.create("team", "", 1, account or AccountTerms())
        new = NewKey(account_id="team", terms=key)
        text, _ = create_key(store, load_pepper(tmp_path), new, 2)
    with (
        run_upstream(script or talking()) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=more) as gateway,
    ):
        gateway.headers = {"x-api-key": text}
        yield gateway


@pytest.mark.parametrize(("path", "body"), ROUTES)
@pytest.mark.parametrize("stream", [False, True])
def test_the_rate_is_told_and_held(
    tmp_path: Path,
    door: Door,
    client: httpx.Client,
    path: str,
    body: dict[str, Any],
    stream: bool,
) -> None:
    limits = Limits(rpm=2, tpm=1000)
    with place(tmp_path, door, Terms(limits=limits)) as gateway:

        def ask() -> httpx.Response:
            asked = body | {"stream": stream}
            return client.post(gateway.url + path, json=asked, headers=gateway.headers)

        first, second, third = ask(), ask(), ask()
    assert [each.status_code for each in (first, second, third)] == [200, 200, 429]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-limit-tokens"] == "1000"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 1000 - 10
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert 1 <= int(third.headers["retry-after"]) <= 60
    assert 1000 <= int(third.headers["retry-after-ms"]) <= 60_000
    assert "x-should-retry" not in third.headers
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert [each.entry.status for each in read_ledger(tmp_path)] == [
        "complete",
        "complete",
        "refused",
    ]


def test_tokens_that_were_not_used_come_back(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    limits = Limits(tpm=100)
    with place(tmp_path, door, Terms(limits=limits)) as gateway:
        for _ in range(3):  # each asks for most of them and uses ten
            asked = CHAT | {"max_tokens": 60}
            path = gateway.url + "/v1/chat/completions"
            assert client.post(path, json=asked, headers=gateway.headers).status_code == 200


def test_calls_at_once_are_held(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    go_on, inside = asyncio.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def slow(peer: Peer) -> None:
        await peer.request()
        loops.append(asyncio.get_running_loop())
        inside.set()
        await go_on.wait()
        await peer.answer(b"{}", 500)

    account = AccountTerms(limits=Limits(concurrent=1))
    with place(tmp_path, door, Terms(), account, slow) as gateway:
        path = gateway.url + "/v1/chat/completions"
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(httpx.post, path, json=CHAT, headers=gateway.headers, timeout=20)
            assert inside.wait(10)
            refused = client.post(path, json=CHAT, headers=gateway.headers)
            assert refused.status_code == 429
            assert "calls at once" in refused.json()["error"]["message"]
            loops[0].call_soon_threadsafe(go_on.set)
            assert running.result().status_code == 502
        assert client.post(path, json=CHAT, headers=gateway.headers).status_code == 502


def test_the_official_client_sees_a_rate_limit(tmp_path: Path, door: Door) -> None:
    with place(tmp_path, door, Terms(limits=Limits(rpm=1))) as gateway:
        client = openai.OpenAI(
            api_key=gateway.headers["x-api-key"], base_url=f"{gateway.url}/v1", max_retries=0
        )
        asked: dict[str, Any] = {"model": "lab/m", "messages": CHAT["messages"]}
        client.chat.completions.create(**asked)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**asked)
        assert caught.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize(("path", "body"), ROUTES)
def test_a_budget_that_is_used_up_is_told(
    tmp_path: Path, door: Door, client: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    # A call costs 7 x 1 + 3 x 2 = 13 micro-dollars; its worst case is more.
    budget = Budget("usd", "month", 300)
    with place(tmp_path, door, Terms(budgets=(budget,))) as gateway:
        answers = []
        for _ in range(40):
            answers.append(client.post(gateway.url + path, json=body, headers=gateway.headers))
            if answers[-1].status_code != 200:
                break
    last = answers[-1]
    assert last.status_code == 429
    assert last.headers["x-should-retry"] == "false"
    assert "retry-after" not in last.headers
    assert last.json()["error"]["code"] == "insufficient_quota"
    assert "$0.0003 a month" in last.json()["error"]["message"]
    spent = sum(each.entry.cost_micros or 0 for each in read_ledger(tmp_path))
    assert 300 - 13 * 20 < spent <= 300
    assert spent == 13 * (len(answers) - 1)


def test_an_accounts_budget_in_tokens_may_clamp(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    budget = Budget("tokens", "total", 200)
    account = AccountTerms(budgets=(budget,), over_budget="clamp")
    asked = CHAT | {"max_tokens": 4000}
    size = len(json.dumps(asked, separators=(",", ":")).encode())
    with place(tmp_path, door, Terms(), account) as gateway:
        path = gateway.url + "/v1/chat/completions"
        answer = client.post(path, json=asked, headers=gateway.headers)
        strict = {**gateway.headers, "x-trunkline-strict": "true"}
        refused = client.post(path, json=asked, headers=strict)
    assert answer.status_code == 200
    assert answer.headers["x-trunkline-changes"] == f"clamped:max_tokens={200 - size}"
    assert refused.status_code == 429
    entries = [each.entry for each in read_ledger(tmp_path)]
    assert [each.status for each in entries] == ["complete", "refused"]


def test_an_answer_without_a_bound_gets_one_under_a_budget(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    budget = Budget("usd", "day", 1_000_000)
    with place(tmp_path, door, Terms(budgets=(budget,))) as gateway:
        asked = {name: CHAT[name] for name in ("model", "messages")}
        path = gateway.url + "/v1/chat/completions"
        answer = client.post(path, json=asked, headers=gateway.headers)
    assert answer.headers["x-trunkline-changes"] == "defaulted:max_tokens=4096"
    assert read_only(tmp_path)[0].changes == "defaulted:max_tokens=4096"


def test_a_model_without_a_price_may_be_refused(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    more = '[prices]\nunpriced = "refuse"'
    with place(tmp_path, door, Terms(), more=more) as gateway:
        path = gateway.url + "/v1/chat/completions"
        answer = client.post(path, json=CHAT, headers=gateway.headers)
    assert answer.status_code == 403
    assert read_only(tmp_path)[0].status == "refused"


def test_a_refused_call_gives_its_rate_back_but_not_its_request(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    terms = Terms(limits=Limits(rpm=5, concurrent=1), budgets=(Budget("usd", "day", 0),))
    with place(tmp_path, door, terms) as gateway:
        path = gateway.url + "/v1/chat/completions"
        answers = [client.post(path, json=CHAT, headers=gateway.headers) for _ in range(6)]
    codes = [each.json()["error"]["code"] for each in answers]
    assert codes == ["insufficient_quota"] * 5 + ["rate_limit_exceeded"]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "4"


def test_metrics_and_readiness_tell(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    with place(tmp_path, door, Terms()) as gateway:
        path = gateway.url + "/v1/chat/completions"
        assert client.post(path, json=CHAT, headers=gateway.headers).status_code == 200
        assert client.get(gateway.url + "/metrics").status_code == 401
        assert client.get(gateway.url + "/metrics", headers=gateway.headers).status_code == 403
        text = client.get(gateway.url + "/metrics", headers={"x-api-key": "My API Key"}).text
        ready = client.get(gateway.url + "/readyz").json()
    assert 'trunkline_calls_total{code="",status="complete",worker="' in text
    assert 'trunkline_part_up{part="limits",worker="' in text
    assert 'trunkline_tokens_total{direction="output",worker="' in text
    assert ready == {"status": "ok", "reasons": {}}


@pytest.mark.redis
def test_gateways_that_share_a_server_share_the_limits(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    url = os.environ["TRUNKLINE_TEST_REDIS"]
    more = f'[store]\nlimits_url = "{url}"'
    with (
        place(tmp_path, door, Terms(limits=Limits(rpm=3)), more=more) as one,
        run_upstream(talking()) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=more) as other,
    ):
        paths = [f"{each.url}/v1/chat/completions" for each in (one, other)]
        answers = [client.post(path, json=CHAT, headers=one.headers) for path in paths * 2]
        ready = client.get(f"{other.url}/readyz").json()
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert answers[2].headers["x-ratelimit-remaining-requests"] == "0"
    assert ready == {"status": "ok", "reasons": {}}


@pytest.mark.parametrize(("away", "status"), [("closed", 503), ("open", 200)])
def test_without_the_limits_server_the_operator_decides(
    tmp_path: Path, door: Door, client: httpx.Client, away: str, status: int
) -> None:
    more = f'[store]\nlimits_url = "redis://127.0.0.1:9/0"\nlimits_away = "{away}"'
    with place(tmp_path, door, Terms(limits=Limits(rpm=1)), more=more) as gateway:
        path = f"{gateway.url}/v1/chat/completions"
        answers = [client.post(path, json=CHAT, headers=gateway.headers) for _ in range(2)]
        ready = client.get(f"{gateway.url}/readyz")
        admin = {"x-api-key": "My API Key"}
        free = client.post(path, json=CHAT, headers=admin)
        metrics = client.get(f"{gateway.url}/metrics", headers=admin).text
    assert answers[0].status_code == status
    assert answers[1].status_code == (503 if away == "closed" else 429)
    assert free.status_code == 200  # nobody limits the admin
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "server of the limits does not answer" in ready.json()["reasons"]["limits"]
    assert 'trunkline_part_up{part="limits",worker="' in metrics
    line = next(each for each in metrics.splitlines() if 'part="limits"' in each)
    assert line.endswith(" 0.0")
