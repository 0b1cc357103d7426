"""Reads an OpenAI-compatible upstream's error answer into the gateway's own codes.

Classified by status, then by structured code, never by prose. OpenAI's API reference, "Error
codes" (read 2026-11-21); llama.cpp's server answers in the same shape.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from trunkline.errors import GatewayError

_WORD: Final = re.compile(r"(?!.*[A-Za-z0-9]{24})[A-Za-z0-9_.\[\]]{1,80}")
"""A code or the path of a field: neither a dash nor a long run, as keys and ids have them."""
_OVERFLOW: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_OVERLOADED: Final = frozenset({503, 529})


def read_failure(
    status: int, headers: Mapping[bytes, bytes], body: bytes, *, target: str, own: bool
) -> GatewayError:
    """The failure to tell the client.

    Args:
        status: the upstream's status, not 2xx.
        headers: the upstream's headers.
        body: the upstream's body; never echoed, only its structured words are.
        target: ``provider/model``, for the message.
        own: the upstream is an engine of ours, whose messages hold no secrets of others.
    """
    error = _read_error(body)
    code = _word(error.get("code")) or _word(error.get("type"))
    param = _word(error.get("param"))
    where = f"Target '{target}'"
    if status in (401, 403) or code == "invalid_api_key":
        return GatewayError("upstream_auth", f"{where} did not accept the gateway's own key.")
    if status == 402 or code == "insufficient_quota":
        return GatewayError("insufficient_quota", f"{where} says its quota is used up.")
    if status == 429:
        return GatewayError(
            "rate_limit_exceeded",
            f"{where} is rate limited.",
            retry_after_s=_read_retry_after_s(headers) or 1,
        )
    if status in _OVERLOADED:
        wait_s = _read_retry_after_s(headers) or 1
        return GatewayError("overloaded", f"{where} is overloaded.", retry_after_s=wait_s)
    if status in (408, 504):
        return GatewayError("upstream_timeout", f"{where} took too long.")
    if not 400 <= status < 500 or status == 409:
        return GatewayError("upstream_error", f"{where} failed with status {status}.")
    if {code, _word(error.get("type"))} & _OVERFLOW:
        return _overflow(error, where)
    if status == 404:
        return GatewayError("model_not_found", f"{where} does not exist there.", param="model")
    said = f", code '{code}'" if code else ""
    about = f", field '{param}'" if param else ""
    why = f": {_clean(error.get('message'))}" if own and error.get("message") else ""
    return GatewayError(
        "upstream_rejected",
        f"{where} refused the request (status {status}{said}{about}){why}",
        param=param,
        # 422 promises FastAPI's list of faults, which we do not have.
        status=413 if status == 413 else 400,
    )


def _overflow(error: dict[str, Any], where: str) -> GatewayError:
    """The message holds the phrase by which LiteLLM recognises a context overflow."""
    window, asked = error.get("n_ctx"), error.get("n_prompt_tokens")
    size = f"{window} tokens" if isinstance(window, int) else "smaller than the request"
    counts = f" The prompt has {asked} tokens." if isinstance(asked, int) else ""
    return GatewayError(
        "context_length_exceeded",
        f"This model's maximum context length is {size}.{counts} ({where} refused the request; "
        "shorten the prompt or ask for fewer tokens.)",
        param="messages",
    )


def _read_error(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict):
        return error
    return value if isinstance(value, dict) else {}


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _clean(value: object) -> str:
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return text[:500]


def _read_retry_after_s(headers: Mapping[bytes, bytes]) -> float | None:
    """Milliseconds, seconds, or a date, which is measured from the answer's own date."""
    for name, scale in ((b"retry-after-ms", 1000), (b"retry-after", 1)):
        try:
            return float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
    try:
        until, now = (
            parsedate_to_datetime(headers[name].decode("latin-1"))
            for name in (b"retry-after", b"date")
        )
        return (until - now).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
