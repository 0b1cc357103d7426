"""What the headers of an inference request ask of the gateway: read once, in one place."""

from collections.abc import Mapping
from typing import Final

import msgspec

TIMEOUT: Final = b"x-trunkline-timeout"


class Wishes(msgspec.Struct, eq=False):
    """What one request's headers ask for; the texts as they came, None where there is none.

    Requests that repeat the head of the one before them share it.

    Args:
        api_key: of ``x-api-key``.
        authorization: of ``authorization``.
        account: of ``x-selected-account-id``.
        vendor_key: the caller's own key at the vendor, of ``x-openai-api-key``.
        timeout: of ``x-trunkline-timeout``.
        patience: how long the client waits for the next byte, of ``x-stainless-read-timeout``.
        strict: no change may lose anything (``x-trunkline-strict``).
        explain: the answer shall tell why it came from where it came (``x-trunkline-debug``).
        digest: what the key is known by, once it was verified.
    """

    api_key: bytes | None = None
    authorization: bytes | None = None
    account: bytes | None = None
    vendor_key: bytes | None = None
    timeout: bytes | None = None
    patience: bytes | None = None
    strict: bool = False
    explain: bool = False
    digest: bytes | None = None


def read_wishes(headers: Mapping[bytes, bytes]) -> Wishes:
    """What headers ask for, by lower-case name."""
    find = headers.get
    return Wishes(
        find(b"x-api-key"),
        find(b"authorization"),
        find(b"x-selected-account-id"),
        find(b"x-openai-api-key"),
        find(TIMEOUT),
        find(b"x-stainless-read-timeout"),
        _is_true(find(b"x-trunkline-strict")),
        _is_true(find(b"x-trunkline-debug")),
    )


def _is_true(value: bytes | None) -> bool:
    return value is not None and value.strip().lower() == b"true"
