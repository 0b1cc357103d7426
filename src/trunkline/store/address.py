"""Where a store is: what the operator may write as ``store.url``, checked and shown safely.

The address of a PostgreSQL server is a connection URI as its client library, libpq, reads it. It
is checked here first, and strictly: libpq 18 (tried 2026-11-22) cuts a password that holds an
unescaped ``@`` or ``/`` in two, takes one half for a host or port, and quotes it. Pure.
"""

import re
from pathlib import Path
from typing import Final

FILE_NAME: Final = "trunkline.db"
"""The database's name in the data folder."""

_TEXT: Final = r"(?:[^%@:/?#\[\]\s]|%(?!00)[0-9A-Fa-f]{2})"
_HOST: Final = rf"(?:\[[0-9A-Fa-f:.]+\]|(?:(?!,){_TEXT})*)(?::[0-9]+)?"
_OPTION: Final = rf"[a-z_]+=(?:(?![&=]){_TEXT}|[:/])*"
_SERVER: Final = re.compile(
    rf"""
    postgres(?:ql)?://
    (?:(?P<user>{_TEXT}*)(?::(?P<password>(?:{_TEXT}|:)*))?@)?
    (?P<hosts>{_HOST}(?:,{_HOST})*)
    /(?P<database>{_TEXT}+)
    (?:\?(?P<options>{_OPTION}(?:&{_OPTION})*))?
    """,
    re.VERBOSE,
)
_EXPECTED: Final = (
    'expected "sqlite" or "postgresql://user:password@host:port/database", with %XX for special '
    "characters of the user and the password (%40 for @, %2F for /)"
)


def check_url(url: str) -> None:
    """Pass when the text can be a ``store.url``; whether anything answers there is not asked.

    Raises:
        ValueError: it cannot; the message says what is expected, never what was found.
    """
    if url != "sqlite" and not _SERVER.fullmatch(url):
        raise ValueError(_EXPECTED)


def locate_store(url: str, data_dir: Path) -> Path | str:
    """What ``open_store`` takes for a ``store.url``: a file in the data folder, or the URL.

    Raises:
        ValueError: as ``check_url``.
    """
    check_url(url)
    return data_dir / FILE_NAME if url == "sqlite" else url


def holds_password(url: str) -> bool:
    """Whether a secret stands in the URL itself: as the user's password or among the options."""
    found = _SERVER.fullmatch(url)
    return bool(found and (found["password"] or "password=" in (found["options"] or "")))


def mask_url(url: str) -> str:
    """The server's URL for people and logs: without password and options."""
    found = _SERVER.fullmatch(url)
    if not found:
        return "postgresql://…"
    user = f"{found['user']}@" if found["user"] else ""
    return f"postgresql://{user}{found['hosts']}/{found['database']}"
