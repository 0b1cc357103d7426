"""What the configuration says of a model, and what calls through either door make of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import VECTOR, Door, RunningGateway, run_gateway, run_upstream, talking
from scripted import ScriptedServer
from speaking import speaking

MORE = """
[providers.held]
wire = "openai"
base_url = "http://127.0.0.1:{caller}/v1"
constrains = true

[providers.loose]
wire = "openai"
base_url = "http://127.0.0.1:{caller}/v1"

[providers.gemini]
base_url = "http://127.0.0.1:{gemini}"
api_key = "env:LAB_KEY"

[models.emulated]
targets = [{{ provider = "held", model = "m" }}]
tools = false

[models.dropped]
targets = [{{ provider = "loose", model = "m" }}]
tools = false

[models.able]
targets = [{{ provider = "held", model = "m" }}]
tools = true

[models.short]
targets = [{{ provider = "gemini", model = "m" }}]
max_output = 50

[models.steady]
targets = [{{ provider = "gemini", model = "m" }}]
fixed_sampling = true

[models."gpt-4o"]
targets = [{{ provider = "lab", model = "blind" }}]
images = false
"""
USER = {"role": "user", "content": "What time is it?"}
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
CALL = json.dumps({"tool_calls": [{"name": "now", "arguments": {}}]})
PATHS = ["/v1/chat/completions", "/v5/chat/completions"]


@dataclass
class Place:
    """A gateway with models that the operator has described."""

    gateway: RunningGateway
    caller: ScriptedServer
    gemini: ScriptedServer
    client: httpx.Client

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        sent = self.gateway.headers | {name.replace("_", "-"): headers[name] for name in headers}
        return self.client.post(self.gateway.url + path, json=body, headers=sent)


@pytest.fixture(scope="module")
def at(
    tmp_path_factory: pytest.TempPathFactory,
    upstream: ScriptedServer,
    door: Door,
    client: httpx.Client,
) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    with (
        run_upstream(talking([CALL[:9], CALL[9:]])) as caller,
        run_upstream(speaking("gemini")) as gemini,
    ):
        more = MORE.format(caller=caller.port, gemini=gemini.port)
        with run_gateway(folder, upstream.port, door=door, more=more) as gateway:
            yield Place(gateway, caller, gemini, client)


def read_message(response: httpx.Response) -> tuple[dict[str, Any], str]:
    """The assistant's message and its finish reason, whole or put together."""
    if response.headers["content-type"] == "application/json":
        choice = response.json()["choices"][0]
        return choice["message"], choice["finish_reason"]
    message: dict[str, Any] = {"content": ""}
    reason = ""
    for line in response.text.splitlines():
        if not line.startswith("data: {"):
            continue
        (choice,) = json.loads(line.removeprefix("data: "))["choices"]
        message["content"] += choice["delta"].get("content") or ""
        for piece in choice["delta"].get("tool_calls") or ():
            calls = message.setdefault("tool_calls", [])
            if piece["index"] == len(calls):
                calls.append({"function": {"name": "", "arguments": ""}})
            for name, text in piece["function"].items():
                calls[piece["index"]]["function"][name] += text or ""
        reason = choice["finish_reason"] or reason
    return message, reason


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", [None, "auto", "required"])
def test_tools_are_emulated_where_an_answer_can_be_held_to_a_schema(
    at: Place, path: str, stream: bool, choice: str | None
) -> None:
    asked = {"model": "emulated", "messages": [USER], "tools": [TOOL], "stream": stream}
    response = at.post(path, asked | {"tool_choice": choice}, x_trunkline_strict="true")
    assert response.status_code == 200, response.text
    assert response.headers["x-trunkline-changes"] == "emulated:tools"
    message, reason = read_message(response)
    assert reason == "tool_calls"
    assert not message.get("content")
    (call,) = message["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("now", {})
    sent = json.loads(at.caller.requests[-1].body)
    assert "tools" not in sent
    assert sent["response_format"]["type"] == "json_schema"
    assert "now" in sent["messages"][0]["content"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_dropped_where_it_cannot(at: Place, path: str, stream: bool) -> None:
    asked = {"model": "dropped", "messages": [USER], "tools": [TOOL], "stream": stream}
    response = at.post(path, asked)
    assert response.status_code == 200
    assert response.headers["x-trunkline-changes"] == "dropped:tools"
    assert read_message(response) == (
        {"role": "assistant", "content": CALL, "refusal": None}
        if not stream
        else {"content": CALL},
        "stop",
    )
    assert json.loads(at.caller.requests[-1].body).keys() >= {"model", "messages"}
    assert "tools" not in json.loads(at.caller.requests[-1].body)
    for refused in (
        at.post(path, asked | {"tool_choice": "required"}),
        at.post(path, asked, x_trunkline_strict="true"),
    ):
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] in {"tool_choice", "tools"}


def test_tools_go_as_they_are_to_a_model_that_knows_them(at: Place) -> None:
    asked = {"model": "able", "messages": [USER], "tools": [TOOL]}
    response = at.post(PATHS[0], asked)
    assert "x-trunkline-changes" not in response.headers
    assert json.loads(at.caller.requests[-1].body)["tools"] == [TOOL]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answers_length_is_clamped_for_a_translated_target(at: Place, stream: bool) -> None:
    chat = {"model": "short", "messages": [USER], "max_tokens": 51, "stream": stream}
    native = {
        "model": "short",
        "prompt": "Hi",
        "model_parameters": {"max_tokens": 51},
        "stream": stream,
    }
    for path, asked in (("/v5/chat/completions", chat), ("/v4/completions", native)):
        response = at.post(path, asked)
        assert response.status_code == 200
        assert "clamped:max_tokens=50" in response.headers["x-trunkline-changes"].split(",")
        sent = json.loads(at.gemini.requests[-1].body)
        assert sent["generationConfig"]["maxOutputTokens"] == 50
        refused = at.post(path, asked, x_trunkline_strict="true")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_tokens")


def test_fixed_sampling_holds_for_a_translated_target(at: Place) -> None:
    native = {"model": "steady", "prompt": "Hi"}
    response = at.post("/v4/completions", native, x_trunkline_strict="true")
    assert response.headers["x-trunkline-changes"] == "dropped:temperature"
    assert b"temperature" not in at.gemini.requests[-1].body
    chat = {"model": "steady", "messages": [USER], "temperature": 1}
    assert at.post(PATHS[0], chat).headers["x-trunkline-changes"] == "dropped:temperature"
    refused = at.post(PATHS[0], chat, x_trunkline_strict="true")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "temperature")


def test_the_operators_word_wins_over_the_catalogs(at: Place) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://e.test/a.png"}}
    message = {"role": "user", "content": [part]}
    refused = at.post(PATHS[0], {"model": "gpt-4o", "messages": [message]})
    assert refused.status_code == 400
    assert "takes no images" in refused.json()["detail"]


# Embeddings.


@pytest.mark.parametrize("given", ["a", ["a", "b"], [[1, 2], [3]], [1, 2]])
def test_embeddings_come_back_as_they_are(at: Place, upstream: ScriptedServer, given: Any) -> None:
    response = at.post("/v1/embeddings", {"model": "model", "input": given, "new": 1})
    assert response.status_code == 200
    assert response.headers["x-trunkline-target"] == "lab/upstream-model"
    answer = response.json()
    assert answer["data"][0] == {"object": "embedding", "index": 0, "embedding": [*VECTOR]}
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert upstream.requests[-1].target == "/v1/embeddings"
    sent = json.loads(upstream.requests[-1].body)
    assert sent == {"model": "upstream-model", "input": given, "new": 1}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "model"}, 422, "input"),
        ({"model": "model", "input": []}, 422, "input"),
        ({"model": "model", "input": 7}, 422, "input"),
        ({"model": "model", "input": ["a"] * 2049}, 422, "input"),
        ({"model": "model", "input": "a", "dimensions": 0}, 422, "dimensions"),
        ({"model": "model", "input": "a", "encoding_format": "hex"}, 422, "encoding_format"),
        ({"input": "a"}, 422, "model"),
        ({"model": "nobody", "input": "a"}, 404, "model"),
        ({"model": "gemini/m", "input": "a"}, 400, "model"),
    ],
)
def test_what_is_no_embedding_request_is_refused(
    at: Place, body: dict[str, Any], status: int, param: str
) -> None:
    response = at.post("/v1/embeddings", body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)


def test_embeddings_need_a_key_and_a_post(at: Place) -> None:
    url = at.gateway.url + "/v1/embeddings"
    assert at.client.post(url, json={"model": "model", "input": "a"}).status_code == 401
    assert at.client.get(url, headers=at.gateway.headers).status_code == 405
    assert at.post("/public/v1/embeddings", {"model": "model", "input": "a"}).status_code == 200
