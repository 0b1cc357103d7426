"""What each vendor's dialect looks like from its own side: addresses, keys, and its answers.

The answers in ``cases`` were written by hand after the vendors' references (read 2026-11-22):
OpenAI's and Anthropic's API references, Google's for ``generateContent``, Amazon's for
``Converse`` and ``ConverseStream``, Cohere's for ``chat`` v2, and the servers of
scaleapi/llm-engine and vLLM. Beside each stands what a client has to get for it.
"""

import json
import re
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripted import Request
from trunkline.wire.event_stream import CONTENT_TYPE, write_message
from wires.hearing import (
    Hear,
    hear_anthropic,
    hear_bedrock,
    hear_cohere,
    hear_gemini,
    hear_openai,
)
from wires.stage import CANARY, Answer

CASES = Path(__file__).parent / "cases"
_BASIC = b64encode(f"{CANARY}:".encode()).decode()


@dataclass(frozen=True)
class Dialect:
    """One vendor.

    Attributes:
        model: its own name for the model.
        path: where a whole answer is asked for, and ``stream_path`` where a streamed one is.
        key: the header that proves who calls, a pattern of its value.
        hear: reads a request.
        changes: what the client is told, by scenario.
        extras: what else a request has to hold, by scenario: dotted paths and values.
        sees: it takes images.
        kind: content type of its streams.
    """

    wire: str
    model: str
    path: str
    stream_path: str
    key: tuple[str, str]
    hear: Hear
    changes: dict[str, list[str]]
    extras: dict[str, dict[str, Any]]
    sees: bool = True
    kind: str = "text/event-stream"

    @property
    def name(self) -> str:
        """How a client names the model."""
        return f"{self.wire}/{self.model}"

    def answer(self, case: str, *, stream: bool) -> Answer:
        """A recorded answer."""
        folder = CASES / self.wire
        if not stream:
            body = (folder / f"{case}.json").read_bytes()
            return Answer((body,), headers={"content-type": "application/json"})
        return Answer(self.cut(case), headers={"content-type": self.kind}, is_streamed=True)

    def cut(self, case: str) -> tuple[bytes, ...]:
        """A recorded stream, frame by frame."""
        folder = CASES / self.wire
        if self.kind == CONTENT_TYPE:
            lines = (folder / f"{case}.jsonl").read_text("utf-8").splitlines()
            return tuple(write_event(json.loads(line)) for line in lines)
        frames = (folder / f"{case}.sse").read_bytes().split(b"\n\n")
        return tuple(frame + b"\n\n" for frame in frames if frame.strip())

    def told(self, case: str) -> dict[str, Any]:
        """What a client has to get for a recorded answer."""
        told = json.loads((CASES / self.wire / f"{case}.client.json").read_bytes())
        assert isinstance(told, dict)
        return told

    def check_request(self, asked: Request, *, stream: bool) -> None:
        """The request came to the right place, and with the key."""
        assert (asked.method, asked.target) == ("POST", self.stream_path if stream else self.path)
        header, pattern = self.key
        assert re.fullmatch(pattern, asked.headers[header])
        carriers = {name for name, value in asked.headers.items() if CANARY in value}
        assert carriers <= {header}


def write_event(event: dict[str, Any]) -> bytes:
    """An event of Bedrock's as a binary message."""
    ((name, payload),) = event.items()
    headers = {
        ":event-type": name,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return write_message(headers, json.dumps(payload, ensure_ascii=False).encode())


_CLAUDE: Final = "us.anthropic.claude-sonnet-4-5-20250929-v1"
_SIGNATURE: Final = (
    r"AWS4-HMAC-SHA256 Credential=AKIDCANARY/\d{8}/us-west-2/bedrock/aws4_request, ?"
    r"SignedHeaders=[a-z0-9;-]+, ?Signature=[0-9a-f]{64}"
)
_ADDED: Final = "additionalModelRequestFields"
_OPENAI_LIMIT: Final = ["renamed:max_tokens=max_completion_tokens"]
_GEMINI_LIMIT: Final = ["renamed:max_tokens=generationConfig.maxOutputTokens"]
_GEMINI_EFFORT: Final = "renamed:reasoning_effort=generationConfig.thinkingConfig"
_BEDROCK_LIMIT: Final = "renamed:max_tokens=inferenceConfig.maxTokens"

DIALECTS: Final = {
    each.wire: each
    for each in (
        Dialect(
            "openai",
            "gpt-5.1",
            "/openai/v1/chat/completions",
            "/openai/v1/chat/completions",
            ("authorization", f"Bearer {CANARY}"),
            hear_openai,
            dict.fromkeys(("structure", "calls", "thought"), _OPENAI_LIMIT),
            {
                "structure": {"model": "gpt-5.1", "max_completion_tokens": 8000},
                "calls": {
                    "tool_choice": "auto",
                    "parallel_tool_calls": True,
                    "reasoning_effort": "low",
                },
                "thought": {"reasoning_effort": "low"},
            },
        ),
        Dialect(
            "anthropic",
            "claude-sonnet-4-5",
            "/anthropic/v1/messages",
            "/anthropic/v1/messages",
            ("x-api-key", CANARY),
            hear_anthropic,
            {
                "structure": [],
                "calls": ["renamed:reasoning_effort=thinking.budget_tokens"],
                "thought": ["renamed:reasoning_effort=thinking.budget_tokens"],
            },
            {
                "structure": {"model": "claude-sonnet-4-5", "max_tokens": 8000},
                "calls": {"tool_choice.type": "auto", "thinking.budget_tokens": 1024},
                "thought": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            },
        ),
        Dialect(
            "gemini",
            "gemini-3.8-flash",
            "/gemini/v1beta/models/gemini-3.8-flash:generateContent",
            "/gemini/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse",
            ("x-goog-api-key", CANARY),
            hear_gemini,
            {
                # The calls of the history were another model's: they have no signature.
                "structure": [
                    *_GEMINI_LIMIT,
                    "defaulted:thought_signature=skip_thought_signature_validator",
                ],
                "calls": [*_GEMINI_LIMIT, _GEMINI_EFFORT],
                "thought": [*_GEMINI_LIMIT, _GEMINI_EFFORT],
            },
            {
                "structure": {"generationConfig.maxOutputTokens": 8000},
                "calls": {"toolConfig.functionCallingConfig.mode": "AUTO"},
                "thought": {
                    "generationConfig.thinkingConfig": {
                        "thinkingLevel": "LOW",
                        "includeThoughts": True,
                    }
                },
            },
        ),
        Dialect(
            "bedrock",
            f"{_CLAUDE}:0",
            f"/model/{_CLAUDE}%3A0/converse",
            f"/model/{_CLAUDE}%3A0/converse-stream",
            ("authorization", _SIGNATURE),
            hear_bedrock,
            {
                "structure": [_BEDROCK_LIMIT],
                "calls": ["renamed:reasoning_effort=thinking.budget_tokens", _BEDROCK_LIMIT],
                "thought": ["renamed:reasoning_effort=thinking.budget_tokens", _BEDROCK_LIMIT],
            },
            {
                "structure": {"inferenceConfig.maxTokens": 8000},
                "calls": {"toolConfig.toolChoice": {"auto": {}}},
                "thought": {f"{_ADDED}.thinking": {"type": "enabled", "budget_tokens": 1024}},
            },
            kind=CONTENT_TYPE,
        ),
        Dialect(
            "cohere",
            "command-a-reasoning-08-2025",
            "/cohere/v2/chat",
            "/cohere/v2/chat",
            ("authorization", f"Bearer {CANARY}"),
            hear_cohere,
            {
                "structure": ["emulated:response_format"],
                "calls": ["renamed:reasoning_effort=thinking.token_budget"],
                "thought": ["renamed:reasoning_effort=thinking.token_budget"],
            },
            {
                "structure": {"model": "command-a-reasoning-08-2025", "max_tokens": 8000},
                "calls": {"thinking.type": "enabled"},
                "thought": {"thinking.type": "enabled"},
            },
        ),
        Dialect(
            "llm-engine",
            "llama-3-3-70b-instruct",
            "/engine/v2/chat/completions",
            "/engine/v2/chat/completions",
            ("authorization", re.escape(f"Basic {_BASIC}")),
            hear_openai,
            {"structure": [], "calls": [], "thought": []},
            {
                "structure": {"model": "llama-3-3-70b-instruct", "max_tokens": 8000},
                "calls": {"tool_choice": "auto", "parallel_tool_calls": True},
                "thought": {"reasoning_effort": "low"},
            },
            sees=False,
        ),
    )
}
