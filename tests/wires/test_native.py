"""SGP's own completion on every wire: one prompt in, one text out, through the v4 client."""

from typing import Any

import pytest

from sdk.client import read_native
from wires.asked import PNG, Item
from wires.dialect import CASES, DIALECTS
from wires.stage import Answer, Stage

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
PROMPT = "Is it warmer in Oslo than in Rome? Å"
NATIVE_WORDS = {
    "openai": "stop",
    "anthropic": "end_turn",
    "gemini": "STOP",
    "bedrock": "end_turn",
    "cohere": "COMPLETE",
    "llm-engine": "stop",
}
IDS = {
    "openai": "chatcmpl-C3",
    "anthropic": "msg_01T",
    "gemini": "T1",
    "cohere": "c0-t",
    "llm-engine": "chatcmpl-L3",
}
"""What the vendor calls its answer; Bedrock does not."""

PROMPTS = [(wire, False) for wire in DIALECTS]
PROMPTS += [(wire, True) for wire, dialect in DIALECTS.items() if dialect.sees]
"""Wires, and whether an image goes with the prompt."""


def read_metadata(last: Any) -> dict[str, Any]:
    completion = last.completion
    inside = completion if isinstance(completion, dict) else completion.to_dict()
    metadata = inside["response_metadata"]
    assert isinstance(metadata, dict)
    return metadata


@STREAMED
@pytest.mark.parametrize(("wire", "seen"), PROMPTS)
def test_a_completion(stage: Stage, wire: str, *, seen: bool, stream: bool) -> None:
    dialect = DIALECTS[wire]
    given: dict[str, Any] = {
        "model": dialect.name,
        "prompt": PROMPT,
        "model_parameters": {"max_tokens": 70, "stop_sequences": ["END"]},
    }
    if seen:
        given["images"] = [{"image_url": f"data:image/png;base64,{PNG}"}]
    answer = dialect.answer("thought", stream=stream)
    got = stage.ask("native", given, stream=stream, answer=answer)

    dialect.check_request(stage.asked, stream=stream)
    image = {"role": "user", "image": PNG, "type": "image/png"}
    heard: list[Item] = [{"role": "user", "text": PROMPT}, *([image] if seen else [])]
    assert dialect.hear(stage.asked_body) == heard
    assert {"END"} <= set(list_texts(stage.asked_body))

    reply = read_native(got.objects)
    assert reply.text == "No: Rome is warmer."
    assert (reply.finish_reason, reply.usage) == ("stop", (40, 70, 110))
    metadata = read_metadata(got.objects[-1])
    told = {"model": dialect.model, "provider": wire, "native_finish_reason": NATIVE_WORDS[wire]}
    assert told.items() <= metadata.items()
    if not stream and wire in IDS:
        assert metadata["id"] == IDS[wire]
    assert got.headers["x-trunkline-target"] == dialect.name
    changes = got.headers.get("x-trunkline-changes", "").split(",")
    assert "renamed:prompt=messages" not in changes
    assert not any(word.startswith(("dropped", "clamped")) for word in changes)


def list_texts(value: Any) -> list[str]:
    """Every text anywhere in a body."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for each in value for text in list_texts(each)]
    return [value] if isinstance(value, str) else []


RAW: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai": (
        "/openai/v1/completions",
        "/openai/v1/completions",
        {
            "model": "davinci-002",
            "prompt": "Once upon",
            "max_tokens": 2,
            "temperature": 0.2,
            "stop": ["END"],
            "top_p": 0.9,
        },
    ),
    "llm-engine": (
        "/engine/v1/llm/completions-sync?model_endpoint_name=llama-2-7b",
        "/engine/v1/llm/completions-stream?model_endpoint_name=llama-2-7b",
        {
            "prompt": "Once upon",
            "max_new_tokens": 2,
            "temperature": 0.2,
            "stop_sequences": ["END"],
            "top_p": 0.9,
        },
    ),
}
"""Of vendors that complete raw prompts: where, streamed where, and what they have to be asked."""


@STREAMED
@pytest.mark.parametrize("wire", RAW)
def test_a_raw_prompt(stage: Stage, wire: str, *, stream: bool) -> None:
    path, stream_path, body = RAW[wire]
    given = {
        "model": f"raw-{wire}",
        "prompt": "Once upon",
        "model_parameters": {"max_tokens": 2, "stop_sequences": ["END"], "top_p": 0.9},
    }
    recorded = (CASES / wire / ("raw.sse" if stream else "raw.json")).read_bytes()
    got = stage.ask("native", given, stream=stream, answer=Answer((recorded,), is_streamed=stream))

    assert stage.asked.target == (stream_path if stream else path)
    sent = stage.asked_body
    if wire == "openai" and stream:
        assert sent.pop("stream") is True
        assert sent.pop("stream_options") == {"include_usage": True}
    assert sent == body
    reply = read_native(got.objects)
    assert (reply.text, reply.finish_reason, reply.usage) == (" a time", "length", (2, 2, 4))
    renamed = "renamed:max_tokens=max_new_tokens,renamed:stop=stop_sequences"
    told = renamed if wire == "llm-engine" else None
    assert got.headers.get("x-trunkline-changes") == told
