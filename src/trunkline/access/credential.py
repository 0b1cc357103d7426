"""Credentials: which key and which account a request names in its headers. Pure, on bytes.

Where clients put the key (read 2026-11-21): the SGP SDKs send ``x-api-key``, OpenAI clients
``Authorization: Bearer``, the LLM Engine client ``x-api-key`` and the user name of
``Authorization: Basic``. See docs/access.md.
"""

import binascii

_BLANKS = b" \t"


def read_key(x_api_key: bytes | None, authorization: bytes | None) -> bytes | None:
    """The key that the request was sent with, in the form in which keys are hashed.

    A present ``x-api-key`` decides, even an empty one; else ``Authorization`` with the scheme
    Bearer, or Basic, whose user name is the key.

    Args:
        x_api_key: that header's value, None when it is absent.
        authorization: likewise.

    Returns:
        The key, possibly empty; None when the headers hold none that can be read.
    """
    if x_api_key is not None:
        return normalise_text(x_api_key)
    if authorization is None:
        return None
    scheme, _, rest = authorization.strip(_BLANKS).partition(b" ")
    match scheme.lower():
        case b"bearer":
            return normalise_text(rest)
        case b"basic":
            return _read_user_name(rest.strip(_BLANKS))
        case _:
            return None


def read_account(x_selected_account_id: bytes | None) -> str | None:
    """The account that the request selects with its header; None when absent or empty."""
    if not x_selected_account_id:
        return None
    return normalise_text(x_selected_account_id).decode() or None


def normalise_text(value: bytes) -> bytes:
    """A header's text as UTF-8 without blanks around it.

    Clients write the same text beyond ASCII as UTF-8 or as Latin-1 (RFC 9110 §5.5 settles
    nothing): bytes that are not UTF-8 are read as Latin-1, so that both name the same key.
    """
    value = value.strip(_BLANKS)
    if value.isascii():
        return value
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value


def _read_user_name(encoded: bytes) -> bytes | None:
    """The user name of Basic credentials (RFC 7617 §2): base64 of ``user:password``."""
    try:
        pair = binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        return None
    return normalise_text(pair.partition(b":")[0])
