"""The embedded engine behind the gateway: leaving frees its slot, a crash is told openly."""

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from engines.projector import IMAGE_TOKENS, draw_png, write_data_url, write_projector
from gateway import RunningGateway, run_gateway
from trunkline.app import EngineLink
from trunkline.engines.process import EngineProcess, EngineSpec

pytestmark = pytest.mark.model

CONFIG = """
[engines.small]
model = "smollm2-135m-instruct"
[deadlines]
first_token_s = 110
"""
"""A busy machine may take a minute to read a long prompt: that is not looked at here."""
PATH = "/v5/chat/completions"
LONG: dict[str, object] = {
    "model": "local/small",
    "messages": [{"role": "user", "content": "Count."}],
    "temperature": 0,
    "max_tokens": 1500,
    "ignore_eos": True,
}


@contextmanager
def serving(
    tmp_path: Path, model_path: Path, slots: int = 2, mmproj: Path | None = None
) -> Iterator[tuple[EngineProcess, RunningGateway]]:
    spec = EngineSpec("small", model_path, "smollm2-135m-instruct", 2048, slots, None, mmproj)
    engine = EngineProcess(spec, tmp_path / "engine.log")
    engine.start()
    try:
        engine.wait_ready(60)
        link = EngineLink(
            "small", engine.address, engine.key, spec.alias, False, mmproj is not None
        )
        with run_gateway(tmp_path, more=CONFIG, engines=(link,)) as gateway:
            yield engine, gateway
    finally:
        engine.stop()


SHORT = LONG | {"max_tokens": 2}


def leave(gateway: RunningGateway, body: dict[str, object], *, after_bytes: bool) -> None:
    """Ask, and leave: once the answer has begun, or once the engine works on it."""
    content = json.dumps(body).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: My API Key\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        client.sendall(head.encode() + content)
        if after_bytes:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
        else:
            client.settimeout(1)
            with pytest.raises(TimeoutError):
                client.recv(1)


def time_short_call(gateway: RunningGateway) -> float:
    """How long a call of two tokens takes; behind a call of 1,500 it waits for its slot."""
    start_s = time.monotonic()
    url = gateway.url + PATH
    response = httpx.post(url, json=SHORT, headers=gateway.headers, timeout=120)
    assert response.status_code == 200
    return time.monotonic() - start_s


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_slot(
    tmp_path: Path, model_path: Path, stream: bool
) -> None:
    with serving(tmp_path, model_path, slots=1) as (_, gateway):
        alone_s = time_short_call(gateway)
        leave(gateway, LONG | {"stream": stream}, after_bytes=stream)
        assert time_short_call(gateway) < alone_s + 3


def test_leaving_in_the_prompt_phase_frees_the_slot(tmp_path: Path, model_path: Path) -> None:
    with serving(tmp_path, model_path, slots=1) as (_, gateway):
        alone_s = time_short_call(gateway)
        read_s = time.monotonic()
        body = SHORT | {"messages": [{"role": "user", "content": "word " * 1900}]}
        url = gateway.url + PATH
        whole = httpx.post(url, json=body, headers=gateway.headers, timeout=120)
        read_s = time.monotonic() - read_s
        assert whole.status_code == 200
        leave(
            gateway,
            body | {"messages": [{"role": "user", "content": "other " * 1900}]},
            after_bytes=False,
        )
        assert time_short_call(gateway) < alone_s + max(3.0, read_s / 2)


def crash(engine: EngineProcess) -> None:
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_a_crash_fails_what_has_begun_openly_and_asks_the_rest_again(
    tmp_path: Path, model_path: Path
) -> None:
    with serving(tmp_path, model_path) as (engine, gateway):
        url, headers = gateway.url + PATH, gateway.headers
        body = LONG | {"max_tokens": 300}  # enough to be in its slot when the engine dies
        whole: list[httpx.Response] = []
        ask = threading.Thread(
            target=lambda: whole.append(httpx.post(url, json=body, headers=headers, timeout=60))
        )
        received, waited = "", threading.Event()
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream(
                "POST", url, json=LONG | {"stream": True}, headers=headers, timeout=60
            ) as response,
        ):
            assert response.status_code == 200
            for piece in response.iter_text():
                if not received:
                    ask.start()
                    waited.wait(1)  # for the other call to be in its slot
                    crash(engine)
                received += piece
        assert "event: error" in received
        assert "upstream_error" in received
        ask.join(60)
        assert whole[0].status_code == 200
        assert whole[0].json()["usage"]["completion_tokens"] == 300
        assert whole[0].headers["x-trunkline-attempts"] == "2"
        again = httpx.post(url, json=SHORT, headers=headers, timeout=60)
        assert again.status_code == 200
        assert again.json()["usage"]["completion_tokens"] == 2
        assert engine.starts == 2


def test_an_engine_that_is_away_is_said_in_readiness(tmp_path: Path, model_path: Path) -> None:
    with serving(tmp_path, model_path) as (engine, gateway):
        assert httpx.get(f"{gateway.url}/readyz", timeout=20).status_code == 200
        engine.stop()
        response = httpx.get(f"{gateway.url}/readyz", timeout=20)
        assert response.status_code == 503
        assert response.json()["reasons"] == {"local/small": "not running"}


def test_a_prompt_past_the_context_is_refused_with_counts(tmp_path: Path, model_path: Path) -> None:
    with serving(tmp_path, model_path) as (_, gateway):
        for stream in (False, True):
            messages = [{"role": "user", "content": "word " * 3000}]
            body = LONG | {"messages": messages, "stream": stream}
            response = httpx.post(
                gateway.url + PATH, json=body, headers=gateway.headers, timeout=60
            )
            assert response.status_code == 400
            error = response.json()["error"]
            assert error["code"] == "context_length_exceeded"
            assert "This model's maximum context length is 2048 tokens" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_tools_that_the_template_lacks_are_emulated_openly(
    tmp_path: Path, model_path: Path, stream: bool
) -> None:
    tools = {"tools": [{"type": "function", "function": {"name": "now", "parameters": {}}}]}
    short = {"model": "local/small", "messages": LONG["messages"], "temperature": 0}
    with serving(tmp_path, model_path) as (_, gateway):
        url = gateway.url + PATH
        for choice in (None, "auto", "required"):
            body = short | tools | {"tool_choice": choice, "max_tokens": 200, "stream": stream}
            response = httpx.post(url, json=body, headers=gateway.headers, timeout=60)
            assert response.status_code == 200
            assert response.headers["x-trunkline-changes"] == "emulated:tools"
        assert '"name":"now"' in response.text.replace(": ", ":")
        assert re.search(r'"finish_reason": ?"tool_calls"', response.text)


def test_images_are_refused_before_the_engine_fails_on_them(
    tmp_path: Path, model_path: Path
) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    with serving(tmp_path, model_path) as (_, gateway):
        for path, body in (
            (PATH, SHORT | {"messages": [{"role": "user", "content": [part]}]}),
            (
                "/v4/completions",
                {"model": "local/small", "prompt": "x", "images": [{"image_url": "https://x/y"}]},
            ),
        ):
            response = httpx.post(gateway.url + path, json=body, headers=gateway.headers)
            assert response.status_code == 400
            assert "takes no images" in response.json()["detail"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_with_a_projector_reads_images(
    tmp_path: Path, model_path: Path, stream: bool
) -> None:
    mmproj = write_projector(tmp_path / "projector.gguf")
    image = {"type": "image_url", "image_url": {"url": write_data_url(draw_png(255, 0, 0))}}
    with serving(tmp_path, model_path, mmproj=mmproj) as (_, gateway):
        counts = []
        for images in ([], [image], [image, image]):
            content = [{"type": "text", "text": "What is this?"}, *images]
            body = SHORT | {"messages": [{"role": "user", "content": content}], "stream": stream}
            body["n"] = 2 if not stream else 1
            if stream:
                body["stream_options"] = {"include_usage": True}
            response = httpx.post(
                gateway.url + PATH, json=body, headers=gateway.headers, timeout=60
            )
            assert response.status_code == 200, response.text
            found = re.findall(r'"prompt_tokens": ?([0-9]+)', response.text)
            counts.append(int(found[-1]))
        assert [count - counts[0] for count in counts] == [0, IMAGE_TOKENS, 2 * IMAGE_TOKENS]
        start = write_data_url(draw_png(0, 0, 0)[:60])  # a PNG by its header, and no more of it
        for broken in (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": start}},
            {"type": "video_url", "video_url": {"url": "https://example.com/x.mp4"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ):
            body = SHORT | {"messages": [{"role": "user", "content": [broken]}], "stream": stream}
            url = gateway.url + PATH
            response = httpx.post(url, json=body, headers=gateway.headers, timeout=60)
            assert response.status_code == 400, response.text


def test_the_two_endpoints_of_sgp_show_an_image_to_the_engine(
    tmp_path: Path, model_path: Path
) -> None:
    mmproj = write_projector(tmp_path / "projector.gguf")
    url = write_data_url(draw_png(0, 0, 255))
    with serving(tmp_path, model_path, mmproj=mmproj) as (_, gateway):
        body = {"model": "local/small", "prompt": "What is this?", "images": [{"image_url": url}]}
        response = httpx.post(
            gateway.url + "/v4/completions", json=body, headers=gateway.headers, timeout=60
        )
        assert response.status_code == 200, response.text


def test_usage_counts_every_choice(tmp_path: Path, model_path: Path) -> None:
    with serving(tmp_path, model_path) as (_, gateway):
        body = LONG | {"max_tokens": 5, "n": 2}
        whole = httpx.post(gateway.url + PATH, json=body, headers=gateway.headers, timeout=60)
        assert len(whole.json()["choices"]) == 2
        assert whole.json()["usage"]["completion_tokens"] == 10
        streamed = body | {"stream": True, "stream_options": {"include_usage": True}}
        text = httpx.post(
            gateway.url + PATH, json=streamed, headers=gateway.headers, timeout=60
        ).text
        chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
        assert [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage")] == [
            10
        ]
        assert all("prompt_progress" not in chunk for chunk in chunks)
