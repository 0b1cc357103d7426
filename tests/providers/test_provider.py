"""Requests as they leave for a provider: the head, the key by its scheme, the caller's own key."""

import asyncio
from base64 import b64encode
from typing import Any, get_args

import pytest

from scripted import Peer, Request, ScriptedServer, answering
from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.providers.provider import Auth, Provider, ProviderSpec

KEY, OWN = "sk-of-the-gateway", "sk-of-the-caller"
LINES: dict[Auth, tuple[str, str] | None] = {
    "api-key": ("api-key", KEY),
    "aws-sigv4": None,
    "basic": ("authorization", f"Basic {b64encode(f'{KEY}:'.encode()).decode()}"),
    "bearer": ("authorization", f"Bearer {KEY}"),
    "google-oauth": None,
    "none": None,
    "x-api-key": ("x-api-key", KEY),
    "x-goog-api-key": ("x-goog-api-key", KEY),
}


def make(server: ScriptedServer, path: str = "/v1", **words: Any) -> Provider:
    spec = ProviderSpec("lab", "openai", f"{server.url}{path}", **({"api_key": KEY} | words))
    return Provider(spec)


async def send(provider: Provider, path: str = "/x", own: str = "") -> None:
    try:
        response = await provider.send(path, b'{"a":1}', Deadlines(), own)
        await response.read_all(1000)
        response.close()
    finally:
        await provider.close()


async def ask(path: str = "/x", own: str = "", **words: Any) -> Request:
    """Send one request, and give what the server saw."""
    async with ScriptedServer(answering()) as server:
        await send(make(server, **words), path, own)
        (request,) = server.requests
        assert request.headers.pop("host") == f"127.0.0.1:{server.port}"
    return request


def test_every_scheme_is_known_here() -> None:
    assert LINES.keys() == {*get_args(Auth)}


@pytest.mark.parametrize("auth", LINES)
async def test_the_key_is_sent_as_the_scheme_says_and_nothing_else(auth: Auth) -> None:
    request = await ask(auth=auth)
    line = LINES[auth]
    assert (request.method, request.target, request.body) == ("POST", "/v1/x", b'{"a":1}')
    assert request.headers == {
        "content-type": "application/json",
        "accept": "*/*",
        "content-length": "7",
        **dict([line] if line else []),
    }


@pytest.mark.parametrize("auth", LINES)
async def test_a_provider_without_a_key_sends_none(auth: Auth) -> None:
    request = await ask(auth=auth, api_key="")
    assert request.headers.keys() == {"content-type", "accept", "content-length"}


async def test_a_rows_headers_go_with_every_request() -> None:
    headers = {"anthropic-version": "2023-06-01", "x-team": "a"}
    request = await ask(headers=headers)
    assert headers.items() <= request.headers.items()


@pytest.mark.parametrize(
    ("prefix", "path", "target"),
    [
        ("", "/chat/completions", "/chat/completions"),
        ("/", "/chat/completions", "/chat/completions"),
        ("/openai/v1/", "/a%2Fb?api-version=1", "/openai/v1/a%2Fb?api-version=1"),
    ],
)
async def test_an_operation_lies_below_the_base_url(prefix: str, path: str, target: str) -> None:
    async with ScriptedServer(answering()) as server:
        await send(make(server, prefix), path)
        assert server.requests[0].target == target


@pytest.mark.parametrize("auth", ["api-key", "basic", "bearer", "x-api-key", "x-goog-api-key"])
async def test_the_callers_key_replaces_the_gateways(auth: Auth) -> None:
    request = await ask(own=OWN, auth=auth, headers={"x-team": "a"})
    line = LINES[auth]
    assert line is not None
    name, value = line
    kept = b64encode(f"{OWN}:".encode()).decode() if auth == "basic" else OWN
    given = b64encode(f"{KEY}:".encode()).decode() if auth == "basic" else KEY
    assert request.headers[name] == value.replace(given, kept)
    assert KEY.encode() not in request.head
    assert request.headers["x-team"] == "a"


async def test_the_callers_key_is_forgotten_after_its_call() -> None:
    async with ScriptedServer(answering()) as server:
        provider = make(server)
        for own in (OWN, "", OWN, ""):
            response = await provider.send("/x", b"{}", Deadlines(), own)
            await response.read_all(1000)
            response.close()
        await provider.close()
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == [f"Bearer {OWN}", f"Bearer {KEY}"] * 2
    assert len(server.peers) == 1  # the connection is everybody's


async def test_many_paths_do_not_fill_the_memory() -> None:
    async with ScriptedServer(answering()) as server:
        provider = make(server)
        for number in range(1100):
            response = await provider.send(f"/{number % 1030}", b"{}", Deadlines())
            await response.read_all(1000)
            response.close()
        assert len(provider._heads) < 1024
        await provider.close()
    assert [request.target for request in server.requests] == [
        f"/v1/{number % 1030}" for number in range(1100)
    ]


class Signing:
    """A signer that has what it needs after it was waited for, if ever."""

    def __init__(self, *, helps: bool = True) -> None:
        self.helps = helps
        self.is_ready = False
        self.is_closed = False
        self.signed: list[tuple[str, bytes]] = []

    def sign(self, path: str, body: bytes) -> bytes | None:
        if not self.is_ready:
            return None
        self.signed.append((path, body))
        return b"x-signature: of %b\r\n" % path.encode()

    async def ready(self) -> None:
        await asyncio.sleep(0)
        self.is_ready = self.helps

    async def close(self) -> None:
        self.is_closed = True


async def test_a_signer_sees_what_is_sent_and_its_lines_go_along() -> None:
    signer = Signing()
    async with ScriptedServer(answering()) as server:
        spec = ProviderSpec("lab", "bedrock", f"{server.url}/v1", auth="aws-sigv4")
        provider = Provider(spec, signer)
        await send(provider, "/model/a%3A0/converse")
        (request,) = server.requests
    assert signer.signed == [("/v1/model/a%3A0/converse", b'{"a":1}')]
    assert request.headers["x-signature"] == "of /v1/model/a%3A0/converse"
    assert signer.is_closed


async def test_without_a_credential_nothing_is_sent() -> None:
    async with ScriptedServer(answering()) as server:
        spec = ProviderSpec("lab", "bedrock", server.url, auth="aws-sigv4")
        with pytest.raises(GatewayError, match="'lab' has no credential") as caught:
            await send(Provider(spec, Signing(helps=False)))
        assert caught.value.code == "upstream_auth"
        assert server.peers == []


async def test_an_engine_that_loads_is_waited_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        early = len(peer.server.requests) < 3
        await peer.answer(b"{}", 503 if early else 200)

    async with ScriptedServer(script) as server:
        await send(make(server, start_wait_s=20))
        assert len(server.requests) == 3


async def test_an_engine_that_does_not_come_up_is_overloaded() -> None:
    async with ScriptedServer(answering(b"{}", 503)) as server:
        with pytest.raises(GatewayError, match="not running") as caught:
            await send(make(server, start_wait_s=0.05))
        assert caught.value.code == "overloaded"


@pytest.mark.parametrize(("status", "up"), [(200, True), (503, False)])
async def test_an_engine_is_probed_at_its_health_route(status: int, *, up: bool) -> None:
    async with ScriptedServer(answering(b"{}", status)) as server:
        provider = make(server)
        assert await provider.probe() is up
        await provider.close()
        assert (server.requests[0].method, server.requests[0].target) == ("GET", "/health")
    assert not await make(server).probe()
