"""The caller's own OpenAI key: where it goes, and all the places where it must never come."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import Door, RunningGateway, run_gateway, run_upstream, talking
from scripted import Script, ScriptedServer, answering
from speaking import speaking

CANARY = "sk-canary-of-the-caller-5521"
OWN = "sk-upstream-canary"
MORE = """
[providers.openai]
base_url = "http://127.0.0.1:{openai}/v1"
api_key = "env:LAB_KEY"

[providers.keyless]
wire = "openai"
base_url = "http://127.0.0.1:{openai}/v1"
auth = "none"
caller_key = true

[providers.wide]
wire = "openai"
base_url = "http://127.0.0.1:{openai}/v1"
api_key = "env:LAB_KEY"
rewrites = ["n_fan_out"]
caller_key = true

[providers.anthropic]
base_url = "http://127.0.0.1:{anthropic}"
api_key = "env:LAB_KEY"

[models.either]
targets = [
  {{ provider = "openai", model = "first" }},
  {{ provider = "lab", model = "second" }},
  {{ provider = "anthropic", model = "claude-sonnet-4-5" }},
]
"""
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/v4/completions", {"prompt": "Hi"}),
    ("/v5/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
]
WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": "Hi"}),
    ("/v1/embeddings", {"input": "Hi"}),
]


@dataclass
class Place:
    """A gateway between its client and three upstreams."""

    gateway: RunningGateway
    openai: ScriptedServer
    lab: ScriptedServer
    claude: ScriptedServer
    client: httpx.Client

    def ask(
        self, path: str, body: dict[str, Any], key: str | bytes | None = CANARY
    ) -> httpx.Response:
        headers: dict[str, Any] = dict(self.gateway.headers)
        if key is not None:
            headers["x-openai-api-key"] = key
        response = self.client.post(self.gateway.url + path, json=body, headers=headers)
        assert CANARY not in response.text + str(response.headers)
        assert OWN not in response.text + str(response.headers)
        return response

    def see(self, server: ScriptedServer) -> bytes:
        """Everything that an upstream was sent."""
        return b"".join(request.head + request.body for request in server.requests)


@contextmanager
def place(tmp_path: Path, door: Door, client: httpx.Client, *scripts: Script) -> Iterator[Place]:
    """Scripts of the three upstreams, as OpenAI, the lab and Anthropic."""
    openai, lab, claude = scripts or (talking(), talking(), speaking("anthropic"))
    with (
        run_upstream(openai) as first,
        run_upstream(lab) as second,
        run_upstream(claude) as third,
    ):
        more = MORE.format(openai=first.port, anthropic=third.port)
        with run_gateway(tmp_path, second.port, door=door, more=more) as gateway:
            yield Place(gateway, first, second, third, client)


@pytest.fixture(autouse=True)
def no_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Neither the log nor any file has the key afterwards."""
    caplog.set_level(logging.DEBUG)
    yield
    assert CANARY not in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert CANARY.encode() not in path.read_bytes()


def test_it_replaces_the_gateways_key_at_openai(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with place(tmp_path, door, client) as at:
        for path, body in CALLS + WHOLE:
            for stream in (False, True) if (path, body) in CALLS else (False,):
                asked = body | {"model": "openai/gpt-4o", "stream": stream}
                for key, sent in ((CANARY, CANARY), (None, OWN), ("", OWN)):
                    assert at.ask(path, asked, key).status_code == 200
                    headers = at.openai.requests[-1].headers
                    assert headers["authorization"] == f"Bearer {sent}"
                    assert "x-openai-api-key" not in headers
                    assert at.openai.requests[-1].head.count(b"authorization") == 1


def test_it_goes_to_no_other_row(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    with place(tmp_path, door, client) as at:
        for model in ("model", "lab/any", "anthropic/claude-sonnet-4-5", "keyless/any"):
            for path, body in CALLS:
                for stream in (False, True):
                    asked = body | {"model": model, "stream": stream}
                    assert at.ask(path, asked).status_code == 200
        assert at.lab.requests
        assert at.claude.requests
        for server in (at.openai, at.lab, at.claude):
            assert CANARY.encode() not in at.see(server)
            assert b"x-openai" not in at.see(server).lower()


@pytest.mark.parametrize("stream", [False, True])
def test_it_stays_behind_when_another_target_takes_over(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    echo = json.dumps({"error": {"message": f"no {CANARY}", "code": CANARY, "param": CANARY}})
    failing = answering(echo.encode(), 500)
    scripts = (failing, failing, speaking("anthropic"))
    with place(tmp_path, door, client, *scripts) as at:
        for path, body in CALLS:
            response = at.ask(path, body | {"model": "either", "stream": stream})
            assert response.status_code == 200
            assert response.headers["x-trunkline-attempts"] == "3"
            assert response.headers["x-trunkline-target"] == "anthropic/claude-sonnet-4-5"
            sent = [server.requests[-1].headers for server in (at.openai, at.lab)]
            assert [headers["authorization"] for headers in sent] == [
                f"Bearer {CANARY}",
                f"Bearer {OWN}",
            ]
        for server in (at.lab, at.claude):
            assert CANARY.encode() not in at.see(server)


@pytest.mark.parametrize("stream", [False, True])
def test_every_alternative_is_asked_for_with_it(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with place(tmp_path, door, client) as at:
        path, body = CALLS[1]
        assert at.ask(path, body | {"model": "wide/m", "n": 3, "stream": stream}).status_code == 200
        sent = [request.headers["authorization"] for request in at.openai.requests]
    assert sent == [f"Bearer {CANARY}"] * 3


@pytest.mark.parametrize("status", [401, 403])
def test_whose_key_was_refused_is_said(
    tmp_path: Path, door: Door, client: httpx.Client, status: int
) -> None:
    told = {"error": {"message": f"Incorrect API key: {CANARY} {OWN}", "code": "invalid_api_key"}}
    refusing = answering(json.dumps(told).encode(), status)
    with place(tmp_path, door, client, refusing, refusing, refusing) as at:
        path, body = CALLS[1]
        for stream in (False, True):
            asked = body | {"model": "openai/gpt-4o", "stream": stream}
            own = at.ask(path, asked)
            assert own.status_code == 400
            assert own.json()["error"]["code"] == "invalid_request"
            assert own.json()["error"]["param"] == "x-openai-api-key"
            ours = at.ask(path, asked, None)
            assert ours.status_code == 502
            assert ours.json()["error"]["code"] == "upstream_auth"


@pytest.mark.parametrize("key", [b"sk-\xe9", b"sk-\xff\xfe", b"sk-\t1"])
def test_what_cannot_be_a_key_is_refused(
    tmp_path: Path, door: Door, client: httpx.Client, key: bytes
) -> None:
    with place(tmp_path, door, client) as at:
        path, body = CALLS[1]
        response = at.ask(path, body | {"model": "openai/gpt-4o"}, key)
        assert response.status_code == 400
        assert "x-openai-api-key" in response.json()["error"]["message"]
        assert at.openai.requests == []
        # Whoever does not ask OpenAI may send what he likes.
        assert at.ask(path, body | {"model": "model"}, key).status_code == 200
