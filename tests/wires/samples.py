"""A telling value for every parameter, and requests that hold one, fitted to every wire."""

import json
from dataclasses import dataclass
from typing import Any, Final

from trunkline.call import Deadlines
from trunkline.errors import GatewayError
from trunkline.routing.ask import Ask
from trunkline.routing.fit import OPENAI_CHAT, SGP_COMPLETION, ClientFormat
from trunkline.routing.table import Columns, Route, Row, Target, Wire
from trunkline.wire.change import Changes
from trunkline.wire.mend import Stamp
from wires.asked import PNG, SCHEMA, TOOL

MODELS: Final[dict[Wire, str]] = {
    "openai": "gpt-5.1",
    "anthropic": "claude-opus-4-6",
    "gemini": "gemini-2.5-flash",
    "bedrock": "us.anthropic.claude-opus-4-6-v1",
    "cohere": "command-a-reasoning-08-2025",
    "llm-engine": "llama-2-7b",
}
"""Models that take all that their wire can express; notes in the cells name those that do not."""

_HELLO: Final = [{"role": "user", "content": "Hi"}]

SAMPLES: Final[dict[str, Any]] = {
    "messages": [{"role": "user", "content": "Hello there"}],
    "prompt": "Hello there",
    "images": [{"image_url": f"data:image/png;base64,{PNG}"}],
    "temperature": 0.5,
    "max_tokens": 50,
    "stop": ["END"],
    "top_p": 0.97,
    "top_k": 7,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "reasoning_effort": "low",
    "seed": 7,
    "n": 2,
    "logit_bias": {"5": 1},
    "logprobs": True,
    "top_logprobs": 2,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "schema": SCHEMA},
    },
    "tools": [TOOL],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "functions": [TOOL["function"]],
    "function_call": {"name": "get_weather"},
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
    "prediction": {"type": "content", "content": "Hi"},
    "metadata": {"team": "weather"},
    "service_tier": "priority",
    "user": "person-7f",
    "store": True,
    "verbosity": "low",
    "web_search_options": {},
    "prompt_cache_key": "shelf",
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
    "safety_identifier": "person-7f",
    "moderation": {"model": "omni-moderation-latest"},
    "stream": True,
    "stream_options": {"include_usage": True},
}

COMPANIONS: Final[dict[str, dict[str, Any]]] = {
    "tool_choice": {"tools": [TOOL]},
    "parallel_tool_calls": {"tools": [TOOL]},
    "function_call": {"functions": [TOOL["function"]]},
    "stream_options": {"stream": True},
}
"""What a parameter means nothing without."""

NATIVE: Final = {
    "prompt": "prompt",
    "images": "images",
    "stream": "stream",
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "stop": "stop_sequences",
    "top_p": "topP",
    "top_k": "topK",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "reasoning_effort": "reasoning_effort",
}
"""What SGP's completion has words for, and these words."""
_OUTSIDE: Final = frozenset({"prompt", "images", "stream"})
"""Those of them that do not stand among the model's parameters."""


@dataclass(frozen=True)
class Fit:
    """What becomes of a request.

    Attributes:
        sent: path and body of each request to the upstream.
        words: what the client is told.
    """

    sent: tuple[tuple[str, Any], ...]
    words: list[str]

    @property
    def body(self) -> Any:
        """The body of the first request."""
        return self.sent[0][1]


def says(wire: Wire, name: str) -> bool:
    """Whether a client has words for a parameter towards a wire; raw prompts are SGP's."""
    return wire != "llm-engine" or name in NATIVE


def fit(wire: Wire, given: dict[str, Any], *, strict: bool = False, **columns: Any) -> Fit:
    """Fit a request with these parameters: as a chat, or as SGP's completion where it must be."""
    form, body = _write(wire, given)
    changes = Changes(strict=strict)
    ask = Ask(Stamp("id", "m", 1), changes)
    target = Target("vendor", MODELS[wire], Row(wire))
    mode: Any = {"prompt_mode": "raw"} if wire == "llm-engine" else {}
    route = Route("m", (target,), Columns(**mode, **columns), Deadlines())
    fitted = form.fit(form.read(json.dumps(body).encode()), route, target, ask)
    sent = tuple((pair.path, json.loads(pair.write_request())) for pair in fitted.pairs)
    return Fit(sent, changes.words)


def fit_sample(wire: Wire, name: str, value: Any, *, strict: bool = False) -> tuple[Fit, Fit]:
    """The request with a parameter and what it needs, and the same without it."""
    beside = COMPANIONS.get(name, {})
    if name == "images":
        beside = {"prompt": "Hi"}
    without = {"prompt": "Hi"} if name == "prompt" else beside
    return fit(wire, {**beside, name: value}, strict=strict), fit(wire, without, strict=strict)


def find_refusal(wire: Wire, given: dict[str, Any], *, strict: bool = False) -> GatewayError | None:
    """The error that a request meets, if it does."""
    try:
        fit(wire, given, strict=strict)
    except GatewayError as error:
        return error
    return None


def _write(wire: Wire, given: dict[str, Any]) -> tuple[ClientFormat, dict[str, Any]]:
    if wire != "llm-engine" and not {"prompt", "images"} & set(given):
        return OPENAI_CHAT, {"model": "m", "messages": _HELLO, **given}
    words = {NATIVE[name]: value for name, value in given.items()}
    outside = {name: words.pop(name) for name in _OUTSIDE if name in words}
    return SGP_COMPLETION, {"model": "m", "prompt": "Hi", **outside, "model_parameters": words}
