"""Reads failures of Amazon Bedrock: error bodies, and exceptions inside a stream.

The exceptions of Converse and ConverseStream in botocore 1.44.5's service model of
bedrock-runtime, and the AWS rest-json protocol (smithy.io, "AWS restJson1 protocol", Operation
error serialization), read 2026-11-22: an exception's name stands in the header
``x-amzn-errortype``, or in the body's ``code`` or ``__type``.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.wire.upstream_failure import Said, read_failure

_HEADER: Final = b"x-amzn-errortype"
_FAILED: Final = frozenset({"ModelErrorException", "ModelStreamErrorException"})
_STATUSES: Final = {
    "modelTimeoutException": 408,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}
"""Of exceptions inside a stream; any other one is a failure of the upstream."""
_OVERFLOW: Final = re.compile(
    r"prompt is too long: (\d+) tokens > (\d+) maximum"
    r"|input length and `?max_tokens`? exceed context limit: (\d+) \+ \d+ > (\d+)"
    r"|prompt is too long"
    r"|[Ii]nput is too long for requested model"
    r"|Input Tokens Exceeded"
    r"|maximum context length is"
)
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def read_said(body: bytes, headers: Mapping[bytes, bytes] | None = None) -> Said:
    """What an error says.

    An over-long prompt has no code of its own: the sentences of Bedrock, Claude, Nova and the
    open models for it are matched, as they stood in reported errors up to 2026-11-22.

    Args:
        body: the upstream's body.
        headers: the upstream's headers, with the exception's name.
    """
    error = _read_error(body)
    told = (headers or {}).get(_HEADER, b"").decode("latin-1") or error.get("__type")
    name = _cut(told or error.get("code"))
    message = str(error.get("message") or error.get("Message") or "")
    found = _OVERFLOW.search(message) if name in (None, "ValidationException") else None
    counts = [count for count in found.groups() if count] if found else []
    asked, window = counts or (None, None)
    return Said(
        code=name,
        message=message,
        overflow=found is not None,
        prompt_tokens=int(asked) if asked else None,
        window_tokens=int(window) if window else None,
        quota=name == "ServiceQuotaExceededException",
        # Only the exceptions of a model that broke have this field.
        broken=name in _FAILED or "originalStatusCode" in error,
    )


def fail_stream(headers: Mapping[str, str], payload: bytes, model: str) -> GatewayError:
    """The failure that a message stands for that is no event; ``model`` is the target's."""
    name = headers.get(":exception-type", "")
    status = _STATUSES.get(name[:1].lower() + name[1:], 500)
    return read_failure(status, {}, read_said(payload), target=model, own=False)


def _read_error(body: bytes) -> dict[str, Any]:
    try:
        return _OBJECT.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _cut(told: object) -> str | None:
    """The name alone: some services put a namespace before it and an address behind it."""
    return told.partition(":")[0].rpartition("#")[2] if isinstance(told, str) else None
