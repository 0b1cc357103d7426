"""The embedded engine behind either door: raw prompts, and many streams at once."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from gateway import ACCOUNT, KEY, Door, run_gateway
from sdk.client import Line, ask_v4_native, ask_v5, call_async, open_v4, read_chat, read_native
from trunkline.app import EngineLink
from trunkline.engines.library import DEFAULT_MODEL
from trunkline.engines.process import EngineProcess, EngineSpec

pytestmark = pytest.mark.model

MODEL = "local/smollm2"
CONFIG = f"""
[engines.smollm2]
model = "{DEFAULT_MODEL}"

[models."{MODEL}"]
prompt_mode = "raw"
"""
PARALLEL = 16
PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def engine(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    spec = EngineSpec("smollm2", model_path, DEFAULT_MODEL)
    process = EngineProcess(spec, tmp_path_factory.mktemp("engine") / "engine.log")
    process.start()
    try:
        process.wait_ready(60)
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module")
def raw(
    tmp_path_factory: pytest.TempPathFactory, engine: EngineProcess, door: Door
) -> Iterator[Line]:
    """A gateway whose own model continues a completion's prompt instead of answering it."""
    link = EngineLink("smollm2", engine.address, engine.key, DEFAULT_MODEL)
    folder = tmp_path_factory.mktemp("raw")
    with run_gateway(folder, door=door, more=CONFIG, engines=(link,)) as gateway:
        yield Line(gateway.url, KEY, ACCOUNT)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_raw_prompt_is_continued(raw: Line, stream: bool) -> None:
    given = {
        "model": MODEL,
        "prompt": PROMPT,
        "model_parameters": {"temperature": 0, "max_tokens": 6},
    }
    reply = read_native(ask_v4_native(raw, given, stream))
    assert "Paris" in reply.text
    # No template around it: its own words are all that the model reads.
    assert reply.usage == (len(PROMPT.split()), 6, len(PROMPT.split()) + 6)
    assert reply.finish_reason == "length"
    stopped = given | {"model_parameters": {"temperature": 0, "stop_sequences": ["Paris"]}}
    reply = read_native(ask_v4_native(raw, stopped, stream))
    assert (reply.text.strip(), reply.finish_reason) == ("", "stop")


def test_a_raw_prompt_has_a_limit_of_its_own(raw: Line) -> None:
    with open_v4(raw) as client:
        answer = client.completions.with_raw_response.create(
            model=MODEL, prompt=PROMPT, model_parameters={"stop_sequences": ["Paris"]}
        )
    assert answer.headers["x-trunkline-changes"] == "defaulted:max_tokens=100"


def test_chat_keeps_its_template(raw: Line) -> None:
    messages = [{"role": "user", "content": PROMPT}]
    given = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 6}
    reply = read_chat(ask_v5(raw, given, False), False)
    assert reply.usage is not None
    assert reply.usage[0] > len(PROMPT.split())


async def test_parallel_streams_never_mix(raw: Line) -> None:
    """Each may say one thing only, and more are asked for than the engine has slots."""
    words = [" ".join([f"word {number}"] * 2) for number in range(PARALLEL)]
    async with AsyncOpenAI(**raw.place_openai("/v1")) as client:
        asked = [
            call_async(client.chat.completions.create, oblige(word), stream=True) for word in words
        ]
        streams = await asyncio.gather(*asked)
    replies = [read_chat(chunks, True) for chunks in streams]
    assert [json.loads(reply.text) for reply in replies] == words
    assert all(reply.pieces > 4 for reply in replies)


def oblige(word: str) -> dict[str, Any]:
    """A question whose only valid answer is ``word``."""
    schema = {"name": "word", "schema": {"type": "string", "enum": [word]}}
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Say the word."}],
        "response_format": {"type": "json_schema", "json_schema": schema},
        "max_tokens": 40,
    }
