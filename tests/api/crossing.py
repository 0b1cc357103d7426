"""A gateway with two targets that fail as they are told: ``both`` behind one name, or alone."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from api.faulty import Tap
from gateway import Door, RunningGateway, run_gateway, run_upstream

PATH = "/v1/chat/completions"
TALK = [{"role": "user", "content": "Hi"}]
MORE = """
[providers.other]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"

[models.both]
targets = [{{ provider = "lab", model = "one" }}, {{ provider = "other", model = "two" }}]

[models.alone]
targets = [{{ provider = "lab", model = "one" }}]

[deadlines]
first_token_s = 0.4
idle_s = 0.4
"""


@dataclass
class Crossing:
    """A running gateway and the taps of its two targets."""

    gateway: RunningGateway
    one: Tap
    two: Tap
    client: httpx.Client

    def ask(
        self,
        model: str = "both",
        *,
        stream: bool = False,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        body = {"model": model, "messages": TALK, "stream": stream} | more
        sent = self.gateway.headers | (headers or {})
        return self.client.post(self.gateway.url + PATH, json=body, headers=sent)

    def count(self) -> list[int]:
        """How many requests each target has seen."""
        return [self.one.hits, self.two.hits]

    def look(self, path: str) -> httpx.Response:
        return self.client.get(self.gateway.url + path, headers=self.gateway.headers)


@contextmanager
def cross(
    tmp_path: Path, door: Door, client: httpx.Client, more: str = "", config: str = MORE
) -> Iterator[Crossing]:
    """Run it; ``more`` is added to the configuration."""
    one, two = Tap(), Tap()
    with ExitStack() as stack:
        first = stack.enter_context(run_upstream(one.play))
        second = stack.enter_context(run_upstream(two.play))
        text = config.format(port=second.port) + more
        gateway = stack.enter_context(run_gateway(tmp_path, first.port, door=door, more=text))
        yield Crossing(gateway, one, two, client)
