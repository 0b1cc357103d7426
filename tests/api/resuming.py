"""A gateway before a mock whose first target breaks, and a client that reads every byte."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway import RunningGateway, run_gateway
from mocking import run_mock
from trunkline.mock import FAULTS, Asked, Behaviour, Fault, MockServer
from trunkline.mock.behaviour import Dialect

TEXT = 'One two  three \u00e9t\u00e9 \U0001f600 \u2028 four\n\nfive "six" seven.'
MORE = """
[routing.circuit]
failures = 100000

[deadlines]
idle_s = {idle_s}
first_token_s = {idle_s}

[providers.broken]
base_url = "{url}/v1"
wire = "openai"
prefill = "{own}"

[providers.broken-anthropic]
base_url = "{url}/v1"
wire = "anthropic"
prefill = "assistant"

[providers.broken-bedrock]
base_url = "{url}"
wire = "bedrock"
region = "us-west-2"
access_key = "AKIDCANARY"
secret_key = "env:LAB_KEY"

[providers.vllm]
base_url = "{url}/v1"

[providers.anthropic]
base_url = "{url}/v1"
api_key = "env:LAB_KEY"

[providers.bedrock]
base_url = "{url}"
region = "us-west-2"
access_key = "AKIDCANARY"
secret_key = "env:LAB_KEY"
"""
TARGETS = {
    "openai": ("broken", "vllm", "m"),
    "anthropic": ("broken-anthropic", "anthropic", "claude-sonnet-4-5"),
    "bedrock": ("broken-bedrock", "bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
}
WIRES: tuple[Dialect, ...] = ("openai", "anthropic", "bedrock")
NATIVE, BETA, V5, OPENAI = (
    "/v4/completions",
    "/v4/beta/chat/completions",
    "/v5/chat/completions",
    "/v1/chat/completions",
)
PATHS = (NATIVE, BETA, V5, OPENAI)
BREAKS = tuple(
    name
    for name, kind in FAULTS.items()
    if "after_content" in kind.at
    and kind.expect("after_content", stream=True) == "error after content"
    and kind.applies("chat", stream=True)
    and not kind.needs_tools
    # What stands behind the named length spoils the next request on that connection as well.
    and name != "short_length"
)


@dataclass
class Place:
    """A gateway before a mock, whose first target breaks."""

    gateway: RunningGateway
    mock: MockServer
    client: httpx.Client
    asked: list[Asked]

    def ask(self, path: str, model: str, **more: Any) -> "Answer":
        body = {"model": model, "stream": True, **more}
        if path == NATIVE:
            body.setdefault("prompt", "Hi")
        else:
            body.setdefault("messages", [{"role": "user", "content": "Hi"}])
            body.setdefault("stream_options", {"include_usage": True})
        headers = self.gateway.headers
        data = b""
        url = self.gateway.url + path
        with self.client.stream("POST", url, json=body, headers=headers) as response:
            try:
                for piece in response.iter_raw():
                    data += piece
            except httpx.RemoteProtocolError:
                return Answer(response.status_code, data, is_whole=False)
        return Answer(response.status_code, data, is_whole=True)


class Answer:
    """A stream as a client reads it."""

    def __init__(self, status: int, data: bytes, *, is_whole: bool) -> None:
        self.status = status
        self.data = data
        self.is_whole = is_whole
        frames = [block for block in data.decode("ascii").split("\n\n") if block]
        self.error = frames.pop() if frames and frames[-1].startswith("event: error") else ""
        assert all(frame.startswith("data: ") for frame in frames), frames
        self.is_done = frames[-1:] == ["data: [DONE]"]
        self.chunks = [json.loads(frame[6:]) for frame in frames if frame != "data: [DONE]"]
        texts, self.reasons, self.roles, self.resumed = [], [], 0, []
        for chunk in self.chunks:
            if "completion" in chunk:
                texts.append(chunk["completion"]["text"])
                assert chunk["completions"] == [[texts[-1], []]]
                self.reasons.append(chunk["finish_reason"])
                told = (chunk["completion"].get("response_metadata") or {}).get("resumed")
                self.resumed.append(told)
                continue
            for choice in chunk["choices"]:
                texts.append(choice["delta"].get("content") or "")
                self.roles += "role" in choice["delta"]
                self.reasons.append(choice["finish_reason"])
            self.resumed.append(chunk.get("trunkline", {}).get("resumed"))
        self.text = "".join(texts)
        self.reasons = [each for each in self.reasons if each]
        self.resumed = [each for each in self.resumed if each]

    @property
    def usage(self) -> tuple[int, int, int]:
        last = self.chunks[-1]
        if "completion" in last:
            usage = last["token_usage"]
            assert (last["prompt_tokens"], last["response_tokens"]) == (
                usage["prompt"],
                usage["completion"],
            )
            return usage["prompt"], usage["completion"], usage["total"]
        usage = last["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]


@contextmanager
def place(
    tmp_path: Path,
    plan: Callable[[Asked], Behaviour],
    *,
    routing: str = "",
    own: str = "none",
    door: Any = "direct",
    idle_s: float = 10,
    more: str = "",
) -> Iterator[Place]:
    asked: list[Asked] = []

    def note(each: Asked) -> Behaviour:
        asked.append(each)
        return plan(each)

    with ExitStack() as stack:
        mock = stack.enter_context(run_mock(note))
        url = f"http://127.0.0.1:{mock.port}"
        config = MORE.format(url=url, own=own, idle_s=idle_s) + more
        for one in WIRES:
            for other in WIRES:
                config += write_model(f"{one}-{other}", TARGETS[one], TARGETS[other], routing)
        client = stack.enter_context(httpx.Client(timeout=20))
        gateway = stack.enter_context(run_gateway(tmp_path, mock.port, door=door, more=config))
        yield Place(gateway, mock, client, asked)


def write_model(name: str, first: Any, second: Any, routing: str) -> str:
    one = f'{{ provider = "{first[0]}", model = "{first[2]}" }}'
    other = f'{{ provider = "{second[1]}", model = "{second[2]}" }}'
    table = f'\n[models."{name}"]\ntargets = [{one}, {other}]\n'
    return f'{table}[models."{name}".routing]\nresume = true\n{routing}\n'


def breaking(fault: Fault, text: str = TEXT, chunks: int | None = None) -> Any:
    """A plan: who is asked for the whole text breaks, who is given a part of it does not."""

    def plan(asked: Asked) -> Behaviour:
        return Behaviour(text=text, chunks=chunks, fault=None if asked.said else fault)

    return plan
