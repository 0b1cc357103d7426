"""Streams that break and are not gone on with, or not for long: the client is told so."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.resuming import OPENAI, TEXT, V5, breaking, place
from books import read_only
from gateway import KEY
from trunkline.mock import Asked, Behaviour, Fault


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (2, 3), (5, 3)])
def test_where_all_break_the_client_is_told_so(tmp_path: Path, retries: int, attempts: int) -> None:
    def plan(asked: Asked) -> Behaviour:
        return Behaviour(text=TEXT, fault=Fault("cut", at="after_content", after_chunks=1))

    with place(tmp_path, plan, routing=f"retries = {retries}") as at:
        answer = at.ask(OPENAI, "anthropic-openai")
    assert len(at.asked) == attempts
    assert not answer.is_whole
    assert '"upstream_error"' in answer.error
    assert TEXT.startswith(answer.text)
    assert len(answer.text.split()) == attempts
    assert not answer.reasons
    entry, rows = read_only(at.gateway.data_dir)
    assert (entry.status, entry.code) == ("failed", "upstream_error")
    assert [row.status for row in rows] == ["failed"] * attempts


@pytest.mark.parametrize("kind", ["status_400", "status_401", "status_500", "hang", "empty"])
def test_a_refused_continuation_is_told_as_what_broke_first(tmp_path: Path, kind: str) -> None:
    def plan(asked: Asked) -> Behaviour:
        if asked.number == 1:
            return Behaviour(text=TEXT, fault=Fault("cut", at="after_content", after_chunks=1))
        return Behaviour(text=TEXT, fault=Fault(kind))

    with place(tmp_path, plan, idle_s=1 if kind == "hang" else 10) as at:
        answer = at.ask(V5, "openai-anthropic")
    assert not answer.is_whole
    assert '"upstream_error"' in answer.error
    assert answer.text == "One"
    assert at.asked[1].said == "One"


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
BEYOND_TEXT: list[dict[str, Any]] = [
    {"tools": [TOOL]},
    {"response_format": {"type": "json_object"}},
    {"logprobs": True},
    {"n": 2},
    {"messages": [{"role": "user", "content": IMAGE}]},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "One"}]},
    {"reasoning_effort": "high"},
    {"modalities": ["text", "audio"]},
]


@pytest.mark.parametrize("more", BEYOND_TEXT, ids=lambda more: next(iter(more)))
def test_only_plain_text_is_gone_on_with(tmp_path: Path, more: dict[str, Any]) -> None:
    def plan(asked: Asked) -> Behaviour:
        return Behaviour(text=TEXT, fault=Fault("cut", at="after_content", after_chunks=2))

    with place(tmp_path, plan) as at:
        answer = at.ask(OPENAI, "openai-openai", **more)
    assert not answer.is_whole
    assert '"upstream_error"' in answer.error
    assert len(at.asked) == 1


@pytest.mark.parametrize(
    ("fault", "routing", "headers"),
    [
        (Fault("cut", at="end"), "", {}),
        (Fault("cut", at="after_content"), "", {"x-trunkline-strict": "true"}),
        (Fault("cut", at="after_content"), "resume = false", {}),
    ],
    ids=["finished", "strict", "off"],
)
def test_what_is_not_gone_on_with(
    tmp_path: Path, fault: Fault, routing: str, headers: dict[str, str]
) -> None:
    def plan(asked: Asked) -> Behaviour:
        return Behaviour(text=TEXT, fault=fault)

    more = ""
    if routing:
        more = (
            '\n[models.off]\ntargets = [{ provider = "broken", model = "m" }, '
            f'{{ provider = "vllm", model = "m" }}]\n[models.off.routing]\n{routing}\n'
        )
    with place(tmp_path, plan, more=more) as at:
        at.gateway.headers |= headers
        answer = at.ask(V5, "off" if routing else "openai-openai")
    assert len(at.asked) == 1
    assert not answer.is_whole


def test_a_target_that_cannot_go_on_is_passed_over(tmp_path: Path) -> None:
    more = (
        '\n[models.chain]\ntargets = [{ provider = "broken", model = "m" }, '
        '{ provider = "anthropic", model = "claude-opus-4-6" }, '
        '{ provider = "bedrock", model = "amazon.nova-pro-v1:0" }, '
        '{ provider = "vllm", model = "m" }]\n[models.chain.routing]\nresume = true\n'
    )
    fault = Fault("early_end", at="after_content", after_chunks=2)
    with place(tmp_path, breaking(fault), more=more) as at:
        answer = at.ask(V5, "chain")
    assert answer.text == TEXT
    assert [each.path for each in at.asked] == ["/v1/chat/completions"] * 2


def test_targets_that_are_left_alone_are_not_asked_to_go_on(tmp_path: Path) -> None:
    one, other = '{ provider = "vllm", model = "one" }', '{ provider = "vllm", model = "other" }'
    more = ""
    for name, targets in (("single", other), ("pair", f"{one}, {other}")):
        more += f"\n[models.{name}]\ntargets = [{targets}]\n[models.{name}.routing]\n"
        more += f"resume = true\n[models.{name}.routing.circuit]\nfailures = 1\n"
    fault = Fault("cut", at="after_content", after_chunks=2)
    with place(tmp_path, breaking(fault), more=more) as at:
        for model in ("single", "pair"):
            answer = at.ask(V5, model)
            assert (answer.text, answer.reasons) == ("One two", [])
            assert '"upstream_error"' in answer.error
    assert [each.model for each in at.asked] == ["other", "one"]


def test_a_client_that_leaves_while_it_is_gone_on_with(tmp_path: Path) -> None:
    def plan(asked: Asked) -> Behaviour:
        kind = Fault("hang", at="head") if asked.said else Fault("cut", at="after_content")
        return Behaviour(text=TEXT, fault=kind)

    with place(tmp_path, plan) as at:
        body = {
            "model": "anthropic-openai",
            "stream": True,
            "messages": [{"role": "user", "content": "Hi"}],
        }
        content = json.dumps(body).encode()
        head = (
            f"POST {V5} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", at.gateway.port), timeout=20) as client:
            client.sendall(head.encode() + content)
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            wait_until(lambda: len(at.asked) == 2)
        wait_until(lambda: at.mock.served[1].client_left_at is not None)
    entry, attempts = read_only(at.gateway.data_dir)
    assert entry.status == "left"
    assert [each.status for each in attempts] == ["failed", "left"]
    assert entry.first_token_us is not None


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)
