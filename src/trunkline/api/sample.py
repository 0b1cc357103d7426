"""Examples for the reference: a request and its answer for each format, and the same as code."""

import json
from typing import Any, Final

import msgspec

Json = dict[str, Any]

ADDRESS: Final = "http://127.0.0.1:5003"
"""The official clients' local environment, and our default."""

KEY_VARIABLE: Final = "TRUNKLINE_KEY"
_MODEL: Final = "local/smollm2"
_QUESTION: Final = "Name the largest planet."
_REPLY: Final = "Jupiter is the largest planet."
_CREATED_S: Final = 1_795_219_200
_USAGE: Final = {"prompt_tokens": 14, "completion_tokens": 6, "total_tokens": 20}


class Sample(msgspec.Struct, frozen=True):
    """One format by example.

    Args:
        request: body of a request.
        answer: body of its answer.
        stream: body of the same answer, streamed; "" where there is no stream.
        python: code by the label that the page shows.
    """

    request: Json
    answer: Json
    stream: str
    python: dict[str, str]


def write_curl(path: str, body: Json | None, *, key: bool, method: str = "") -> str:
    """A request as a command line; ``method`` where it is not the one that curl would take."""
    address = f"{ADDRESS}{path}"
    parts = [f"curl '{address}'" if "?" in path else f"curl {address}"]
    if method and method != ("GET" if body is None else "POST"):
        parts.append(f"-X {method}")
    if key:
        parts.append(f'-H "x-api-key: ${KEY_VARIABLE}"')
    if body is not None:
        parts.append('-H "content-type: application/json"')
        parts.append(f"-d '{json.dumps(body, indent=2)}'")
    return " \\\n  ".join(parts)


def _write_stream(*chunks: Json, done: bool = False) -> str:
    frames = [f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n" for chunk in chunks]
    return "".join(frames) + ("data: [DONE]\n\n" if done else "")


def _connect(package: str, name: str, path: str, more: str = "") -> str:
    return (
        f"import os\n\nfrom {package} import {name}\n\n"
        f'client = {name}(\n    api_key=os.environ["{KEY_VARIABLE}"],\n'
        f'    base_url="{ADDRESS}{path}",\n{more})\n'
    )


def _chunk(text: str, reason: str | None = None, usage: Json | None = None) -> Json:
    return {
        "completion": {"text": text, "finish_reason": reason},
        "token_usage": usage,
        "completions": [[text, []]],
        "finish_reason": reason,
        "prompt_tokens": usage["prompt"] if usage else None,
        "response_tokens": usage["completion"] if usage else None,
    }


_TOKENS: Final = {"prompt": 14, "completion": 6, "total": 20}
_METADATA: Final = {
    "id": "chatcmpl-5f2b",
    "model": "smollm2-135m-instruct",
    "provider": "local",
    "native_finish_reason": "stop",
}
_ASK_COMPLETION: Final = (
    f'    model="{_MODEL}",\n    prompt="{_QUESTION}",\n'
    '    model_parameters={"max_tokens": 100},\n'
)
_SGP: Final = _connect("scale_gp", "SGPClient", "")
COMPLETION: Final = Sample(
    {
        "model": _MODEL,
        "prompt": _QUESTION,
        "model_parameters": {"max_tokens": 100},
    },
    {
        "completion": {"text": _REPLY, "finish_reason": "stop", "response_metadata": _METADATA},
        "token_usage": _TOKENS,
    },
    _write_stream(
        _chunk("Jupiter is"), _chunk(" the largest planet."), _chunk("", "stop", _TOKENS)
    ),
    {
        "Python": f"{_SGP}answer = client.completions.create(\n{_ASK_COMPLETION})\n"
        "print(answer.completion.text)\n",
        "Python, streamed": f"{_SGP}stream = client.completions.create(\n{_ASK_COMPLETION}"
        "    stream=True,\n)\nfor chunk in stream:\n"
        "    # In this client, the chunk's completion is a dict.\n"
        '    print(chunk.completion["text"], end="", flush=True)\n',
    },
)

_ASK_CHAT: Final = (
    f'    model="{_MODEL}",\n    messages=[{{"role": "user", "content": "{_QUESTION}"}}],\n'
)
_PRINT_CHAT: Final = "print(answer.choices[0].message.content)\n"
_PRINT_CHUNK: Final = (
    'for chunk in stream:\n    print(chunk.choices[0].delta.content or "", end="", flush=True)\n'
)
_ENVELOPE: Final[Json] = {
    "id": "chatcmpl-5f2b",
    "object": "chat.completion",
    "created": _CREATED_S,
    "model": "smollm2-135m-instruct",
}


def _delta(delta: Json, reason: str | None = None) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {**_ENVELOPE, "object": "chat.completion.chunk", "choices": [choice]}


def _chat(python: dict[str, str], *, done: bool) -> Sample:
    message = {"role": "assistant", "content": _REPLY}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Sample(
        {"model": _MODEL, "messages": [{"role": "user", "content": _QUESTION}]},
        {**_ENVELOPE, "choices": [choice], "usage": _USAGE},
        _write_stream(
            _delta({"role": "assistant", "content": "Jupiter is"}),
            _delta({"content": " the largest planet."}),
            _delta({}, "stop"),
            done=done,
        ),
        python,
    )


_V5: Final = _connect("scale_gp_beta", "SGPClient", "", '    account_id="default",\n')
SGP_CHAT: Final = _chat(
    {
        "Python": f"{_SGP}answer = client.beta.chat.completions.create(\n{_ASK_CHAT})\n"
        f"{_PRINT_CHAT}",
        "Python, streamed": f"{_SGP}stream = client.beta.chat.completions.create(\n{_ASK_CHAT}"
        f"    stream=True,\n)\n{_PRINT_CHUNK}",
        "Python, /v5": f"{_V5}answer = client.chat.completions.create(\n{_ASK_CHAT})\n"
        f"{_PRINT_CHAT}",
    },
    done=False,
)

_OPENAI: Final = _connect("openai", "OpenAI", "/v1")
OPENAI_CHAT: Final = _chat(
    {
        "Python": f"{_OPENAI}answer = client.chat.completions.create(\n{_ASK_CHAT})\n{_PRINT_CHAT}",
        "Python, streamed": f"{_OPENAI}stream = client.chat.completions.create(\n{_ASK_CHAT}"
        f"    stream=True,\n)\n{_PRINT_CHUNK}",
    },
    done=True,
)

_ASK_TEXT: Final = f'    model="{_MODEL}",\n    prompt="{_QUESTION}",\n    max_tokens=100,\n'
_TEXT_ENVELOPE: Final[Json] = {**_ENVELOPE, "id": "cmpl-5f2b", "object": "text_completion"}


def _text(text: str, reason: str | None = None) -> Json:
    choice = {"index": 0, "text": text, "finish_reason": reason}
    return {**_TEXT_ENVELOPE, "choices": [choice]}


OPENAI_TEXT: Final = Sample(
    {"model": _MODEL, "prompt": _QUESTION, "max_tokens": 100},
    {**_text(_REPLY, "stop"), "usage": _USAGE},
    _write_stream(_text("Jupiter is"), _text(" the largest planet.", "stop"), done=True),
    {
        "Python": f"{_OPENAI}answer = client.completions.create(\n{_ASK_TEXT})\n"
        "print(answer.choices[0].text)\n",
        "Python, streamed": f"{_OPENAI}stream = client.completions.create(\n{_ASK_TEXT}"
        "    stream=True,\n)\nfor chunk in stream:\n"
        '    print(chunk.choices[0].text, end="", flush=True)\n',
    },
)

EMBEDDING_MODEL: Final = "openai/text-embedding-3-small"
OPENAI_EMBEDDING: Final = Sample(
    {"model": EMBEDDING_MODEL, "input": _REPLY},
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.018, -0.027, 0.009]}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    },
    "",
    {
        "Python": f"{_OPENAI}answer = client.embeddings.create(\n"
        f'    model="{EMBEDDING_MODEL}",\n    input="{_REPLY}",\n)\n'
        "print(answer.data[0].embedding)\n",
    },
)

MODELS: Final[Json] = {
    "object": "list",
    "data": [{"id": _MODEL, "object": "model", "created": 0, "owned_by": "trunkline"}],
}
MODELS_PYTHON: Final = f"{_OPENAI}for model in client.models.list():\n    print(model.id)\n"
FAULT_MESSAGE: Final = "body.prompt: Field required"
FAULT: Final[Json] = {
    "detail": [{"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}],
    "error": {
        "message": FAULT_MESSAGE,
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "validation_error",
    },
    "request_id": "req_8c1f6a0e2b7d4c3f9a5e1d02",
}
"""The one failure whose ``detail`` is a list."""
