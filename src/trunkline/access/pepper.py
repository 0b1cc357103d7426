"""The pepper: the server's secret behind the hashes of all keys, kept beside the database.

Without it, a copied database says nothing about any key, not even to somebody who can guess.
"""

import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

PEPPER_BYTES: Final = 32

_WANTED: Final = f"{2 * PEPPER_BYTES} hexadecimal digits (openssl rand -hex {PEPPER_BYTES})"


class PepperError(ValueError):
    """The pepper cannot be read; the message says what is expected, never what was found."""


def load_pepper(data_dir: Path, override: str | None = None) -> bytes:
    """The pepper, 32 bytes: the operator's own, else the file's, which is made when missing.

    The file ``pepper`` has mode 0600 and holds 64 hexadecimal digits. However many processes
    make it at the same time, one of them wins and all return the same bytes.

    Args:
        data_dir: the folder of the database; created with mode 0700 when missing.
        override: the text of TRUNKLINE_PEPPER; None or empty when it is not set.

    Raises:
        PepperError: the override or the file does not hold a pepper.
        OSError: the file cannot be read or written.
    """
    if override:
        return _read_hex(override, "TRUNKLINE_PEPPER")
    path = data_dir / "pepper"
    if not path.exists():
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_file(path)
    return _read_hex(path.read_text("ascii", "replace"), str(path))


def _read_hex(text: str, place: str) -> bytes:
    try:
        pepper = bytes.fromhex(text)
    except ValueError:
        pepper = b""
    if len(pepper) != PEPPER_BYTES:
        raise PepperError(f"{place} must hold {_WANTED}")
    return pepper


def _make_file(path: Path) -> None:
    """Write a new pepper whole and give it its name, unless another process was faster."""
    handle, draft = tempfile.mkstemp(prefix=".pepper-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(PEPPER_BYTES)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a rename, never replaces what is there
        except FileExistsError:
            return
    finally:
        Path(draft).unlink()
