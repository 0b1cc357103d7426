"""Asks an upstream to go on with an answer that broke: the text so far as the model's own words.

Which servers take such a beginning, and how they want it said: docs/streams.md, Answers that are
continued.
"""

import json
from typing import Any, Final, Literal

import msgspec

from trunkline.chat import ChatRequest, TextRequest
from trunkline.errors import GatewayError
from trunkline.wire.mend import Json
from trunkline.wire.transcript import Said

Prefill = Literal["none", "assistant", "continue_final_message", "prefix"]
"""How an upstream is given the beginning of an answer: not at all; as a last message of the
assistant and nothing else; with the field of that name, vLLM's and llama.cpp's; or with ``prefix``
in that message."""
Way = Literal["assistant", "blocks", "continue_final_message", "prefix", "prompt"]
"""The same with the two that follow from the format: a message made of blocks, and a raw prompt
that is longer now."""

_BEYOND_TEXT: Final = (
    "add_generation_prompt",
    "audio",
    "continue_final_message",
    "echo",
    "functions",
    "logprobs",
    "prediction",
    "tools",
    "top_logprobs",
    "web_search_options",
)
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_new_tokens", "maxTokens")
_ENCODER: Final = msgspec.json.Encoder()


def asks_plain_text(request: ChatRequest | TextRequest) -> bool:
    """Whether a request is for one text and made of texts: only such an answer is continued."""
    if isinstance(request, TextRequest):
        return not request.images
    fields = json.loads(request.body)
    messages = fields.get("messages")
    if request.copies != 1 or not messages or any(fields.get(name) for name in _BEYOND_TEXT):
        return False
    if fields.get("modalities") not in (None, ["text"]):
        return False
    if (fields.get("response_format") or {"type": "text"}).get("type") != "text":
        return False
    return messages[-1].get("role") != "assistant" and all(map(_is_plain_message, messages))


def _is_plain_message(message: Json) -> bool:
    if message.get("role") in ("tool", "function") or message.get("tool_calls"):
        return False
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return all(isinstance(part, dict) and part.get("type") == "text" for part in parts)


def asks_for_thoughts(request: ChatRequest | TextRequest) -> bool:
    """Whether a request tells the model to think: it would have to begin with that anew."""
    if isinstance(request, TextRequest):
        return request.reasoning_effort is not None
    fields = json.loads(request.body)
    return any(fields.get(name) not in (None, "none") for name in ("reasoning_effort", "thinking"))


def split_text(text: str, way: Way) -> tuple[str, str]:
    """The text as it is sent, and what is kept back of its end.

    Anthropic refuses blanks at the end of a prefill, and many chat templates cut them off: so the
    model says them again, and the client, which has them already, is not given them twice.
    """
    if way == "prompt":
        return text, ""
    sent = text.rstrip()
    return sent, text[len(sent) :]


def write_continuation(body: bytes, way: Way, said: Said) -> bytes:
    """An upstream's request as it was, with the beginning of the answer in it.

    The limit of the output is what is left of it, 1 at least.

    Raises:
        GatewayError: ``upstream_rejected`` where the model would think first.
    """
    fields: Json = json.loads(body)
    text, _ = split_text(said.text, way)
    thinking = fields.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") != "disabled":
        raise GatewayError("upstream_rejected", "A model that thinks cannot go on with a text.")
    if way == "prompt":
        fields["prompt"] += text
    else:
        fields["messages"] = [*fields["messages"], _write_message(text, way)]
    if way == "continue_final_message":
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
    for place in (fields, fields.get("inferenceConfig") or {}):
        for name in _LIMITS:
            if isinstance(place.get(name), int):
                place[name] = max(place[name] - said.output_tokens, 1)
    return _ENCODER.encode(fields)


def _write_message(text: str, way: Way) -> Json:
    content: Any = [{"text": text}] if way == "blocks" else text
    message: Json = {"role": "assistant", "content": content}
    return message | {"prefix": True} if way == "prefix" else message
