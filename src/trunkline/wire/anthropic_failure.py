"""Reads failures of Anthropic's Messages API: error bodies, and errors inside a 200.

Anthropic's page "Claude API errors" and the error types of its Python SDK 2.12.0 (read
2026-11-22). llama.cpp's server answers with OpenAI's shape, which reads the same.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trunkline.errors import Code, GatewayError
from trunkline.wire.upstream_failure import Said, read_word

_QUOTA: Final = frozenset(
    {
        "billing_error",
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "linked_organization_spend_limit_reached",
    }
)
_INSIDE: Final[dict[str, tuple[Code, str]]] = {
    "overloaded_error": ("overloaded", "The upstream is overloaded."),
    "rate_limit_error": ("rate_limit_exceeded", "The upstream is rate limited."),
    "timeout_error": ("upstream_timeout", "The upstream took too long."),
}
_FAILED: Final = "The upstream failed in the middle of its answer."
_TOO_LONG: Final = re.compile(r"prompt is too long(?:: (\d+) tokens > (\d+) maximum)?")
_TOO_MUCH: Final = re.compile(
    r"input length and `?max_tokens`? exceed context limit: (\d+) \+ \d+ > (\d+)"
)


def read_said(body: bytes, _headers: Mapping[bytes, bytes] | None = None) -> Said:
    """What an error body says; nothing where it is no JSON object.

    An over-long prompt has no code of its own: Anthropic's two sentences for it are matched,
    as they stood in reported errors up to 2026-11-22.
    """
    error = read_error(_decode(body))
    details = error.get("details")
    kind = read_word(error.get("type"))
    cause = read_word(details.get("error_code")) if isinstance(details, dict) else None
    message = str(error.get("message") or "")
    said = Said(
        code=cause or kind,
        message=message,
        quota=bool({cause, kind} & _QUOTA),
        key=kind == "authentication_error",
    )
    counts = _read_overflow(kind, error, message)
    if counts is None:
        return said
    asked, window = counts
    return msgspec.structs.replace(said, overflow=True, prompt_tokens=asked, window_tokens=window)


def read_error(value: Any) -> dict[str, Any]:
    """The error object of a decoded body, whether wrapped or bare."""
    if not isinstance(value, dict):
        return {}
    error = value.get("error")
    return error if isinstance(error, dict) else value


def fail_inside(value: Any) -> GatewayError:
    """The failure that an error inside a 200 stands for."""
    kind = read_error(value).get("type")
    code, message = _INSIDE.get(str(kind), ("upstream_error", _FAILED))
    wait_s = 1 if code in ("overloaded", "rate_limit_exceeded") else None
    return GatewayError(code, message, retry_after_s=wait_s)


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read_overflow(
    kind: str | None, error: dict[str, Any], message: str
) -> tuple[int | None, int | None] | None:
    """Tokens of the prompt and of the window; None where the failure is another one."""
    if kind == "exceed_context_size_error":
        return _read_count(error, "n_prompt_tokens"), _read_count(error, "n_ctx")
    if kind != "invalid_request_error":
        return None
    found = _TOO_LONG.match(message) or _TOO_MUCH.match(message)
    if found is None:
        return None
    asked, window = found.groups()
    return (int(asked), int(window)) if asked else (None, None)


def _read_count(error: dict[str, Any], name: str) -> int | None:
    count = error.get(name)
    return count if isinstance(count, int) else None
