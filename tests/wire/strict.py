"""Puts answers before the official clients in strict mode; no server is needed.

Each client is given a transport that answers every request with the bytes under test
(docs/contract.md, Strict clients).
"""

from collections.abc import Callable, Mapping
from typing import Any

import httpx
import openai
import scale_gp
import scale_gp_beta
from scale_gp import Stream
from scale_gp.types import CompletionsResponse

ASKED = [{"role": "user", "content": "Hi"}]
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}


def _options(body: bytes, headers: Mapping[str, str], status: int = 200) -> dict[str, Any]:
    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=dict(headers), content=body)

    return {
        "api_key": "k",
        "base_url": "http://gateway.test",
        "http_client": httpx.Client(transport=httpx.MockTransport(respond), trust_env=False),
        "max_retries": 0,
        "_strict_response_validation": True,
    }


def open_v4(body: bytes, headers: Mapping[str, str] = JSON, status: int = 200) -> Any:
    return scale_gp.SGPClient(account_id="a", **_options(body, headers, status))


def open_v5(body: bytes, headers: Mapping[str, str] = JSON, status: int = 200) -> Any:
    return scale_gp_beta.SGPClient(account_id="a", **_options(body, headers, status))


def open_openai(body: bytes, headers: Mapping[str, str] = JSON, status: int = 200) -> Any:
    return openai.OpenAI(**_options(body, headers, status))


Ask = Callable[[], Any]


def ask_chat(
    body: bytes, headers: Mapping[str, str] = JSON, status: int = 200, *, stream: bool = False
) -> dict[str, Ask]:
    """A chat call of every client, by the client's name."""
    more = {"stream": True} if stream else {}
    v4, v5 = open_v4(body, headers, status), open_v5(body, headers, status)
    oai = open_openai(body, headers, status)
    return {
        "v4": lambda: v4.beta.chat.completions.create(model="m", messages=ASKED, **more),
        "v5": lambda: v5.chat.completions.create(model="m", messages=ASKED, **more),
        "openai": lambda: oai.chat.completions.create(model="m", messages=ASKED, **more),
    }


def read_chat(body: bytes) -> dict[str, Any]:
    """A whole chat answer as each client sees it; raises where one refuses it."""
    return {name: ask() for name, ask in ask_chat(body).items()}


def read_chat_stream(body: bytes) -> dict[str, list[Any]]:
    """The chunks as each client sees them; raises where one refuses one."""
    return {name: list(ask()) for name, ask in ask_chat(body, SSE, stream=True).items()}


def find_refusers(ask: Mapping[str, Ask]) -> set[str]:
    """Which clients refuse an answer that they should have accepted."""
    refusers = set()
    for name, call in ask.items():
        try:
            answer = call()
            if isinstance(answer, (scale_gp.Stream, scale_gp_beta.Stream, openai.Stream)):
                list(answer)
        except (
            scale_gp.APIResponseValidationError,
            scale_gp_beta.APIResponseValidationError,
            openai.APIResponseValidationError,
        ):
            refusers.add(name)
    return refusers


def read_text(body: bytes) -> Any:
    """A legacy text answer as OpenAI's client sees it."""
    return open_openai(body).completions.create(model="m", prompt="p")


def read_text_stream(body: bytes) -> list[Any]:
    """Chunks of legacy text, in lax mode: its strict types refuse a null finish reason."""
    client = open_openai(body, SSE).copy(_extra_kwargs={"_strict_response_validation": False})
    return list(client.completions.create(model="m", prompt="p", stream=True))


def read_native(body: bytes) -> CompletionsResponse:
    """A native completion as the v4 client sees it."""
    answer = open_v4(body).completions.create(model="m", prompt="p")
    assert isinstance(answer, CompletionsResponse)
    return answer


def read_native_stream(body: bytes) -> list[CompletionsResponse]:
    """Native chunks in the documented type; the client's own wrong type must take them too."""
    client = open_v4(body, SSE)
    plain = list(client.completions.create(model="m", prompt="p", stream=True))
    with client.completions.with_streaming_response.create(
        model="m", prompt="p", stream=True
    ) as response:
        documented = list(response.parse(to=Stream[CompletionsResponse]))
    texts = [chunk.completion.text for chunk in documented]
    assert [chunk.completion["text"] for chunk in plain] == texts
    assert [chunk.completions[0][0] for chunk in plain] == texts
    return documented
