"""A model file on disk: is it GGUF, is it the right one, and is somebody fetching it just now."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

_MAGIC: Final = b"GGUF"
CHUNK_BYTES: Final = 1 << 20


class ModelError(Exception):
    """A model file is missing, wrong or could not be fetched; the message says what to do."""


class _Stamp(msgspec.Struct, frozen=True):
    """What a file was when it was last hashed, so that a start need not read it again."""

    sha256: str
    size_bytes: int
    time_ns: int


def check_magic(path: Path) -> None:
    """Check that a file begins as a GGUF file does.

    Raises:
        ModelError: it does not, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ModelError(f"The model file cannot be read: {error}") from None
    if magic != _MAGIC:
        raise ModelError(f"{path} is not a GGUF file (it begins with {magic!r}).")


def matches_digest(path: Path, sha256: str) -> bool:
    """Say whether a file has this SHA-256; a file unchanged since the last look is not reread."""
    if not path.is_file():
        return False
    facts = path.stat()
    stamp = _read_stamp(path)
    if stamp is None or (stamp.size_bytes, stamp.time_ns) != (facts.st_size, facts.st_mtime_ns):
        stamp = _Stamp(compute_digest(path), facts.st_size, facts.st_mtime_ns)
        _write_stamp(path, stamp)
    return stamp.sha256 == sha256


def compute_digest(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_file(part: Path, path: Path, sha256: str | None) -> None:
    """Check a fetched file and move it to its place in one step; a wrong one is removed.

    Raises:
        ModelError: it is not GGUF, or has another SHA-256 than asked for.
    """
    try:
        check_magic(part)
        _check_digest(part, path.name, sha256)
    except ModelError:
        part.unlink(missing_ok=True)
        raise
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    if sha256 is not None:
        facts = path.stat()
        stamp = _Stamp(sha256, facts.st_size, facts.st_mtime_ns)
        _write_stamp(path, stamp)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file in one step: a reader sees the old one or the new one."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_bytes(content)
    fresh.replace(path)


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold the right to fetch ``path``; waits while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_digest(part: Path, name: str, sha256: str | None) -> None:
    if sha256 is not None and (found := compute_digest(part)) != sha256:
        raise ModelError(f"{name} has SHA-256 {found}, expected {sha256}; it was removed.")


def _write_stamp(path: Path, stamp: _Stamp) -> None:
    with suppress(OSError):  # a read-only cache is hashed at every start instead
        write_whole(_stamp_path(path), msgspec.json.encode(stamp))


def _stamp_path(path: Path) -> Path:
    return path.with_name(path.name + ".stamp")


def _read_stamp(path: Path) -> _Stamp | None:
    try:
        return msgspec.json.decode(_stamp_path(path).read_bytes(), type=_Stamp)
    except (OSError, msgspec.DecodeError):
        return None
