"""Writes a failure as the one body that SGP's and OpenAI's clients both understand."""

import math
from typing import Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.exchange import Headers

RATE_LIMITED: Final = 429
SERVER: Final = 500


def write_failure(error: GatewayError, request_id: str) -> bytes:
    """The error body (docs/contract.md, Errors): ``detail``, ``error`` and the request id.

    ``detail`` is a text, except for ``validation_error``, where it is FastAPI's list.
    """
    detail: object = error.message
    if error.code == "validation_error":
        detail = [
            {"loc": list(fault.loc), "msg": fault.msg, "type": fault.type} for fault in error.faults
        ]
    return msgspec.json.encode(
        {
            "detail": detail,
            "error": {
                "message": error.message,
                "type": error.kind.type,
                "param": error.param,
                "code": error.code,
            },
            "request_id": request_id,
        }
    )


def write_failure_headers(error: GatewayError, request_id: str) -> Headers:
    """Headers of an error answer: request id and, where a retry matters, advice about it.

    Clients retry 408, 409, 429 and 5xx by themselves: ``x-should-retry: false`` stops them
    where it cannot help. They use ``retry-after`` only between 0 and 60 s.
    """
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", request_id.encode()),
    ]
    advice_s = 1.0 if error.code == "overloaded" else None
    if error.retry_after_s is not None:
        advice_s = error.retry_after_s
    if advice_s is not None:
        wait_s = min(60.0, max(1.0, advice_s))
        headers.append((b"retry-after", str(math.ceil(wait_s)).encode()))
        headers.append((b"retry-after-ms", str(round(wait_s * 1000)).encode()))
    elif not error.kind.retryable and (error.status == RATE_LIMITED or error.status >= SERVER):
        headers.append((b"x-should-retry", b"false"))
    if error.code == "invalid_api_key":
        headers.append((b"www-authenticate", b"Bearer"))
    if error.code == "method_not_allowed":
        headers.append((b"allow", (error.param or "POST").encode()))
    return headers
