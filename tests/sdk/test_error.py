"""What every official client makes of a failure: the class it raises, and how often it calls."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import httpx
import openai
import pydantic.v1
import pytest
import scale_gp
import scale_gp_beta
from scale_egp.exceptions import EGPException, ItemDoesNotExist

from gateway import ACCOUNT, KEY, STEADY, Door, run_gateway, run_upstream, write_frames
from scripted import Peer, Script, answering
from sdk.client import CHAT, NATIVE, Line, ask_egp, open_openai, open_v4, open_v5

CHAT_GIVEN: dict[str, Any] = {"model": "model", "messages": [{"role": "user", "content": "hi"}]}
NATIVE_GIVEN: dict[str, Any] = {"model": "model", "prompt": "hi"}
PATIENCE_S = 20
SDKS = (scale_gp, scale_gp_beta, openai)


def find_errors(name: str) -> tuple[type[Exception], ...]:
    """The class of that name in each SDK; they do not know one another's."""
    return tuple(getattr(sdk, name) for sdk in SDKS)


@contextmanager
def serve(tmp_path: Path, script: Script, door: Door, **options: Any) -> Iterator[Line]:
    with (
        run_upstream(script) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=STEADY) as gateway,
    ):
        yield Line(gateway.url, KEY, ACCOUNT, **options)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CHAT)
@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"model": "nobody's"}, "NotFoundError"),
        ({"temperature": 9}, "UnprocessableEntityError"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "BadRequestError"),
    ],
)
def test_chat_errors(
    line: Line, client: str, stream: bool, given: dict[str, Any], name: str
) -> None:
    with pytest.raises(find_errors(name)) as caught:
        CHAT[client](line, CHAT_GIVEN | given, stream)
    error: Any = caught.value
    assert error.response.headers["x-request-id"].startswith("req_")
    body: Any = error.body if isinstance(error, openai.APIError) else error.body["error"]
    assert body["message"]
    assert body["type"] == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", ["scale-gp", "scale-gp async"])
@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"model": "nobody's"}, "NotFoundError"),
        ({"model_parameters": {"temperature": 2}}, "UnprocessableEntityError"),
        ({"model": "raw", "images": [{"image_url": "u"}]}, "BadRequestError"),
    ],
)
def test_native_errors(
    line: Line, client: str, stream: bool, given: dict[str, Any], name: str
) -> None:
    with pytest.raises(find_errors(name)):
        NATIVE[client](line, NATIVE_GIVEN | given, stream)


@pytest.mark.parametrize(
    ("key", "given", "kind", "code"),
    [
        (KEY, {"model": "nobody's"}, ItemDoesNotExist, 404),
        (KEY, {"model": ""}, EGPException, 422),
        ("wrong", {}, EGPException, 401),
    ],
)
def test_egp_errors(
    line: Line, key: str, given: dict[str, Any], kind: type[EGPException], code: int
) -> None:
    asked_by = replace(line, key=key)
    with pytest.raises(EGPException) as caught:
        ask_egp(asked_by, NATIVE_GIVEN | given, False)
    assert (type(caught.value), caught.value.code) == (kind, code)
    # Its streams look at no status: an error body has no line of data, so nothing comes.
    assert ask_egp(asked_by, NATIVE_GIVEN | given, True) == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CHAT)
def test_a_wrong_key(line: Line, client: str, stream: bool) -> None:
    with pytest.raises(find_errors("AuthenticationError")):
        CHAT[client](replace(line, key="wrong"), CHAT_GIVEN, stream)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", ["scale-gp", "scale-gp async"])
def test_a_wrong_key_of_a_completion(line: Line, client: str, stream: bool) -> None:
    with pytest.raises(scale_gp.AuthenticationError):
        NATIVE[client](replace(line, key="wrong"), NATIVE_GIVEN, stream)


async def break_off(peer: Peer) -> None:
    """An upstream that dies in the middle of its answer."""
    request = await peer.request()
    await peer.begin_sse()
    await peer.frames(list(write_frames(request, json.loads(request.body), ["Hel", "lo"]))[:2])


def test_a_stream_that_breaks_off(tmp_path: Path, door: Door) -> None:
    with serve(tmp_path, break_off, door) as line:
        for client, ask in CHAT.items():
            with pytest.raises(broken_by(client)) as caught:
                ask(line, CHAT_GIVEN, True)
            check_broken(caught.value)
        for client in ("scale-gp", "scale-gp async"):
            with pytest.raises(scale_gp.APIStatusError) as status:
                NATIVE[client](line, NATIVE_GIVEN, True)
            check_broken(status.value)
        with pytest.raises(pydantic.v1.ValidationError):
            ask_egp(line, NATIVE_GIVEN, True)


def broken_by(client: str) -> type[Exception]:
    if client.startswith("openai"):
        return openai.APIError
    # The v5 SDK passes over named events: only the missing end of the body tells it.
    return httpx.RemoteProtocolError if "beta" in client else scale_gp.APIStatusError


def check_broken(error: Exception) -> None:
    if isinstance(error, scale_gp.APIStatusError):
        body: Any = error.body
        assert (error.status_code, body["error"]["code"]) == (200, "upstream_error")
        assert body["detail"] == body["error"]["message"]
    elif isinstance(error, openai.APIError):
        assert (error.code, bool(error.message)) == ("upstream_error", True)


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (401, 1)])
def test_retries(tmp_path: Path, door: Door, status: int, tries: int) -> None:
    """A failing upstream is tried again twice by each SDK; our own wrong key never."""
    askers = [*((ask, CHAT_GIVEN) for ask in CHAT.values())]
    askers += [(NATIVE[name], NATIVE_GIVEN) for name in ("scale-gp", "scale-gp async")]
    with (
        run_upstream(answering(status=status)) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=STEADY) as gateway,
        ThreadPoolExecutor(len(askers)) as pool,
    ):
        line = Line(gateway.url, KEY, ACCOUNT, max_retries=2)
        running = [pool.submit(ask, line, given, False) for ask, given in askers]
        for each in running:
            with pytest.raises(find_errors("InternalServerError")):
                each.result(PATIENCE_S)
        assert len(upstream.requests) == tries * len(askers)


def start_silent(left: SimpleQueue[None]) -> Script:
    """An upstream that says one word if a stream is asked for, and then waits to be left."""

    async def script(peer: Peer) -> None:
        request = await peer.request()
        asked = json.loads(request.body)
        if asked.get("stream"):
            await peer.begin_sse()
            await peer.frames(list(write_frames(request, asked, ["Hello"]))[:2])
        await peer.wait_closed()
        left.put(None)

    return script


@pytest.mark.parametrize(
    ("told", "name"),
    [({}, "InternalServerError"), ({"x-stainless-read-timeout": "300"}, "APITimeoutError")],
    ids=["in time", "too late"],
)
def test_a_client_that_gives_up_frees_the_upstream(
    tmp_path: Path, door: Door, told: dict[str, str], name: str
) -> None:
    """A client that tells its patience gets a 504 before it is over; any other gives up itself."""
    left: SimpleQueue[None] = SimpleQueue()
    askers = [CHAT[name] for name in ("scale-gp", "scale-gp-beta async", "openai /v1")]
    with (
        serve(tmp_path, start_silent(left), door, timeout_s=4) as line,
        ThreadPoolExecutor(len(askers)) as pool,
    ):
        given = CHAT_GIVEN | {"extra_headers": told}
        running = [pool.submit(ask, line, given, False) for ask in askers]
        for each in running:
            with pytest.raises(find_errors(name)) as caught:
                each.result(PATIENCE_S)
            if not told:
                assert cast("Any", caught.value).status_code == 504
        for _ in running:
            left.get(timeout=PATIENCE_S)


def test_a_stream_closed_early_frees_the_upstream(tmp_path: Path, door: Door) -> None:
    left: SimpleQueue[None] = SimpleQueue()
    with (
        serve(tmp_path, start_silent(left), door) as line,
        open_v4(line) as v4,
        open_v5(line) as v5,
        open_openai(line) as other,
    ):
        for create, given in (
            (v4.completions.create, NATIVE_GIVEN),
            (v4.beta.chat.completions.create, CHAT_GIVEN),
            (v5.chat.completions.create, CHAT_GIVEN),
            (other.chat.completions.create, CHAT_GIVEN),
        ):
            with cast("Any", create)(**given, stream=True) as chunks:
                assert next(iter(chunks))
            left.get(timeout=PATIENCE_S)
