"""Reads the errors of Google's generateContent format: a status's body, or one in a stream.

Google's API design guide, "Errors" (AIP-193), for the shape and the words; the Gemini API's page
"Troubleshooting" (read 2026-11-22). That the prompt is too long is told in prose only, in one of
two sentences, by which alone it is recognised here. LiteLLM speaks this format too, but tells its
failures in OpenAI's shape, and this one by the name of its exception (1.106.2, seen 2026-11-22).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from trunkline.chat import Json
from trunkline.errors import Code, GatewayError
from trunkline.wire import openai_failure
from trunkline.wire.upstream_failure import Said, read_word

_OVERFLOW: Final = re.compile(
    r"input token count(?: is)? ?\(?(\d+)?\)? "
    r"(?:exceeds the maximum number of tokens allowed|but model only supports up to) \(?(\d+)"
)
_LITELLM_OVERFLOW: Final = "litellm.ContextWindowExceededError"
_DELAY: Final = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")
_BAD_KEYS: Final = frozenset({"API_KEY_INVALID", "ACCESS_TOKEN_EXPIRED"})
_INSIDE: Final[dict[object, Code]] = {
    429: "rate_limit_exceeded",
    "RESOURCE_EXHAUSTED": "rate_limit_exceeded",
    503: "overloaded",
    "UNAVAILABLE": "overloaded",
    504: "upstream_timeout",
    "DEADLINE_EXCEEDED": "upstream_timeout",
}


def read_said(body: bytes, _headers: Mapping[bytes, bytes] | None = None) -> Said:
    """What an error body says; a body without Google's words is read as OpenAI's."""
    error = _read_error(body)
    status = read_word(error.get("status"))
    message = str(error.get("message") or "")
    if status is None:
        said = openai_failure.read_said(body)
        overflow = said.overflow or _LITELLM_OVERFLOW in message
        return msgspec.structs.replace(said, overflow=overflow)
    details = _Details(error)
    found = _OVERFLOW.search(message) if status == "INVALID_ARGUMENT" else None
    return Said(
        code=details.reason or status,
        param=details.field,
        message=message,
        overflow=found is not None,
        window_tokens=int(found[2]) if found else None,
        prompt_tokens=int(found[1]) if found and found[1] else None,
        key=status == "UNAUTHENTICATED" or details.reason in _BAD_KEYS,
        retry_after_s=details.retry_after_s,
    )


def read_inside(error: object) -> GatewayError:
    """The failure to tell for an ``error`` that came after a status of 200."""
    said: Json = error if isinstance(error, dict) else {}
    status, number = said.get("status"), str(said.get("code"))
    code = _INSIDE.get(status) if isinstance(status, str) else None
    if code is None:
        code = _INSIDE.get(int(number) if number.isdecimal() else None, "upstream_error")
    retry_after_s = _Details(said).retry_after_s
    return GatewayError(
        code, "The upstream failed in the middle of its answer.", retry_after_s=retry_after_s
    )


def read_tail(rest: bytes) -> GatewayError | None:
    """The failure that stands bare behind the last frame of a stream, if one does."""
    if not rest.lstrip().startswith((b"{", b"[")):
        return None
    error = _read_error(rest)
    return read_inside(error) if error else None


class _Details:
    """The structured part of an error, whatever of it is there."""

    def __init__(self, error: Json) -> None:
        self.reason: str | None = None
        self.field: str | None = None
        self.retry_after_s: float | None = None
        for detail in _list_objects(error.get("details")):
            kind = str(detail.get("@type")).rpartition(".")[2]
            if kind == "ErrorInfo":
                self.reason = read_word(detail.get("reason"))
            elif kind == "RetryInfo":
                delay = _DELAY.fullmatch(str(detail.get("retryDelay")))
                self.retry_after_s = float(delay[1]) if delay else None
            elif kind == "BadRequest":
                for fault in _list_objects(detail.get("fieldViolations")):
                    self.field = self.field or read_word(fault.get("field"))


def _list_objects(value: object) -> Iterator[Json]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def _read_error(body: bytes) -> Json:
    """The error object, which a stream's body holds in a list."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {}
