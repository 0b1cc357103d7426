"""The one error type of the gateway and its closed set of codes."""

from typing import Final, Literal

import msgspec

Code = Literal[
    "invalid_request",
    "validation_error",
    "context_length_exceeded",
    "invalid_api_key",
    "permission_denied",
    "model_not_found",
    "route_not_found",
    "method_not_allowed",
    "request_too_large",
    "rate_limit_exceeded",
    "insufficient_quota",
    "upstream_rejected",
    "upstream_auth",
    "upstream_error",
    "upstream_timeout",
    "overloaded",
    "internal_error",
]


Cause = Literal["", "filter", "local"]
"""What a code does not tell: a content filter refused the request; or this gateway ended it by
itself (its queue is full, the call's time is over), and no target is to blame."""


class Kind(msgspec.Struct, frozen=True):
    """How a code shows on the wire: status, OpenAI error type, and whether a retry can help."""

    status: int
    type: str
    retryable: bool = False


_INVALID: Final = "invalid_request_error"

KINDS: Final[dict[Code, Kind]] = {
    "invalid_request": Kind(400, _INVALID),
    "validation_error": Kind(422, _INVALID),
    "context_length_exceeded": Kind(400, _INVALID),
    "invalid_api_key": Kind(401, "authentication_error"),
    "permission_denied": Kind(403, "permission_error"),
    "model_not_found": Kind(404, _INVALID),
    "route_not_found": Kind(404, _INVALID),
    "method_not_allowed": Kind(405, _INVALID),
    "request_too_large": Kind(413, _INVALID),
    "rate_limit_exceeded": Kind(429, "rate_limit_error", retryable=True),
    "insufficient_quota": Kind(429, "rate_limit_error"),
    "upstream_rejected": Kind(400, _INVALID),
    "upstream_auth": Kind(502, "server_error"),
    "upstream_error": Kind(502, "server_error", retryable=True),
    "upstream_timeout": Kind(504, "server_error", retryable=True),
    "overloaded": Kind(503, "server_error", retryable=True),
    "internal_error": Kind(500, "server_error"),
}
"""Status, type and retry advice of every code (docs/contract.md, Errors)."""


class FieldFault(msgspec.Struct, frozen=True):
    """One fault of a request body: where it is, what is wrong, and a word for its sort."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class GatewayError(Exception):
    """A failure that the client is told about; the only exception that crosses room borders.

    Args:
        code: one of the closed codes; status and type follow from it.
        message: one sentence for the person who reads it; never a secret, never a raw
            upstream body.
        param: the request field at fault, if one is.
        faults: for ``validation_error``, every fault found.
        retry_after_s: advice for the client, sent as ``retry-after`` (1 to 60 s).
        status: replaces the code's own status; only for an upstream's 4xx that is handed on.

    Attributes:
        cause: see ``Cause``; whoever raises the error may set it.
        told_s: how long the upstream itself asked to be left alone, if it did.
    """

    cause: Cause = ""
    told_s: float | None = None

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        faults: tuple[FieldFault, ...] = (),
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.faults = faults
        self.retry_after_s = retry_after_s
        self.kind = KINDS[code]
        self.status = status or self.kind.status


def body_too_large(limit_bytes: int) -> GatewayError:
    """The failure of a request body past the limit, the same at every door."""
    return GatewayError(
        "request_too_large", f"The request body is larger than {limit_bytes} bytes."
    )
