"""Images by address for targets that want bytes: fetched once, inlined, or refused."""

import asyncio
import json
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import Door, RunningGateway, run_gateway, run_upstream, talking
from scripted import Peer, Script, ScriptedServer, answering, wait_until
from speaking import speaking
from trunkline.app import EngineLink
from trunkline.providers.fetch import Fetcher
from wire.picture import write_png, write_url, write_webp

PNG = write_png(640, 480)
INLINED = write_url(PNG)
MORE = """
[providers.blind]
wire = "openai"
base_url = "http://127.0.0.1:{lab}/v1"
images = "none"

[providers.bytes]
wire = "openai"
base_url = "http://127.0.0.1:{lab}/v1"
images = "data"

[providers.gemini]
base_url = "http://127.0.0.1:{gemini}"
api_key = "env:LAB_KEY"

[models.sightless]
targets = [{{ provider = "bytes", model = "m" }}]
images = false

[models.base]
targets = [{{ provider = "bytes", model = "m" }}]
prompt_mode = "raw"

[engines.small]
model = "small"

[engines.sightless]
model = "small"
"""


@dataclass
class Place:
    """A gateway that may fetch from one server, and its upstreams."""

    gateway: RunningGateway
    shelf: ScriptedServer
    lab: ScriptedServer
    gemini: ScriptedServer
    client: httpx.Client

    def url(self, name: str = "a.png") -> str:
        return f"{self.shelf.url}/{name}"

    def chat(self, model: str, *urls: str, **more: Any) -> httpx.Response:
        parts = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
        content = [{"type": "text", "text": f"see {self.url()}"}, *parts]
        body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
        return self.post("/v5/chat/completions", body)

    def complete(self, model: str, *urls: str, **more: Any) -> httpx.Response:
        images = [{"image_url": url, "detail": "low"} for url in urls]
        return self.post(
            "/v4/completions", {"model": model, "prompt": "see", "images": images, **more}
        )

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.client.post(self.gateway.url + path, json=body, headers=self.gateway.headers)

    def read_urls(self) -> list[str]:
        """The addresses of the images in the lab's newest request."""
        (message,) = json.loads(self.lab.requests[-1].body)["messages"]
        shown = [part["image_url"] for part in message["content"][1:]]
        assert {image["detail"] for image in shown} <= {"low"}
        return [image["url"] for image in shown]


def serving(data: bytes, media_type: str = "image/png") -> Script:
    return answering(data, 200, {"content-type": media_type})


@contextmanager
def place(tmp_path: Path, door: Door, client: httpx.Client, *shelf: Script) -> Iterator[Place]:
    with ExitStack() as stack:
        images = stack.enter_context(run_upstream(*(shelf or (serving(PNG),))))
        lab = stack.enter_context(run_upstream(talking()))
        gemini = stack.enter_context(run_upstream(speaking("gemini")))
        engines = (
            EngineLink("small", lab.url, "engine-key", "small", False, images=True),
            EngineLink("sightless", lab.url, "engine-key", "small", False, images=False),
        )
        gateway = stack.enter_context(
            run_gateway(
                tmp_path,
                lab.port,
                door=door,
                more=MORE.format(lab=lab.port, gemini=gemini.port),
                engines=engines,
                find_fetcher=lambda: Fetcher(allow=frozenset({f"127.0.0.1:{images.port}"})),
            )
        )
        yield Place(gateway, images, lab, gemini, client)


@pytest.mark.parametrize("stream", [False, True])
def test_an_image_is_inlined_for_who_wants_bytes(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with place(tmp_path, door, client) as at:
        for ask in (at.chat, at.complete):
            for model in ("bytes/m", "local/small"):
                response = ask(model, at.url(), stream=stream)
                assert response.status_code == 200, response.text
                assert "Hello" in response.text
                assert at.read_urls() == [INLINED]
            assert ask("gemini/m", at.url(), stream=stream).status_code == 200
            (content,) = json.loads(at.gemini.requests[-1].body)["contents"]
            image = content["parts"][-1]["inline_data"]
            assert image == {"mime_type": "image/png", "data": b64encode(PNG).decode()}


def test_the_time_of_a_fetch_is_not_the_gateways(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    release = threading.Event()

    async def late(peer: Peer) -> None:
        await peer.request()
        threading.Timer(0.5, release.set).start()
        await asyncio.to_thread(release.wait, 20)
        await peer.answer(PNG, 200, {"content-type": "image/png"})

    with place(tmp_path, door, client, late) as at:
        response = at.chat("bytes/m", at.url())
        whole_us = response.elapsed.total_seconds() * 1e6
        assert 0 <= int(response.headers["x-trunkline-overhead-us"]) < whole_us - 450_000


def test_one_address_is_fetched_once_a_call(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with place(tmp_path, door, client) as at:
        for ask in (at.chat, at.complete):
            before = len(at.shelf.requests)
            data = write_url(write_png(2, 2))
            assert ask("bytes/m", at.url("a"), data, at.url("b"), at.url("a")).status_code == 200
            assert at.read_urls() == [INLINED, data, INLINED, INLINED]
            fetched = [request.target for request in at.shelf.requests[before:]]
            assert sorted(fetched) == ["/a", "/b"]
            assert all(request.method == "GET" for request in at.shelf.requests)


def test_nothing_of_the_caller_goes_to_the_images_server(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with place(tmp_path, door, client) as at:
        at.chat("bytes/m", at.url())
        (request,) = at.shelf.requests
    for secret in (b"My API Key", b"sk-upstream-canary", b"x-api-key", b"authorization", b"cookie"):
        assert secret not in request.head


@pytest.mark.parametrize(
    ("model", "status", "shown"),
    [
        ("sightless", 400, False),
        ("blind/m", 400, False),
        ("local/sightless", 400, False),
        ("lab/m", 200, True),  # it fetches by itself
        ("nobody", 404, False),
    ],
)
def test_nothing_is_fetched_where_no_bytes_are_wanted(
    tmp_path: Path, door: Door, client: httpx.Client, model: str, status: int, shown: bool
) -> None:
    with place(tmp_path, door, client) as at:
        for ask in (at.chat, at.complete):
            response = ask(model, at.url())
            assert response.status_code == status
            if status == 400:
                assert "takes no images" in response.json()["detail"]
            if shown:
                assert at.read_urls() == [at.url()]
        assert at.complete("base", at.url()).status_code == 400
        assert at.shelf.requests == []


def test_nothing_is_fetched_for_a_stranger(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with place(tmp_path, door, client) as at:
        at.gateway.headers["x-api-key"] = "wrong"
        assert at.chat("bytes/m", at.url()).status_code == 401
        assert at.shelf.peers == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://127.0.0.1:{port}/a.png",
        "http://localhost/a.png",
        "http://[::1]/a.png",
        "http://0.0.0.0/a.png",
        "http://10.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/a.png",
        "https://[::ffff:127.0.0.1]/a.png",
        "http://127.0.0.1:22/a.png",
        "http://me:pw@127.0.0.1/a.png",
    ],
)
def test_addresses_that_are_not_public_are_refused(
    tmp_path: Path, door: Door, client: httpx.Client, url: str
) -> None:
    with place(tmp_path, door, client) as at:
        for ask in (at.chat, at.complete):
            for stream in (False, True):
                # The port is that of an upstream, which nobody has allowed.
                response = ask("bytes/m", url.format(port=at.lab.port), stream=stream)
                assert response.status_code == 400
                assert response.json()["error"]["code"] == "invalid_request"
                assert "/a.png" not in response.text
        assert at.lab.peers == []


def test_a_redirect_to_a_private_address_is_refused(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    away = answering(b"", 302, {"location": "http://127.0.0.1:9/a.png"})
    with place(tmp_path, door, client, away) as at:
        assert at.chat("bytes/m", at.url()).status_code == 400
        assert at.lab.peers == []


def test_eight_are_the_most(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    with place(tmp_path, door, client) as at:
        urls = [at.url(str(number)) for number in range(9)]
        for ask in (at.chat, at.complete):
            response = ask("bytes/m", *urls)
            assert response.status_code == 400
            assert "At most 8 images" in response.json()["detail"]
            assert at.shelf.requests == []
        # Nine that are the same are one, and data costs no fetch.
        assert at.chat("bytes/m", *[urls[0]] * 9).status_code == 200
        assert at.chat("bytes/m", *urls[:8], INLINED, INLINED).status_code == 200
        assert len(at.read_urls()) == 10


@pytest.mark.parametrize(
    "script",
    [
        answering(b"", 404),
        serving(PNG, "text/html"),
        serving(b"<html>", "image/png"),
    ],
)
def test_what_is_no_image_is_refused(
    tmp_path: Path, door: Door, client: httpx.Client, script: Script
) -> None:
    with place(tmp_path, door, client, script) as at:
        for ask in (at.chat, at.complete):
            response = ask("bytes/m", at.url())
            assert response.status_code == 400
            assert "cannot be fetched" in response.json()["detail"]
        assert at.lab.peers == []


def waiting(arrived: threading.Semaphore, closed: threading.Semaphore) -> Script:
    """Never answers; tells when it was asked, and when the gateway has left."""

    async def script(peer: Peer) -> None:
        await peer.request()
        arrived.release()
        try:
            await peer.wait_closed()
        finally:
            closed.release()

    return script


def test_one_failure_ends_the_other_fetches(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    arrived, closed = threading.Semaphore(0), threading.Semaphore(0)
    held = waiting(arrived, closed)

    async def failing(peer: Peer) -> None:
        await peer.request()
        await wait_until(lambda: len(peer.server.requests) == 2)
        await peer.answer(b"", 404)

    with place(tmp_path, door, client, failing, held) as at:
        assert at.chat("bytes/m", at.url("a"), at.url("b")).status_code == 400
        assert closed.acquire(timeout=5)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_fetch(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    arrived, closed = threading.Semaphore(0), threading.Semaphore(0)
    with place(tmp_path, door, client, waiting(arrived, closed)) as at:
        images = [{"image_url": at.url()}]
        body = {"model": "bytes/m", "prompt": "x", "images": images, "stream": stream}
        content = json.dumps(body).encode()
        head = (
            "POST /v4/completions HTTP/1.1\r\nhost: x\r\nx-api-key: My API Key\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", at.gateway.port), timeout=20) as leaving:
            leaving.sendall(head.encode() + content)
            assert arrived.acquire(timeout=5)
        assert closed.acquire(timeout=5)
        assert at.lab.peers == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_is_shown_only_what_it_can_read_and_hold(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with place(tmp_path, door, client, serving(write_webp(), "image/webp")) as at:
        bomb = write_url(write_png(20_000, 20_000))
        for url, word in (
            (at.url(), "expected a PNG, JPEG, GIF or BMP file"),
            (bomb, "40 megapixels"),
            ("file:///etc/passwd", "data URL"),
            ("HTTP://127.0.0.1/a.png", "data URL"),
        ):
            for ask in (at.chat, at.complete):
                response = ask("local/small", url, stream=stream)
                assert response.status_code == 400
                assert word in response.json()["detail"]
        for model in ("local/small", "local/sightless"):
            part = {"type": "video_url", "video_url": {"url": at.url()}}
            body = {"model": model, "messages": [{"role": "user", "content": [part]}]}
            response = at.post("/v1/chat/completions", body | {"stream": stream})
            assert response.status_code == 400
            assert "messages[0].content[0]" in response.json()["detail"]
            assert "'video_url'" in response.json()["detail"]
        assert at.lab.peers == []
        # Others may know more than our engines do.
        assert at.chat("bytes/m", bomb, at.url()).status_code == 200


def test_an_escaped_key_hides_no_image(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    with place(tmp_path, door, client) as at:
        for model, status in (("sightless", 400), ("local/sightless", 400), ("bytes/m", 200)):
            part = {"type": "image_url", "image_url": {"url": at.url()}}
            body = {"model": model, "messages": [{"role": "user", "content": [part]}]}
            content = json.dumps(body).replace("image_url", r"image\u005furl")
            url = at.gateway.url + "/v1/chat/completions"
            response = client.post(url, content=content, headers=at.gateway.headers)
            assert response.status_code == status
        sent = json.loads(at.lab.requests[-1].body)["messages"][0]["content"]
        assert sent[0]["image_url"]["url"] == INLINED
