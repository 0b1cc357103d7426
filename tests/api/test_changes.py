"""``x-trunkline-changes`` tells what was changed; ``x-trunkline-strict: true`` refuses losses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import Door, RunningGateway, run_gateway, run_upstream
from scripted import ScriptedServer
from speaking import speaking

MORE = """
[providers.picky]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"
drops = ["seed", "store"]
rewrites = ["max_completion_tokens", "developer_as_system", "no_message_names", "schema_as_text"]

[models.steady]
targets = [{{ provider = "lab", model = "steady-1" }}]
fixed_sampling = true

[models.toolless]
targets = [{{ provider = "lab", model = "toolless-1" }}]
tools = false

[models.templated]
targets = [{{ provider = "lab", model = "llama" }}]
prompt_mode = "llama-2"

[models.short]
targets = [{{ provider = "lab", model = "short-1" }}]
default_max_tokens = 50
"""
CLAUDE = """
[providers.anthropic]
base_url = "http://127.0.0.1:{port}"
api_key = "env:LAB_KEY"

[models.claude]
targets = [{{ provider = "anthropic", model = "claude-sonnet-4-5" }}]
max_output = 100
"""
USER = {"role": "user", "content": "Hi"}
CHAT: dict[str, Any] = {"messages": [USER]}
TOOLS = [{"type": "function", "function": {"name": "now"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
# Model, what is asked, the words, and the parameter that strictness refuses ("" where none).
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("picky/a", CHAT, "", ""),
    ("picky/a", CHAT | {"seed": 1}, "dropped:seed", "seed"),
    ("picky/a", CHAT | {"store": False}, "", ""),
    ("picky/a", CHAT | {"max_tokens": 5}, "renamed:max_tokens=max_completion_tokens", ""),
    (
        "picky/a",
        {"messages": [{"role": "developer", "content": "x"}, USER]},
        "renamed:developer=system",
        "",
    ),
    ("picky/a", {"messages": [USER | {"name": "A"}]}, "dropped:messages.name", "messages.name"),
    (
        "picky/a",
        CHAT | {"response_format": SCHEMA},
        "clamped:response_format=json_object",
        "response_format",
    ),
    (
        "picky/a",
        CHAT | {"seed": 1, "max_tokens": 5},
        "dropped:seed,renamed:max_tokens=max_completion_tokens",
        "seed",
    ),
    ("toolless", CHAT | {"tools": TOOLS}, "dropped:tools", "tools"),
    ("toolless", CHAT, "", ""),
    ("steady", CHAT | {"temperature": 1}, "", ""),
]
NATIVE: list[tuple[str, dict[str, Any], str, str]] = [
    ("model", {}, "", ""),
    ("steady", {}, "dropped:temperature", ""),
    ("steady", {"temperature": 0.2}, "dropped:temperature", "temperature"),
    ("short", {}, "defaulted:max_tokens=50", ""),
    ("raw", {}, "defaulted:max_tokens=100", ""),
    (
        "raw",
        {"max_tokens": 1, "reasoning_effort": "low"},
        "dropped:reasoning_effort",
        "reasoning_effort",
    ),
    ("templated", {"max_tokens": 1}, "template:llama-2", ""),
    ("picky/a", {"max_tokens": 1}, "renamed:max_tokens=max_completion_tokens", ""),
]
TRANSLATED: list[tuple[dict[str, Any], str, str]] = [
    ({"max_tokens": 100}, "", ""),
    ({"max_tokens": 101}, "clamped:max_tokens=100", "max_tokens"),
    ({}, "defaulted:max_tokens=100", ""),
    ({"max_tokens": 9, "stop": "x"}, "renamed:stop=stop_sequences", ""),
    ({"max_tokens": 9, "temperature": 1.5}, "clamped:temperature=1", "temperature"),
    ({"max_tokens": 9, "seed": 3}, "dropped:seed", "seed"),
    ({"max_tokens": 9, "never_heard_of": 3}, "dropped:never_heard_of", "never_heard_of"),
]


@pytest.fixture(scope="module")
def asking(
    tmp_path_factory: pytest.TempPathFactory,
    upstream: ScriptedServer,
    door: Door,
    client: httpx.Client,
) -> Iterator["Asking"]:
    path: Path = tmp_path_factory.mktemp("gateway")
    with run_upstream(speaking("anthropic")) as claude:
        more = MORE.format(port=upstream.port) + CLAUDE.format(port=claude.port)
        with run_gateway(path, upstream.port, door=door, more=more) as gateway:
            yield Asking(client, gateway)


class Asking:
    """Asks one gateway whole and streamed, as anybody, and as one who wants no losses."""

    def __init__(self, client: httpx.Client, gateway: RunningGateway) -> None:
        self.client = client
        self.url = gateway.url
        self.headers = gateway.headers

    def post(self, path: str, body: dict[str, Any], strictness: str = "") -> httpx.Response:
        headers = self.headers | {"x-trunkline-strict": strictness}
        return self.client.post(self.url + path, json=body, headers=headers)

    def check(self, path: str, body: dict[str, Any], words: str, param: str) -> None:
        for stream in (False, True):
            asked = body | {"stream": stream}
            for strictness in ("", "false", "1"):
                response = self.post(path, asked, strictness)
                assert response.status_code == 200, response.text
                assert response.headers.get("x-trunkline-changes", "") == words
            for strictness in ("true", "True"):
                response = self.post(path, asked, strictness)
                if not param:
                    assert response.status_code == 200
                    assert response.headers.get("x-trunkline-changes", "") == words
                    continue
                assert response.status_code == 400
                error = response.json()["error"]
                assert (error["code"], error["param"]) == ("invalid_request", param)
                assert f"'{param}'" in error["message"]
                assert "x-trunkline-changes" not in response.headers


@pytest.mark.parametrize(("model", "asked", "words", "param"), CASES)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v5/chat/completions"])
def test_a_chats_changes(
    asking: Asking, path: str, model: str, asked: dict[str, Any], words: str, param: str
) -> None:
    asking.check(path, asked | {"model": model}, words, param)


@pytest.mark.parametrize(("model", "parameters", "words", "param"), NATIVE)
def test_a_completions_changes(
    asking: Asking, model: str, parameters: dict[str, Any], words: str, param: str
) -> None:
    body = {"model": model, "prompt": "Hi", "model_parameters": parameters}
    asking.check("/v4/completions", body, words, param)


@pytest.mark.parametrize(("asked", "words", "param"), TRANSLATED)
def test_a_translated_chats_changes(
    asking: Asking, asked: dict[str, Any], words: str, param: str
) -> None:
    asking.check("/v1/chat/completions", CHAT | asked | {"model": "claude"}, words, param)


def test_nothing_is_sent_of_what_strictness_refuses(
    asking: Asking, upstream: ScriptedServer
) -> None:
    before = len(upstream.requests)
    asked = CHAT | {"model": "picky/a", "seed": 1}
    response = asking.post("/v1/chat/completions", asked, "true")
    assert response.status_code == 400
    assert len(upstream.requests) == before


def test_a_template_and_its_stops_reach_the_text_api(
    asking: Asking, upstream: ScriptedServer
) -> None:
    body = {"model": "templated", "prompt": "Hi", "model_parameters": {"stop_sequences": ["END"]}}
    response = asking.post("/v4/completions", body)
    assert response.headers["x-trunkline-changes"] == "template:llama-2,defaulted:max_tokens=100"
    assert upstream.requests[-1].target == "/v1/completions"
    sent = json.loads(upstream.requests[-1].body)
    assert (sent["prompt"], sent["stop"]) == ("[INST] Hi [/INST]", ["END"])


def test_words_that_no_header_could_carry_are_quoted(asking: Asking) -> None:
    name = "ü\r\nx-evil: 1, dropped:nothing"
    body = CHAT | {"model": "claude", "max_tokens": 9, name: 1}
    response = asking.post("/v1/chat/completions", body)
    assert response.status_code == 200
    assert "x-evil" not in response.headers
    assert response.headers["x-trunkline-changes"].isascii()
