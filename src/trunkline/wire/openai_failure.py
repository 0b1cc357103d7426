"""Reads an OpenAI-compatible upstream's error body.

OpenAI's API reference, "Error codes" (read 2026-11-21); llama.cpp's server answers in the same
shape. Other vendors differ (their references and reported answers, read 2026-11-22): the fields
stand bare (Mistral, Cerebras, SGLang), ``error`` is a sentence with the word beside it (Text
Generation Inference, LM Studio, xAI), ``detail`` lists FastAPI's faults (Mistral), or the word
is ``metadata.error_type`` (OpenRouter).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.wire.upstream_failure import Said, read_told, read_word

_OVERFLOW: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_QUOTA: Final = frozenset({"insufficient_quota", "payment_required"})
_KEY: Final = frozenset({"invalid_api_key", "authentication"})
_BUSY: Final = frozenset({"overloaded", "provider_overloaded", "queue_exceeded"})
_BROKEN: Final = frozenset({"generation", "incomplete_generation"})
_MISSING: Final = frozenset({"model_not_found", "model_decommissioned"})
_NOT_THE_KEY: Final = frozenset({"content_policy_violation", "chat_completions_not_available"})
_PROMPT_SIZE: Final = "input_tokens"
"""The field that vLLM blames for an over-long prompt; its code is the status."""
_AFTER_200: Final = "The upstream failed after it had accepted the call."


def read_said(body: bytes, _headers: Mapping[bytes, bytes] | None = None) -> Said:
    """What an error body says; nothing where it is no JSON object."""
    try:
        return _read(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Said()


def find_inside(value: Mapping[str, Any]) -> GatewayError | None:
    """The failure that a decoded answer or chunk stands for though its status was 200.

    Groq tells of a stream that it stopped in ``x_groq`` (its SDK's ``XGroq``), others in
    ``error``, whose ``code`` may be the status that the answer would have had (OpenRouter's API
    reference, "Errors and Debugging", and vLLM's protocol; all read 2026-11-22).
    """
    note = value.get("x_groq")
    error = value.get("error") or (note.get("error") if isinstance(note, dict) else None)
    if not error:
        return None
    said = _read({"error": error})
    fields = error if isinstance(error, dict) else {}
    for status in (fields.get("code"), fields.get("status_code"), 400 if said.overflow else None):
        if isinstance(status, int) and 400 <= status < 600:
            return read_told(status, said)
    return GatewayError("upstream_error", _AFTER_200)


def _read(value: Any) -> Said:
    error = _find_error(value)
    code, kind = _find_word(error, "code"), _find_word(error, "type", "error_type")
    param = read_word(error.get("param"))
    words = {code, kind}
    window, asked = error.get("n_ctx"), error.get("n_prompt_tokens")
    wait_s = error.get("retry_after_seconds")
    return Said(
        code=code or kind,
        param=param,
        message=str(error.get("message") or ""),
        overflow=bool(words & _OVERFLOW) or param == _PROMPT_SIZE,
        window_tokens=window if isinstance(window, int) else None,
        prompt_tokens=asked if isinstance(asked, int) else None,
        quota=(code or kind) in _QUOTA,
        key=(code or kind) in _KEY,
        broken=bool(words & _BROKEN),
        busy=bool(words & _BUSY),
        missing=bool(words & _MISSING),
        not_the_key=bool(words & _NOT_THE_KEY),
        retry_after_s=float(wait_s) if isinstance(wait_s, (int, float)) else None,
    )


def _find_error(value: Any) -> dict[str, Any]:
    """The fields of an error, wherever the vendor puts them."""
    if not isinstance(value, dict):
        return {}
    error, message = value.get("error"), value.get("message")
    if isinstance(error, dict):
        metadata = error.get("metadata")
        return {**metadata, **error} if isinstance(metadata, dict) else error
    detail = message.get("detail") if isinstance(message, dict) else value.get("detail")
    fault = detail[0] if isinstance(detail, list) and detail else None
    if isinstance(fault, dict):
        place = fault.get("loc")
        steps = [str(step) for step in place if step != "body"] if isinstance(place, list) else []
        return {"code": fault.get("type"), "param": ".".join(steps)}
    return {**value, "message": error or message}


def _find_word(error: Mapping[str, Any], *names: str) -> str | None:
    return next((word for name in names if (word := read_word(error.get(name)))), None)
