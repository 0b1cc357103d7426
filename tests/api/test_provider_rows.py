"""Every row of the catalog, asked through both doors: path, key, headers, and the answer."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.vendors import CATALOG, TOKEN, run_every, write_table
from gateway import CONFIG, KEY, VECTOR, Door, RunningGateway, run_gateway
from scripted import Request, ScriptedServer
from trunkline.app import Blueprint, build_providers
from trunkline.catalog import read_catalog
from trunkline.providers import sigv4
from trunkline.settings import read_settings

SECRET = "sk-upstream-canary"
MODEL = "some/model:1"
QUOTED = "some%2Fmodel%3A1"
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
LINES = {
    "api-key": ("api-key", SECRET),
    "basic": ("authorization", f"Basic {b64encode(f'{SECRET}:'.encode()).decode()}"),
    "bearer": ("authorization", f"Bearer {SECRET}"),
    "x-api-key": ("x-api-key", SECRET),
    "x-goog-api-key": ("x-goog-api-key", SECRET),
    "google-oauth": ("authorization", f"Bearer {TOKEN}"),
}
SERVING = [
    (name, operation)
    for name, row in CATALOG.items()
    for operation in row.complete().serves or ()
    if row.wire in ("openai", "llm-engine")
]


@pytest.fixture(scope="module")
def every(
    tmp_path_factory: pytest.TempPathFactory, vendors: ScriptedServer, door: Door
) -> Iterator[RunningGateway]:
    with run_every(tmp_path_factory.mktemp("gateway"), vendors, door) as gateway:
        yield gateway


Ask = Callable[[str, dict[str, Any]], httpx.Response]


def build_ask(client: httpx.Client, gateway: RunningGateway) -> Ask:
    def ask(path: str, body: dict[str, Any]) -> httpx.Response:
        response = client.post(gateway.url + path, json=body, headers=gateway.headers)
        assert response.status_code == 200, response.text
        return response

    return ask


@pytest.fixture(scope="module")
def ask(client: httpx.Client, every: RunningGateway) -> Ask:
    """Asks the gateway that has all the rows."""
    return build_ask(client, every)


def check_head(request: Request, name: str, vendors: ScriptedServer) -> None:
    """The key by the row's scheme, the row's own headers, and nothing of the caller's."""
    row = CATALOG[name].complete()
    headers = dict(request.headers)
    assert headers.pop("host") == f"127.0.0.1:{vendors.port}"
    assert headers.pop("content-type") == "application/json"
    assert headers.pop("accept") == "*/*"
    assert int(headers.pop("content-length")) == len(request.body)
    if row.auth == "aws-sigv4":
        check_signature(request, headers.pop("x-amz-date"), headers.pop("authorization"))
    elif row.auth != "none":
        line, value = LINES[row.auth or ""]
        assert headers.pop(line) == value
    assert headers == row.headers
    assert KEY.encode() not in request.head + request.body


def check_signature(request: Request, stamp: str, authorization: str) -> None:
    at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    signed = [(name, request.headers[name]) for name in ("host", "content-type")]
    lines = sigv4.sign(
        sigv4.Request("POST", request.target, signed, request.body),
        sigv4.Credentials("AKIDEXAMPLE", SECRET),
        sigv4.Scope("eu-west-1", "bedrock"),
        at,
    )
    assert f"authorization: {authorization}\r\n".encode() in lines
    assert f"/{stamp[:8]}/eu-west-1/bedrock/aws4_request" in authorization


def write_path(name: str, *, stream: bool) -> str:
    """Where a chat goes below the base URL."""
    if name == "azure":
        return f"/deployments/{QUOTED}/chat/completions?api-version=2024-10-21"
    return {
        "openai": "/chat/completions",
        "llm-engine": "/v2/chat/completions",
        "anthropic": "/messages",
        "cohere": "/chat",
        "bedrock": f"/model/{QUOTED}/converse" + ("-stream" if stream else ""),
        "gemini": f"/models/{QUOTED}:"
        + ("streamGenerateContent?alt=sse" if stream else "generateContent"),
    }[CATALOG[name].wire or ""]


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v5/chat/completions"])
def test_a_chat_reaches_every_provider(
    ask: Ask, vendors: ScriptedServer, name: str, stream: bool, path: str
) -> None:
    response = ask(path, CHAT | {"model": f"{name}/{MODEL}", "stream": stream})
    assert response.headers["x-trunkline-target"] == f"{name}/{MODEL}"
    assert '"content":"Hello' in response.text.replace(": ", ":")
    assert response.text.endswith("data: [DONE]\n\n") == (stream and path.startswith("/v1"))
    request = vendors.requests[-1]
    assert request.method == "POST"
    assert request.target == f"/at/{name}{write_path(name, stream=stream)}"
    check_head(request, name, vendors)


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_reaches_every_provider(
    ask: Ask, vendors: ScriptedServer, name: str, stream: bool
) -> None:
    body = {"model": f"{name}/{MODEL}", "prompt": "Hi", "stream": stream}
    response = ask("/v4/completions", body)
    assert '"token_usage":{"prompt":7,"completion":3,"total":10}' in response.text
    if not stream:
        answer = response.json()["completion"]
        assert answer["text"] == "Hello, world"
        assert answer["response_metadata"]["provider"] == name
        assert answer["response_metadata"]["model"] == MODEL
    request = vendors.requests[-1]
    assert request.target == f"/at/{name}{write_path(name, stream=stream)}"
    check_head(request, name, vendors)


@pytest.mark.parametrize(("name", "operation"), SERVING)
def test_every_operation_of_a_row_is_there(
    ask: Ask, vendors: ScriptedServer, name: str, operation: str
) -> None:
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "chat": ("/chat/completions", CHAT),
        "text": ("/completions", {"prompt": "Hi"}),
        "embeddings": ("/embeddings", {"input": ["a", "b"]}),
    }
    path, more = asked[operation]
    response = ask(f"/v1{path}", {"model": f"{name}/{MODEL}"} | more)
    if operation == "embeddings":
        vectors = [each["embedding"] for each in response.json()["data"]]
        assert vectors == [[*VECTOR]] * 2
    request = vendors.requests[-1]
    if name == "azure":
        below = f"/deployments/{QUOTED}{path}?api-version=2024-10-21"
    else:
        below = f"/v2{path}" if CATALOG[name].wire == "llm-engine" else path
    assert request.target == f"/at/{name}{below}"
    check_head(request, name, vendors)


def test_a_raw_prompt_reaches_llm_engines_own_operation(
    tmp_path: Path, vendors: ScriptedServer, door: Door, client: httpx.Client
) -> None:
    table = write_table("llm-engine", f"{vendors.url}/at/llm-engine")
    with run_gateway(tmp_path, vendors.port, door=door, more=table) as gateway:
        for stream, word in ((False, "sync"), (True, "stream")):
            body = {"model": "llama-2-7b", "prompt": "Once", "stream": stream}
            response = build_ask(client, gateway)("/v4/completions", body)
            assert "Hello" in response.text
            request = vendors.requests[-1]
            assert request.target == (
                f"/at/llm-engine/v1/llm/completions-{word}?model_endpoint_name=llama-2-7b"
            )
            check_head(request, "llm-engine", vendors)


def test_bedrock_takes_a_key_of_its_own_too(
    tmp_path: Path, vendors: ScriptedServer, door: Door, client: httpx.Client
) -> None:
    more = (
        f'[providers.bedrock]\nbase_url = "{vendors.url}/at/bedrock"\nauth = "bearer"\n'
        'api_key = "env:LAB_KEY"'
    )
    with run_gateway(tmp_path, vendors.port, door=door, more=more) as gateway:
        build_ask(client, gateway)("/v1/chat/completions", CHAT | {"model": "bedrock/m"})
    headers = vendors.requests[-1].headers
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert "x-amz-date" not in headers


async def test_every_row_builds_with_what_only_the_operator_knows(tmp_path: Path) -> None:
    own = {name: "https://models.team.test" for name, row in CATALOG.items() if not row.base_url}
    tables = [write_table(name, own.get(name)) for name in CATALOG]
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIG.format(port=9, more="\n".join(tables)))
    settings = read_settings(config, read_catalog(), {"LAB_KEY": SECRET})
    blueprint = Blueprint(settings, read_catalog(), (), tmp_path, tmp_path / "x.db", b"")
    providers = build_providers(blueprint)
    assert providers.keys() == {"lab", *CATALOG}
    addresses = {name: provider.spec.base_url for name, provider in providers.items()}
    assert not any("{" in address for address in addresses.values())
    assert addresses["azure"] == "https://team.openai.azure.com/openai"
    assert addresses["bedrock"] == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert addresses["vertex_ai"] == (
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/team/locations/europe-west4"
        "/publishers/google"
    )
    hosts = {re.split(r"[/:]+", address)[1] for address in addresses.values()}
    assert len(hosts) == 29 - 6 - 4 + 2  # six are on this machine, four are the team's
    for provider in providers.values():
        await provider.close()
