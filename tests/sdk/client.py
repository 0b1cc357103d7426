"""Every official client, made to look alike: a name, and a call that returns what came back."""

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import scale_gp
import scale_gp_beta
from openai import AsyncOpenAI, OpenAI
from scale_egp.sdk.client import EGPClient
from scale_egp.sdk.types.completions import ModelParameters

Given = Mapping[str, Any]
"""What a call is given: the arguments of the client's own ``create``, without ``stream``."""


@dataclass(frozen=True)
class Line:
    """A gateway as its clients know it.

    Attributes:
        url: its root.
        local: it stands where the SDKs look for a local gateway, and is found by environment.
    """

    url: str
    key: str
    account: str
    local: bool = False
    timeout_s: float = 300
    max_retries: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """Arguments that every generated client takes."""
        return {
            "api_key": self.key,
            "timeout": self.timeout_s,
            "max_retries": self.max_retries,
            "_strict_response_validation": True,
        }

    def place_sgp(self, environment: str) -> dict[str, Any]:
        """Arguments of an SGP client: an environment, or an address where none fits."""
        where = {"environment": environment} if self.local else {"base_url": self.url}
        return {**self.options, **where, "account_id": self.account}

    def place_openai(self, path: str) -> dict[str, Any]:
        """Arguments of an OpenAI client below a path of the gateway."""
        return {**self.options, "base_url": self.url + path}


@dataclass(frozen=True)
class Reply:
    """What a client made of an answer, streamed or not.

    Attributes:
        usage: tokens of the prompt, of the answer, and of both; None where none was told.
        pieces: how many objects the client handed out; 1 unless streamed.
    """

    text: str
    finish_reason: str | None
    usage: tuple[int, int, int] | None
    pieces: int


Ask = Callable[[Line, Given, bool], Sequence[Any]]
"""Calls ``create``, streamed if the flag says so, and returns everything that it gave."""


def call(create: Callable[..., Any], given: Given, *, stream: bool) -> list[Any]:
    """Call a blocking ``create``."""
    if not stream:
        return [create(**given)]
    with create(**given, stream=True) as chunks:
        return list(chunks)


async def call_async(create: Callable[..., Any], given: Given, *, stream: bool) -> list[Any]:
    """Call a coroutine ``create``."""
    if not stream:
        return [await create(**given)]
    async with await create(**given, stream=True) as chunks:
        return [chunk async for chunk in chunks]


def open_v4(line: Line) -> scale_gp.SGPClient:
    """The v4 SDK's client."""
    return scale_gp.SGPClient(**line.place_sgp("development"))


def open_v5(line: Line) -> scale_gp_beta.SGPClient:
    """The v5 SDK's client."""
    return scale_gp_beta.SGPClient(**line.place_sgp("local"))


def open_openai(line: Line, path: str = "/v1") -> OpenAI:
    """OpenAI's client at one of the gateway's bases."""
    return OpenAI(**line.place_openai(path))


def ask_v4(line: Line, given: Given, stream: bool) -> list[Any]:
    with open_v4(line) as client:
        return call(client.beta.chat.completions.create, given, stream=stream)


def ask_v4_native(line: Line, given: Given, stream: bool) -> list[Any]:
    with open_v4(line) as client:
        return call(client.completions.create, given, stream=stream)


def ask_v5(line: Line, given: Given, stream: bool) -> list[Any]:
    with open_v5(line) as client:
        return call(client.chat.completions.create, given, stream=stream)


def ask_v4_async(line: Line, given: Given, stream: bool) -> list[Any]:
    async def run() -> list[Any]:
        async with scale_gp.AsyncSGPClient(**line.place_sgp("development")) as client:
            return await call_async(client.beta.chat.completions.create, given, stream=stream)

    return asyncio.run(run())


def ask_v4_native_async(line: Line, given: Given, stream: bool) -> list[Any]:
    async def run() -> list[Any]:
        async with scale_gp.AsyncSGPClient(**line.place_sgp("development")) as client:
            return await call_async(client.completions.create, given, stream=stream)

    return asyncio.run(run())


def ask_v5_async(line: Line, given: Given, stream: bool) -> list[Any]:
    async def run() -> list[Any]:
        async with scale_gp_beta.AsyncSGPClient(**line.place_sgp("local")) as client:
            return await call_async(client.chat.completions.create, given, stream=stream)

    return asyncio.run(run())


def at_openai(path: str) -> Ask:
    """OpenAI's blocking client below a path of the gateway."""

    def ask(line: Line, given: Given, stream: bool) -> list[Any]:
        with open_openai(line, path) as client:
            return call(client.chat.completions.create, given, stream=stream)

    return ask


def at_openai_async(path: str) -> Ask:
    """OpenAI's async client below a path of the gateway."""

    def ask(line: Line, given: Given, stream: bool) -> list[Any]:
        async def run() -> list[Any]:
            async with AsyncOpenAI(**line.place_openai(path)) as client:
                return await call_async(client.chat.completions.create, given, stream=stream)

        return asyncio.run(run())

    return ask


def ask_egp(line: Line, given: Given, stream: bool) -> list[Any]:
    """The first official client: ``/v2/completions``, blocking only, its own parameter class."""
    client = EGPClient(api_key=line.key, account_id=line.account, endpoint_url=line.url)
    arguments = {**given, "account_id": line.account}
    if "model_parameters" in given:
        arguments["model_parameters"] = ModelParameters(**given["model_parameters"])
    with forget_sockets():
        if stream:
            return list(client.completions().stream(**arguments))
        return [client.completions().create(**arguments)]


@contextmanager
def forget_sockets() -> Iterator[None]:
    """The EGP client makes an HTTP client for each call and closes none of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


NATIVE: dict[str, Ask] = {
    "scale-gp": ask_v4_native,
    "scale-gp async": ask_v4_native_async,
    "scale-egp": ask_egp,
}
"""Clients of the native completion route."""

CHAT: dict[str, Ask] = {
    "scale-gp": ask_v4,
    "scale-gp async": ask_v4_async,
    "scale-gp-beta": ask_v5,
    "scale-gp-beta async": ask_v5_async,
    "openai /v1": at_openai("/v1"),
    "openai /v1 async": at_openai_async("/v1"),
    "openai /v4/beta": at_openai("/v4/beta"),
    "openai /v4/beta async": at_openai_async("/v4/beta"),
}
"""Clients of the chat routes."""


def read_chat(given: Sequence[Any], stream: bool) -> Reply:
    """The first choice of a chat answer."""
    choices = [one.choices[0] for one in given if one.choices]
    parts = [choice.delta if stream else choice.message for choice in choices]
    usage = given[-1].usage
    return Reply(
        "".join(part.content or "" for part in parts),
        choices[-1].finish_reason,
        usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
        len(given),
    )


def read_native(given: Sequence[Any]) -> Reply:
    """A native answer; the v4 SDK hands a chunk's inside out as plain dicts."""
    parts = [_field(one, "completion") for one in given]
    usage = _field(given[-1], "token_usage")
    return Reply(
        "".join(_field(part, "text") for part in parts),
        _field(parts[-1], "finish_reason"),
        usage and tuple(_field(usage, name) for name in ("prompt", "completion", "total")),
        len(given),
    )


def _field(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, dict) else getattr(value, name)
