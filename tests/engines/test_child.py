"""The real engine in its real child process, on the default model."""

import asyncio
import http.client
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from engines.conftest import is_gone, wait_until
from trunkline.engines.child import count_cores
from trunkline.engines.process import EngineProcess
from trunkline.engines.spec import EngineError, EngineSpec

pytestmark = pytest.mark.model

CANARY = "canary-zebra-4711"
LONG = "river stone copper window engine gateway lantern meadow " * 220


def ask(
    engine: EngineProcess, method: str, path: str, body: Any = None, key: str | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Send one request to the engine itself; the answer's body as JSON."""
    peer = http.client.HTTPConnection(engine.address.removeprefix("http://"), timeout=60)
    headers = {
        "Authorization": f"Bearer {engine.key if key is None else key}",
        "Origin": "http://a",
    }
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    try:
        peer.request(method, path, text, headers)
        answer = peer.getresponse()
        content = answer.read()
    finally:
        peer.close()
    return answer.status, json.loads(content or b"null"), dict(answer.getheaders())


def chat(engine: EngineProcess, text: str, **fields: Any) -> tuple[int, Any]:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 8, **fields}
    return ask(engine, "POST", "/v1/chat/completions", body)[:2]


def test_it_answers_under_its_alias(engine: EngineProcess) -> None:
    status, answer = chat(engine, "Say hello.")
    assert status == 200
    assert answer["model"] == "smol"
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] <= 8


def test_a_fixed_seed_gives_the_same_text_from_a_fresh_and_a_cached_prompt(
    engine: EngineProcess,
) -> None:
    fields = {"temperature": 0, "seed": 1, "max_tokens": 40}
    fresh = chat(engine, "Name three rivers.", cache_prompt=False, **fields)[1]
    cached = chat(engine, "Name three rivers.", **fields)[1]
    assert fresh["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert cached["usage"]["prompt_tokens_details"]["cached_tokens"] > 20
    assert cached["choices"] == fresh["choices"]


def test_without_its_key_it_answers_nothing_but_health(engine: EngineProcess) -> None:
    assert ask(engine, "GET", "/health", key="")[:2] == (200, {"status": "ok"})
    for method, path in [
        ("POST", "/v1/chat/completions"),
        ("POST", "/tokenize"),
        ("GET", "/v1/models"),
        ("GET", "/props"),
        ("GET", "/slots"),
    ]:
        assert ask(engine, method, path, {}, key="wrong")[0] == 401


def test_extra_doors_are_shut(engine: EngineProcess) -> None:
    shut = {"/slots": 501, "/metrics": 501, "/tools": 403, "/cors-proxy?url=http://a": 403}
    assert {path: ask(engine, "GET", path)[0] for path in [*shut, "/"]} == {**shut, "/": 404}
    headers = ask(engine, "GET", "/health")[2]
    assert headers["Access-Control-Allow-Origin"] == ""


def test_a_prompt_that_does_not_fit_is_refused_with_counts(engine: EngineProcess) -> None:
    status, answer = chat(engine, LONG * 3)
    assert status == 400
    assert answer["error"]["type"] == "exceed_context_size_error"
    assert answer["error"]["n_ctx"] == 4096
    assert answer["error"]["n_prompt_tokens"] > 4096


def test_no_part_of_a_request_is_logged(engine: EngineProcess) -> None:
    path = "/v1/chat/completions"
    assert chat(engine, CANARY)[0] == 200
    assert chat(engine, CANARY * 2000)[0] == 400
    assert chat(engine, "x", grammar=CANARY)[0] == 400
    assert chat(engine, "x", tools=[{CANARY: CANARY}])[0] >= 400
    assert ask(engine, "POST", path, '{"messages":"' + CANARY)[0] == 400
    assert ask(engine, "POST", path, {"messages": [{"role": CANARY}]})[0] == 400
    log = engine.log_path
    wait_until(lambda: "exceeds the available context" in log.read_text(), "the log")
    assert CANARY not in log.read_text()


async def leave(engine: EngineProcess, text: str, mark: bytes) -> None:
    """Ask for a stream, read on to a mark, and go away."""
    body = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 4000,
        "ignore_eos": True,
        "stream": True,
        "return_progress": True,
    }
    content = json.dumps(body)
    host, _, port = engine.address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {engine.key}"
        f"\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode()
    )
    await reader.readuntil(mark)
    writer.close()
    await writer.wait_closed()


async def test_a_cancelled_answer_frees_its_slot(engine: EngineProcess) -> None:
    await leave(engine, "Count.", b'"content":"')
    began_s = time.monotonic()
    # The only slot: this call runs when the other, with thousands of tokens to go, has left it.
    status, _ = await asyncio.to_thread(chat, engine, "Hi.", max_tokens=1)
    assert status == 200
    assert time.monotonic() - began_s < 8


async def test_a_call_cancelled_while_its_prompt_is_read_frees_its_slot(
    engine: EngineProcess,
) -> None:
    await leave(engine, LONG * 2, b"prompt_progress")
    # What the slot has kept of the prompt tells how far it was read.
    quarter = LONG[: len(LONG) // 2]
    answer = (await asyncio.to_thread(chat, engine, quarter, max_tokens=1))[1]
    usage = answer["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] < 0.9 * usage["prompt_tokens"]


def test_the_interrupt_of_a_terminal_does_not_end_it(engine: EngineProcess) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGINT)
    assert os.getpgid(engine.pid) != os.getpgid(0)
    assert chat(engine, "Hi.")[0] == 200
    assert engine.starts == 1


def test_its_key_shows_neither_in_its_arguments_nor_in_its_environment(
    engine: EngineProcess,
) -> None:
    for name in ("cmdline", "environ"):
        assert engine.key.encode() not in Path(f"/proc/{engine.pid}/{name}").read_bytes()


def test_after_a_native_crash_it_comes_back_by_itself(model_path: Path, tmp_path: Path) -> None:
    engine = EngineProcess(EngineSpec("smol", model_path, "smol", slots=2), tmp_path / "e.log")
    engine.start()
    try:
        engine.wait_ready(60)
        first = engine.pid
        assert first is not None
        os.kill(first, signal.SIGSEGV)
        wait_until(lambda: engine.starts == 2 and engine.state == "ready", "the restart")
        assert chat(engine, "Hi.")[0] == 200
        second = engine.pid
    finally:
        engine.stop()
    assert second is not None
    assert is_gone(second)
    assert "SIGSEGV" in engine.last_error


def test_a_damaged_model_file_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + bytes(500))
    engine = EngineProcess(EngineSpec("smol", damaged, "smol"), tmp_path / "e.log")
    engine.start()
    with pytest.raises(EngineError, match=r"damaged\.gguf") as failure:
        engine.wait_ready(60)
    engine.stop()
    assert "failed to load model" in str(failure.value)


def test_there_is_a_core_to_run_on() -> None:
    assert 1 <= count_cores() <= (os.cpu_count() or 1)
