"""A gateway before the dialects of all vendors, which one scripted upstream speaks, and clients.

Each test says what the upstream answers next, calls through a real client, and looks at what
the upstream was asked.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import ACCOUNT, KEY, STEADY, Door, run_gateway, run_upstream
from scripted import Peer, Request, ScriptedServer
from sdk.client import Line, open_openai, open_v4, open_v5

CANARY = "sk-upstream-canary"
"""The gateway's own key at every vendor, as ``run_gateway`` puts it into the environment."""

CONFIG = """
[providers.openai]
base_url = "{url}/openai/v1"
api_key = "env:LAB_KEY"

[providers.anthropic]
base_url = "{url}/anthropic/v1"
api_key = "env:LAB_KEY"

[providers.gemini]
base_url = "{url}/gemini/v1beta"
api_key = "env:LAB_KEY"

[providers.bedrock]
base_url = "{url}"
region = "us-west-2"
access_key = "AKIDCANARY"
secret_key = "env:LAB_KEY"

[providers.cohere]
base_url = "{url}/cohere/v2"
api_key = "env:LAB_KEY"

[providers.llm-engine]
base_url = "{url}/engine"
api_key = "env:LAB_KEY"

[models.raw-openai]
targets = [{{ provider = "openai", model = "davinci-002" }}]
prompt_mode = "raw"

[models.raw-llm-engine]
targets = [{{ provider = "llm-engine", model = "llama-2-7b" }}]
prompt_mode = "raw"
"""


@dataclass(frozen=True)
class Answer:
    """What the upstream says to the next request, again and again until told otherwise.

    Attributes:
        pieces: a whole answer is one piece; a streamed one comes in chunks.
        is_cut: the connection ends before the end of the answer.
    """

    pieces: tuple[bytes, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_streamed: bool = False
    is_cut: bool = False


@dataclass(frozen=True)
class Got:
    """What a client made of an answer.

    Attributes:
        headers: of the answer, names in lower case.
        objects: what the client handed out; one unless streamed.
    """

    headers: Mapping[str, str]
    objects: Sequence[Any]


Create = Callable[..., Any]


class Stage:
    """The upstream, the gateway and its clients; ``creates`` are their raw ``create`` methods."""

    def __init__(self) -> None:
        self.answer = Answer((b"{}",))
        self.line = Line("", KEY, ACCOUNT)
        self.creates: dict[str, Create] = {}
        self.upstream = ScriptedServer(self.play)

    async def play(self, peer: Peer) -> None:
        while True:
            await peer.request()
            answer = self.answer
            if not answer.is_streamed:
                await peer.answer(b"".join(answer.pieces), answer.status, answer.headers)
                continue
            await peer.begin_chunked(answer.status, answer.headers)
            for piece in answer.pieces:
                await peer.chunk(piece)
            if answer.is_cut:
                return
            await peer.end_chunked()

    def ask(self, client: str, given: Mapping[str, Any], *, stream: bool, answer: Answer) -> Got:
        """Let a client call, the upstream answering so."""
        self._await(answer)
        if not stream:
            raw = self.creates[client](**given)
            return Got(raw.headers, [raw.parse()])
        raw = self.creates[client](**given, stream=True)
        with raw.parse() as chunks:
            return Got(raw.headers, list(chunks))

    def read(self, client: str, given: Mapping[str, Any], *, answer: Answer) -> Iterator[Any]:
        """The chunks of a streamed answer as the client hands them out."""
        self._await(answer)
        with self.creates[client](**given, stream=True).parse() as chunks:
            yield from chunks

    def _await(self, answer: Answer) -> None:
        self.answer = answer
        self.upstream.requests.clear()

    @property
    def asked(self) -> Request:
        """The one request that the upstream was sent by the last call."""
        (request,) = self.upstream.requests
        return request

    @property
    def asked_body(self) -> dict[str, Any]:
        """The body of ``asked``."""
        body = json.loads(self.asked.body)
        assert isinstance(body, dict)
        return body


@contextmanager
def set_stage(tmp_path: Path, door: Door) -> Iterator[Stage]:
    """Everything running behind one door, until the block ends."""
    stage = Stage()
    with ExitStack() as stack:
        stage.upstream = stack.enter_context(run_upstream(stage.play))
        more = CONFIG.format(url=stage.upstream.url) + STEADY
        gateway = stack.enter_context(
            run_gateway(tmp_path, stage.upstream.port, door=door, more=more)
        )
        stage.line = Line(gateway.url, KEY, ACCOUNT)
        v4 = stack.enter_context(open_v4(stage.line))
        v5 = stack.enter_context(open_v5(stage.line))
        other = stack.enter_context(open_openai(stage.line))
        stage.creates = {
            "scale-gp": v4.beta.chat.completions.with_raw_response.create,
            "scale-gp-beta": v5.chat.completions.with_raw_response.create,
            "openai": other.chat.completions.with_raw_response.create,
            "native": v4.completions.with_raw_response.create,
        }
        yield stage


CLIENTS = ("scale-gp", "scale-gp-beta", "openai")
"""The clients of chat; ``native`` is scale-gp's completion."""
