"""Where limits are counted: what the operator may write as ``store.limits_url``. Pure.

The address of a Redis or Valkey server is a URL as redis-py reads it (redis/redis-py, parse_url in
redis/asyncio/connection.py, release 8.1, read 2026-11-22); of its options only those that name
certificates may be given, so that none can switch their verification off.
"""

import re
from typing import Final

_TEXT: Final = r"(?:[^%@:/?#\[\]\s]|%(?!00)[0-9A-Fa-f]{2})"
_HOST: Final = rf"(?:\[[0-9A-Fa-f:.]+\]|{_TEXT}+)(?::[0-9]+)?"
_OPTION: Final = rf"ssl_(?:ca_certs|certfile|keyfile)=(?:(?![&=+]){_TEXT}|/)+"
_SERVER: Final = re.compile(
    rf"""
    (?P<scheme>rediss?)://
    (?:(?P<user>{_TEXT}*)(?::(?P<password>{_TEXT}*))?@)?
    (?P<host>{_HOST})
    (?:/(?P<database>[0-9]*))?
    (?:(?P<options>\?{_OPTION}(?:&{_OPTION})*))?
    """,
    re.VERBOSE,
)
_EXPECTED: Final = (
    'expected "memory" or "redis://user:password@host:port/number" (rediss:// for TLS), with %XX '
    "for special characters of the user and the password (%40 for @, %2F for /)"
)


def check_url(url: str) -> None:
    """Pass when the text can be a ``store.limits_url``; whether anything answers is not asked.

    Raises:
        ValueError: it cannot; the message says what is expected, never what was found.
    """
    found = _SERVER.fullmatch(url)
    if url != "memory" and (not found or (found["options"] and found["scheme"] == "redis")):
        raise ValueError(_EXPECTED)


def holds_password(url: str) -> bool:
    """Whether a secret stands in the URL itself."""
    found = _SERVER.fullmatch(url)
    return bool(found and found["password"])


def mask_url(url: str) -> str:
    """The server's URL for people and logs: without password and options."""
    found = _SERVER.fullmatch(url)
    if not found:
        return "redis://…"
    user = f"{found['user']}@" if found["user"] else ""
    database = f"/{found['database']}" if found["database"] else ""
    return f"{found['scheme']}://{user}{found['host']}{database}"
