"""Targets of different wires behind one name: the next one takes over before the first content."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import Door, RunningGateway, run_gateway, run_upstream
from scripted import Peer, Script, ScriptedServer, answering
from speaking import speaking, write_stream

MORE = """
[providers.picky]
wire = "openai"
base_url = "http://127.0.0.1:{first}/v1"
drops = ["seed"]

[providers.anthropic]
base_url = "http://127.0.0.1:{second}"
api_key = "env:LAB_KEY"

[providers.gemini]
base_url = "http://127.0.0.1:{third}"
api_key = "env:LAB_KEY"

[models.chain]
targets = [
  {{ provider = "picky", model = "one" }},
  {{ provider = "anthropic", model = "claude-sonnet-4-5" }},
  {{ provider = "gemini", model = "gemini-3-pro" }},
]

[models.chain.deadlines]
first_token_s = 1
"""
ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/v4/completions", {"prompt": "Hi"}),
    ("/v5/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
]
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "canary"}}
ROLE = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}


@dataclass
class Place:
    """A gateway with three targets behind one name."""

    gateway: RunningGateway
    targets: list[ScriptedServer]
    client: httpx.Client

    def ask(self, path: str, body: dict[str, Any], *, stream: bool, **more: Any) -> httpx.Response:
        asked = body | {"model": "chain", "stream": stream, **more}
        return self.client.post(self.gateway.url + path, json=asked, headers=self.gateway.headers)

    def count(self) -> list[int]:
        """How many requests each target has seen."""
        return [len(target.requests) for target in self.targets]


@contextmanager
def place(tmp_path: Path, door: Door, client: httpx.Client, *scripts: Script) -> Iterator[Place]:
    with ExitStack() as stack:
        targets = [stack.enter_context(run_upstream(script)) for script in scripts]
        first, second, third = (target.port for target in targets)
        more = MORE.format(first=first, second=second, third=third)
        gateway = stack.enter_context(run_gateway(tmp_path, first, door=door, more=more))
        yield Place(gateway, targets, client)


def streaming(*frames: bytes, ends: bool = True) -> Script:
    """Begins a stream, then ends it properly or cuts it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        for frame in frames:
            await peer.chunk(frame)
        if ends:
            await peer.end_chunked()

    return script


def write_frame(value: dict[str, Any], event: str = "") -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


def write_chunk(choice: dict[str, Any]) -> bytes:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return write_frame(head | {"choices": [choice]})


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.wait_closed()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "failing",
    [
        answering(b'{"error": {"message": "canary"}}', 500),
        answering(b"<html>canary</html>", 502),
        answering(b"{}", 503),
        answering(b"{}", 408),
        answering(b"canary"),
        silent,
    ],
    ids=["500", "502", "503", "408", "nonsense", "silence"],
)
def test_a_target_of_another_wire_takes_over(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool, failing: Script
) -> None:
    scripts = (failing, speaking("anthropic"), speaking("gemini"))
    with place(tmp_path, door, client, *scripts) as at:
        for path, body in ROUTES:
            response = at.ask(path, body, stream=stream)
            assert response.status_code == 200, response.text
            assert response.headers["x-trunkline-attempts"] == "2"
            assert response.headers["x-trunkline-target"] == "anthropic/claude-sonnet-4-5"
            assert "Hello" in response.text
            assert "canary" not in response.text
            assert response.text.endswith("[DONE]\n\n") == (stream and path.startswith("/v1/"))
        assert at.count() == [3, 3, 0]


@pytest.mark.parametrize("stream", [False, True])
def test_the_third_takes_over_from_the_second(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    overloaded = answering(json.dumps(OVERLOADED).encode(), 529)
    with place(tmp_path, door, client, silent, overloaded, speaking("gemini")) as at:
        for path, body in ROUTES:
            response = at.ask(path, body, stream=stream)
            assert response.status_code == 200
            assert response.headers["x-trunkline-target"] == "gemini/gemini-3-pro"
            assert response.headers["x-trunkline-attempts"] == "3"
        assert at.count() == [3, 3, 3]


def test_a_stream_may_fail_before_its_first_content(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    start = {"id": "msg", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 1, "output_tokens": 1}
    began = write_frame({"type": "message_start", "message": start | {"usage": usage}})
    broken = (
        streaming(write_chunk(ROLE), ends=False),
        streaming(began, write_frame(OVERLOADED, "error")),
        speaking("gemini"),
    )
    with place(tmp_path, door, client, *broken) as at:
        for path, body in ROUTES:
            response = at.ask(path, body, stream=True)
            assert response.status_code == 200
            assert response.headers["x-trunkline-attempts"] == "3"
            assert "Hello" in response.text
            assert "error" not in response.text


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_after_the_first_content_nobody_takes_over(
    tmp_path: Path, door: Door, client: httpx.Client, wire: str
) -> None:
    async def talking_half(peer: Peer) -> None:
        request = await peer.request()
        await peer.begin_sse()
        for frame in write_stream("anthropic" if wire == "anthropic" else "openai", request):
            await peer.chunk(frame)
            if b"Hello" in frame:
                return

    first = talking_half if wire == "openai" else answering(b"{}", 500)
    with place(tmp_path, door, client, first, talking_half, speaking("gemini")) as at:
        for path, body in ROUTES:
            asked = body | {"model": "chain", "stream": True}
            url = at.gateway.url + path
            received = ""
            with (
                pytest.raises(httpx.RemoteProtocolError),
                client.stream("POST", url, json=asked, headers=at.gateway.headers) as response,
            ):
                for piece in response.iter_text():
                    received += piece
            assert "Hello" in received
            assert "event: error\ndata: " in received
        assert at.targets[2].requests == []


@pytest.mark.parametrize("status", [401, 402, 403, 404, 429])
@pytest.mark.parametrize("stream", [False, True])
def test_a_target_that_refuses_us_is_asked_last_for_a_while(
    tmp_path: Path, door: Door, client: httpx.Client, status: int, stream: bool
) -> None:
    refusing = answering(b'{"error": {"message": "canary"}}', status, {"retry-after": "30"})
    with place(tmp_path, door, client, refusing, speaking("anthropic"), silent) as at:
        for attempts in ("2", "1", "1"):
            response = at.ask(*ROUTES[1], stream=stream)
            assert response.status_code == 200, response.text
            assert response.headers["x-trunkline-attempts"] == attempts
            assert "canary" not in response.text
        assert at.count() == [1, 3, 0]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("stream", [False, True])
def test_what_another_target_could_not_mend_is_final(
    tmp_path: Path, door: Door, client: httpx.Client, status: int, stream: bool
) -> None:
    refusing = answering(b'{"error": {"message": "canary"}}', status)
    scripts = (refusing, speaking("anthropic"), speaking("gemini"))
    with place(tmp_path, door, client, *scripts) as at:
        path, body = ROUTES[1]
        response = at.ask(path, body, stream=stream)
        assert response.status_code >= 400
        assert "picky/one" in response.json()["detail"]
        assert "canary" not in response.text
        assert at.count() == [1, 0, 0]


@pytest.mark.parametrize("stream", [False, True])
def test_the_last_failure_is_told(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    scripts = (silent, answering(b"{}", 500), answering(b"{}", 503, {"retry-after": "7"}))
    with place(tmp_path, door, client, *scripts) as at:
        path, body = ROUTES[1]
        response = at.ask(path, body, stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
        assert "gemini/gemini-3-pro" in response.json()["detail"]
        assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True])
def test_only_the_changes_of_the_target_that_answered_are_told(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    scripts = (answering(b"{}", 500), speaking("anthropic"), speaking("gemini"))
    with place(tmp_path, door, client, *scripts) as at:
        path, body = ROUTES[1]
        response = at.ask(path, body, stream=stream, seed=1, max_tokens=9, stop="x")
        assert response.status_code == 200
        words = response.headers["x-trunkline-changes"].split(",")
        assert sorted(words) == ["dropped:seed", "renamed:stop=stop_sequences"]
        assert "seed" not in json.loads(at.targets[0].requests[0].body)


def test_what_a_target_kept_us_waiting_is_not_ours(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with place(tmp_path, door, client, silent, speaking("anthropic"), silent) as at:
        response = at.ask(*ROUTES[1], stream=False)
        assert response.headers["x-trunkline-attempts"] == "2"
        whole_us = response.elapsed.total_seconds() * 1e6
        overhead_us = int(response.headers["x-trunkline-overhead-us"])
        # However slow the machine is: the second of silence is in the one and not in the other.
        assert 0 <= overhead_us < whole_us - 900_000


def test_a_target_that_is_away_is_passed_over(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        away = taken.getsockname()[1]
    with run_upstream(speaking("anthropic")) as claude:
        more = MORE.format(first=away, second=claude.port, third=9)
        with run_gateway(tmp_path, away, door=door, more=more) as gateway:
            at = Place(gateway, [claude], client)
            attempts = []
            for path, body in ROUTES:
                for stream in (False, True):
                    response = at.ask(path, body, stream=stream)
                    assert response.status_code == 200
                    attempts.append(response.headers["x-trunkline-attempts"])
            # After five failures its circuit is open.
            assert attempts == ["2", "2", "2", "2", "2", "1"]
