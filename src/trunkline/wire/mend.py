"""Mends OpenAI-shaped answers that official clients would refuse, on plain JSON values.

Only what did not fit the strict shapes of ``openai_reply`` comes here. Each rule answers a
failure measured on the official clients (docs/contract.md, Chat answers).
"""

from itertools import zip_longest
from typing import Any, Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.events import MOST_TOKENS, FinishReason
from trunkline.wire.reason import read_reason

_TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority"})
_ROLES: Final = frozenset({"developer", "system", "user", "assistant", "tool"})
_TEXT_REASONS: Final = frozenset({"stop", "length", "content_filter"})
_UNLIKELY: Final = -9999.0
"""OpenAI's own value for a token that is too unlikely to be told (API reference, logprobs)."""

Json = dict[str, Any]


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """What an answer carries when its upstream forgot it: id, model and Unix time in seconds.

    ``calls`` remembers, by choice, the ids of streamed tool calls that came without an index.
    """

    id: str
    model: str
    created_s: int
    calls: dict[int, list[str]] = {}


def mend_answer(answer: Json, stamp: Stamp) -> Json:
    """A whole chat answer, mended."""
    _mend_envelope(answer, stamp, "chat.completion")
    for position, choice in enumerate(_choices(answer)):
        _mend_index(choice, position)
        message = choice.get("message")
        if not isinstance(message, dict):
            raise GatewayError("upstream_error", "The upstream's answer has no message.")
        _mend_message(message, stamp)
        choice["finish_reason"] = _read_end(choice)
        _mend_logprobs(choice)
    return answer


def _read_end(choice: Json) -> FinishReason:
    """Why a whole choice ended; raises ``upstream_error`` where nobody says.

    Without the word, nobody can tell a complete text from one that was cut. Servers that leave it
    out (KoboldCpp before 1.86, Azure OpenAI at times; reports of their users, read 2026-11-22)
    do so for both. Calls whose arguments are whole show it themselves, and xAI leaves the word
    empty there (its API reference, read 2026-11-22); their arguments are checked afterwards.
    """
    word = choice.get("finish_reason")
    message = choice.get("message")
    if not word and isinstance(message, dict) and message.get("tool_calls"):
        return "tool_calls"
    if not isinstance(word, str) or not word:
        raise GatewayError("upstream_error", "The upstream's answer does not say why it ended.")
    return read_reason(word)


def mend_chunk(chunk: Json, stamp: Stamp) -> Json:
    """A chunk of a streamed chat answer, mended."""
    _mend_envelope(chunk, stamp, "chat.completion.chunk")
    if chunk.get("choices") is None:
        chunk["choices"] = []
    for position, choice in enumerate(_choices(chunk)):
        _mend_index(choice, position)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice["delta"] = {}
        role = delta.get("role")
        if role is not None and str(role) not in _ROLES:
            del delta["role"]
        _mend_thoughts(delta)
        calls = delta.get("tool_calls")
        if isinstance(calls, dict) and "function" in calls:
            # Text Generation Inference before 3.0 (its docs/openapi.json, read 2026-11-22).
            delta["tool_calls"] = calls = [calls]
        for call in calls or ():
            _mend_tool_delta(call, stamp.calls.setdefault(choice["index"], []))
        if choice.get("finish_reason"):
            choice["finish_reason"] = read_reason(str(choice["finish_reason"]))
        else:
            choice["finish_reason"] = None
        _mend_logprobs(choice)
    return chunk


def mend_text_answer(answer: Json, stamp: Stamp) -> Json:
    """A whole legacy text answer, mended."""
    for choice in _choices(answer):
        choice["finish_reason"] = _read_end(choice)
    return mend_text_chunk(answer, stamp)


def mend_text_chunk(chunk: Json, stamp: Stamp) -> Json:
    """A chunk of a streamed legacy text answer, mended."""
    _mend_envelope(chunk, stamp, "text_completion")
    if chunk.get("choices") is None:
        chunk["choices"] = []
    for position, choice in enumerate(_choices(chunk)):
        _mend_index(choice, position)
        choice["text"] = choice.get("text") or ""
        if choice.get("finish_reason"):
            reason = read_reason(str(choice["finish_reason"]))
            choice["finish_reason"] = reason if reason in _TEXT_REASONS else "stop"
        else:
            choice["finish_reason"] = None
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
            choice["logprobs"] = _legacy_logprobs(logprobs["content"])
    return chunk


def _mend_envelope(answer: Json, stamp: Stamp, kind: str) -> None:
    answer["object"] = kind
    answer.pop("error", None)
    if not isinstance(answer.get("id"), str):
        answer["id"] = stamp.id
    if not isinstance(answer.get("model"), str):
        answer["model"] = stamp.model
    created = answer.get("created")
    answer["created"] = int(created) if isinstance(created, (int, float)) else stamp.created_s
    tier = answer.get("service_tier")
    if tier is not None and str(tier) not in _TIERS:
        del answer["service_tier"]
    if not isinstance(answer.get("system_fingerprint"), (str, type(None))):
        del answer["system_fingerprint"]
    if "usage" in answer:
        answer["usage"] = _mend_usage(answer["usage"])


def _mend_usage(usage: Any) -> Json | None:
    """All three counts or none: a count without its total fails strict clients.

    A total above the sum has the thoughts in it, which xAI counts beside the completion, as do
    Gemini's OpenAI endpoints (reports of their users, read 2026-11-22).
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion, total = (
        _read_count(usage.get(name))
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    if (prompt is None and completion is None) or any(map(_lies, (prompt, completion, total))):
        return None
    if prompt is None:
        prompt = max((total or 0) - (completion or 0), 0)
    completion = max((total or 0) - prompt, completion or 0)
    mended = {
        **usage,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = mended.get(name)
        if isinstance(details, dict):
            counts = {key: _read_count(value) for key, value in details.items()}
            mended[name] = {key: None if _lies(count) else count for key, count in counts.items()}
        elif details is not None:
            del mended[name]
    return mended


def _lies(value: Any) -> bool:
    """Whether a number is none that a count of tokens can be."""
    return isinstance(value, (int, float)) and not 0 <= value <= MOST_TOKENS


def _read_count(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.isdecimal() else None
    return int(value) if isinstance(value, (int, float)) else None


def _choices(answer: Json) -> list[Json]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise GatewayError("upstream_error", "The upstream's answer has no list of choices.")
    return choices


def _mend_index(choice: Json, position: int) -> None:
    if not isinstance(choice.get("index"), int):
        choice["index"] = position


def _mend_message(message: Json, stamp: Stamp) -> None:
    message["role"] = "assistant"
    _mend_thoughts(message)
    for at, call in enumerate(message.get("tool_calls") or ()):
        if not isinstance(call.get("id"), str):
            call["id"] = f"call_{stamp.id}_{at}"
        call["type"] = call.get("type") or "function"
        _mend_arguments(call.get("function"), "{}")
    _mend_arguments(message.get("function_call"), "{}")
    if message.get("annotations"):
        message["annotations"] = [
            {**note, "type": "url_citation"}
            for note in message["annotations"]
            if note.get("type") in (None, "url_citation")
        ]


def _mend_tool_delta(call: Json, seen: list[str]) -> None:
    """A piece with an id or a name begins a call; a bare piece of arguments goes on with it."""
    function = call.get("function") or {}
    if not isinstance(call.get("index"), int):
        name = call.get("id") or ""
        if not (name and name in seen) and (name or function.get("name")):
            seen.append(name)
            call["index"] = len(seen) - 1
        else:
            call["index"] = seen.index(name) if name else max(len(seen) - 1, 0)
    if call.get("type") != "function":
        call.pop("type", None)
    _mend_arguments(call.get("function"), None)


def _mend_arguments(function: Any, absent: str | None) -> None:
    if not isinstance(function, dict):
        return
    arguments = function.get("arguments")
    if isinstance(arguments, (dict, list)):
        function["arguments"] = msgspec.json.encode(arguments).decode()
    elif arguments is None:
        function["arguments"] = absent


def _mend_logprobs(choice: Json) -> None:
    logprobs = choice.get("logprobs")
    if logprobs is None:
        return
    if not isinstance(logprobs, dict):
        del choice["logprobs"]
        return
    tokens = logprobs.pop("tokens", None)
    if isinstance(tokens, list) and not logprobs.get("content"):
        logprobs["content"] = _chat_logprobs(tokens, logprobs)
    for name in ("content", "refusal"):
        for item in logprobs.get(name) or ():
            item["top_logprobs"] = item.get("top_logprobs") or []
            for token in (item, *item["top_logprobs"]):
                if token.get("logprob") is None:
                    token["logprob"] = _UNLIKELY


def _mend_thoughts(message: Json) -> None:
    """Thoughts go by one name, and the content is a text.

    vLLM, Groq, OpenRouter and Ollama call them ``reasoning``; Mistral puts them among the parts
    of the content, as ``ThinkChunk`` (their API references, read 2026-11-22).
    """
    renamed = message.pop("reasoning", None)
    thought = _read_text(message.get("reasoning_content") or renamed)
    content = message.get("content")
    if isinstance(content, list):
        thoughts = [part.get("thinking") for part in content if isinstance(part, dict)]
        thought += "".join(_read_text(each) for each in thoughts)
        message["content"] = _read_text(content)
    if thought:
        message["reasoning_content"] = thought
    elif not isinstance(message.get("reasoning_content"), str):
        message.pop("reasoning_content", None)


def _read_text(value: Any) -> str:
    """A text, or what the parts of a list say; "" for anything else."""
    if isinstance(value, list):
        return "".join(
            part["text"]
            for part in value
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return value if isinstance(value, str) else ""


def _legacy_logprobs(content: list[Json]) -> Json:
    """Chat's list of tokens as the legacy parallel lists (llama.cpp answers so)."""
    tokens = [str(item.get("token", "")) for item in content]
    offsets = [0]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token))
    return {
        "tokens": tokens,
        "token_logprobs": [item.get("logprob") for item in content],
        "top_logprobs": [
            {top["token"]: top["logprob"] for top in item.get("top_logprobs") or ()}
            for item in content
        ],
        "text_offset": offsets[: len(tokens)],
    }


def _chat_logprobs(tokens: list[Any], legacy: Json) -> list[Json]:
    """The legacy parallel lists as chat's list of tokens.

    Together and Fireworks answer chat so (``LogProbs`` of their SDKs, read 2026-11-22).
    """
    scores, tops = (legacy.get(name) for name in ("token_logprobs", "top_logprobs"))
    scores, tops = (each if isinstance(each, list) else [] for each in (scores, tops))
    return [
        {
            "token": token,
            "logprob": score,
            "top_logprobs": [{"token": name, "logprob": top[name]} for name in top or {}],
        }
        for token, score, top in zip_longest(tokens, scores[: len(tokens)], tops[: len(tokens)])
    ]
