"""Model files on disk: magic, checksum, stamp, place, lock."""

import hashlib
import os
from pathlib import Path
from threading import Event, Thread

import pytest

from trunkline.engines.file import (
    ModelError,
    check_magic,
    lock_file,
    matches_digest,
    place_file,
)

CONTENT = b"GGUF and so on"
SHA = hashlib.sha256(CONTENT).hexdigest()


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "m.gguf"
    page.write_bytes(b"<html>")
    with pytest.raises(ModelError, match="not a GGUF file"):
        check_magic(page)
    with pytest.raises(ModelError, match="cannot be read"):
        check_magic(tmp_path / "absent.gguf")


def test_a_file_is_hashed_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    assert not matches_digest(path, SHA)
    path.write_bytes(CONTENT)
    os.utime(path, ns=(10**18, 10**18))
    assert matches_digest(path, SHA)
    # The same size and time: taken for unchanged, so it was not read.
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(10**18, 10**18))
    assert matches_digest(path, SHA)
    os.utime(path, ns=(10**18 + 1, 10**18 + 1))
    assert not matches_digest(path, SHA)


def test_a_damaged_stamp_is_no_stamp(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(CONTENT)
    (tmp_path / "m.gguf.stamp").write_bytes(b"{")
    assert matches_digest(path, SHA)


def test_a_right_file_is_moved_in_place(tmp_path: Path) -> None:
    part, path = tmp_path / "part", tmp_path / "m.gguf"
    part.write_bytes(CONTENT)
    place_file(part, path, SHA)
    assert path.read_bytes() == CONTENT
    assert not part.exists()
    assert (tmp_path / "m.gguf.stamp").exists()


@pytest.mark.parametrize(("content", "words"), [(b"GGUF other", "SHA-256"), (b"<html>", "GGUF")])
def test_a_wrong_file_is_removed(tmp_path: Path, content: bytes, words: str) -> None:
    part, path = tmp_path / "part", tmp_path / "m.gguf"
    part.write_bytes(content)
    with pytest.raises(ModelError, match=words):
        place_file(part, path, SHA)
    assert list(tmp_path.iterdir()) == []


def test_one_fetches_and_the_other_waits(tmp_path: Path) -> None:
    path = tmp_path / "models" / "m.gguf"
    entered = Event()

    def wait() -> None:
        with lock_file(path):
            entered.set()

    other = Thread(target=wait)
    with lock_file(path):
        other.start()
        assert not entered.wait(0.05)
    other.join(20)
    assert entered.is_set()
