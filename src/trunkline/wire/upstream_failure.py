"""What becomes of an upstream's error answer, whatever format said it.

Classified by status, then by structured code. Prose is matched by no rule here; where a vendor
tells of a context overflow in prose only, its own format's module says so.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from trunkline.errors import Code, GatewayError

_WORD: Final = re.compile(r"(?!.*[A-Za-z0-9]{24})[A-Za-z0-9_.\[\]]{1,80}")
"""A code or the path of a field: neither a dash nor a long run, as keys and ids have them."""
_OVERLOADED: Final = frozenset({503, 529})
_FILTERED: Final = frozenset(
    {"content_filter", "content_policy_violation", "data_inspection_failed"}
)
"""Codes of requests that a content filter refused, with status 400: Azure OpenAI's, OpenAI's and
Alibaba's (answers that their users report, read 2026-11-22)."""


class Said(msgspec.Struct, frozen=True):
    """The structured part of an upstream's error body.

    Args:
        code: the narrowest word for what went wrong.
        param: the field at fault.
        message: prose; shown to clients only where the upstream is an engine of ours.
        overflow: the prompt does not fit the model's context.
        window_tokens, prompt_tokens: of an overflow, where told.
        quota: the account at the vendor is used up.
        key: the vendor does not accept the gateway's key.
        broken: the vendor itself failed, whatever its status says.
        busy: the vendor has too much to do, whatever its status says.
        missing: there is no such model, whatever its status says.
        not_the_key: a 401 or 403 is about the request, not about the gateway's key.
        retry_after_s: where the body tells it.
    """

    code: str | None = None
    param: str | None = None
    message: str = ""
    overflow: bool = False
    window_tokens: int | None = None
    prompt_tokens: int | None = None
    quota: bool = False
    key: bool = False
    broken: bool = False
    busy: bool = False
    missing: bool = False
    not_the_key: bool = False
    retry_after_s: float | None = None


def read_failure(
    status: int, headers: Mapping[bytes, bytes], said: Said, *, target: str, own: bool
) -> GatewayError:
    """The failure to tell the client.

    Args:
        status: the upstream's status, not 2xx.
        headers: the upstream's headers.
        said: the upstream's body, read; never echoed, only its structured words are.
        target: ``provider/model``, for the message.
        own: the upstream is an engine of ours, whose messages hold no secrets of others.
    """
    return _classify(status, headers, said, f"Target '{target}'", own=own)


def read_told(status: int, said: Said) -> GatewayError:
    """The same for a failure that came inside a 200 and tells the status it should have had."""
    return _classify(status, {}, said, "The upstream", own=False)


def _classify(
    status: int, headers: Mapping[bytes, bytes], said: Said, where: str, *, own: bool
) -> GatewayError:
    if status in (401, 403) and said.not_the_key:
        return _rejected(status, said, where, own=own)
    if status in (401, 403) or said.key:
        return GatewayError("upstream_auth", f"{where} did not accept the gateway's own key.")
    if status == 402 or said.quota:
        return GatewayError("insufficient_quota", f"{where} says its quota is used up.")
    told_s = _read_retry_after_s(headers) or said.retry_after_s
    if status == 429 and not said.busy:
        return _busy("rate_limit_exceeded", f"{where} is rate limited.", told_s)
    if status in _OVERLOADED or said.busy:
        return _busy("overloaded", f"{where} is overloaded.", told_s)
    if status in (408, 504):
        return GatewayError("upstream_timeout", f"{where} took too long.")
    if not 400 <= status < 500 or status == 409 or said.broken:
        return GatewayError("upstream_error", f"{where} failed with status {status}.")
    if said.overflow:
        return _overflow(said, where)
    if status in (404, 410) or said.missing:
        return GatewayError("model_not_found", f"{where} does not exist there.", param="model")
    return _rejected(status, said, where, own=own)


def _busy(code: Code, message: str, told_s: float | None) -> GatewayError:
    error = GatewayError(code, message, retry_after_s=told_s or 1)
    error.told_s = told_s
    return error


def _rejected(status: int, said: Said, where: str, *, own: bool) -> GatewayError:
    code, param = read_word(said.code), read_word(said.param)
    shown = f", code '{code}'" if code else ""
    about = f", field '{param}'" if param else ""
    why = f": {_clean(said.message)}" if own and said.message else ""
    error = GatewayError(
        "upstream_rejected",
        f"{where} refused the request (status {status}{shown}{about}){why}",
        param=param,
        # 422 promises FastAPI's list of faults, which we do not have.
        status=413 if status == 413 else 400,
    )
    if said.code in _FILTERED:
        error.cause = "filter"
    return error


def _overflow(said: Said, where: str) -> GatewayError:
    """The message holds the phrase by which LiteLLM recognises a context overflow."""
    window, asked = said.window_tokens, said.prompt_tokens
    size = f"{window} tokens" if window is not None else "smaller than the request"
    counts = f" The prompt has {asked} tokens." if asked is not None else ""
    return GatewayError(
        "context_length_exceeded",
        f"This model's maximum context length is {size}.{counts} ({where} refused the request; "
        "shorten the prompt or ask for fewer tokens.)",
        param="messages",
    )


def read_word(value: object) -> str | None:
    """A code or a field's name that may be shown to a client; None for anything else."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:500]


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
