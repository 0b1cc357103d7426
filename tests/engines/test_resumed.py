"""The embedded engine goes on with an answer that broke: another target's, and its own."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from books import read_only
from gateway import RunningGateway, run_gateway
from mocking import run_mock
from trunkline.app import EngineLink
from trunkline.engines.process import EngineProcess, EngineSpec
from trunkline.mock import Asked, Behaviour, Fault

pytestmark = pytest.mark.model

CONFIG = """
[engines.small]
model = "smollm2-135m-instruct"

[models.both]
targets = [
  {{ provider = "broken", model = "m" }},
  {{ provider = "local", model = "small" }},
]

[providers.broken]
base_url = "http://127.0.0.1:{port}/v1"
wire = "openai"

[routing]
resume = true
"""
CHAT, NATIVE = "/v5/chat/completions", "/v4/completions"
STORY = "Tell me a short story about a fox."
LIMIT = 24


@contextmanager
def serving(
    tmp_path: Path, model_path: Path, port: int
) -> Iterator[tuple[EngineProcess, RunningGateway]]:
    spec = EngineSpec("small", model_path, "smollm2-135m-instruct", 2048, 1, None, None)
    engine = EngineProcess(spec, tmp_path / "engine.log")
    engine.start()
    try:
        engine.wait_ready(60)
        link = EngineLink("small", engine.address, engine.key, spec.alias, False, False)
        more = CONFIG.format(port=port)
        with run_gateway(tmp_path, more=more, engines=(link,)) as gateway:
            yield engine, gateway
    finally:
        engine.stop()


def write_body(path: str, model: str, limit: int, **more: Any) -> dict[str, Any]:
    if path == NATIVE:
        given = {"temperature": 0, "max_tokens": limit}
        return {"model": model, "prompt": STORY, "model_parameters": given, "stream": True}
    messages = [{"role": "user", "content": STORY}]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": limit}
    return body | {"stream": True, "stream_options": {"include_usage": True}} | more


def read_stream(data: str) -> tuple[str, list[str], Any]:
    """Text, finish reasons and the last chunk."""
    text, reasons, chunk = "", [], None
    for frame in data.split("\n\n")[:-1]:
        chunk = json.loads(frame.removeprefix("data: "))
        if "completion" in chunk:
            text += chunk["completion"]["text"]
            reasons.append(chunk["finish_reason"])
        for choice in chunk.get("choices", ()):
            text += choice["delta"].get("content") or ""
            reasons.append(choice["finish_reason"])
    return text, [each for each in reasons if each], chunk


@pytest.mark.parametrize("path", [CHAT, NATIVE])
def test_it_goes_on_with_another_targets_answer(
    tmp_path: Path, model_path: Path, path: str
) -> None:
    story: list[str] = []

    def plan(_: Asked) -> Behaviour:
        fault = Fault("cut", at="after_content", after_chunks=6)
        return Behaviour(text=story[0], fault=fault)

    with run_mock(plan) as mock, serving(tmp_path, model_path, mock.port) as (_, gateway):
        url, headers = gateway.url + path, gateway.headers
        body = write_body(path, "local/small", LIMIT)
        whole = httpx.post(url, json=body, headers=headers, timeout=60)
        text, reasons, last = read_stream(whole.text)
        story.append(text)
        assert len(text.split()) > 12
        body = write_body(path, "both", LIMIT)
        joined = httpx.post(url, json=body, headers=headers, timeout=60)
    again, reasons, last = read_stream(joined.text)
    # Greedy, and cut between two words: the model goes on as if it had never stopped.
    assert again.startswith(text[:-8])
    assert reasons == ["length"]
    if path == NATIVE:
        assert last["completion"]["response_metadata"]["resumed"] == 1
        assert last["token_usage"]["completion"] == LIMIT
    else:
        assert last["usage"]["completion_tokens"] == LIMIT
    assert mock.served[0].cut


def test_a_crash_in_the_middle_is_not_seen_by_the_client(tmp_path: Path, model_path: Path) -> None:
    limit = 300
    body = write_body(CHAT, "local/small", limit, ignore_eos=True)
    with serving(tmp_path, model_path, 9) as (engine, gateway):
        url, headers = gateway.url + CHAT, gateway.headers
        received = ""
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as response:
            for piece in response.iter_text():
                pid = engine.pid
                if not received and pid is not None:
                    os.kill(pid, signal.SIGKILL)
                received += piece
        text, reasons, last = read_stream(received)
        assert reasons == ["length"]
        assert last["usage"]["completion_tokens"] == limit
        assert len(text.split()) > limit / 3
        assert engine.starts == 2
    entry, (broke, went_on) = read_only(gateway.data_dir)
    assert entry.status == "complete"
    label = "local/smollm2-135m-instruct"
    assert f"resumed:{label}" in entry.changes.split(",")
    assert (broke.target, went_on.target) == (label, label)
    assert broke.output_tokens + went_on.output_tokens == limit
