"""The pepper: made once, private, and never guessed at."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trunkline.access.pepper import PepperError, load_pepper

HEX = "00ff" * 16


def test_a_pepper_is_made_once(tmp_path: Path) -> None:
    first = load_pepper(tmp_path / "data")
    assert len(first) == 32
    assert load_pepper(tmp_path / "data") == first
    assert load_pepper(tmp_path / "other") != first


def test_the_file_is_private_and_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_pepper(tmp_path / "data")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "pepper").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["pepper"]


def test_all_who_make_it_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        peppers = set(pool.map(lambda _: load_pepper(tmp_path), range(64)))
    assert len(peppers) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]


def test_the_override_wins_and_writes_nothing(tmp_path: Path) -> None:
    assert load_pepper(tmp_path, HEX) == bytes.fromhex(HEX)
    assert load_pepper(tmp_path, f" {HEX.upper()}\n") == bytes.fromhex(HEX)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_override_is_none(tmp_path: Path) -> None:
    assert load_pepper(tmp_path, "") == load_pepper(tmp_path, None)


@pytest.mark.parametrize("text", ["canary", HEX[:-2], HEX + "00", "ü" * 64, " "])
def test_a_pepper_of_another_shape_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(PepperError, match="TRUNKLINE_PEPPER must hold 64 hex") as caught:
        load_pepper(tmp_path, text)
    assert "canary" not in str(caught.value)
    (tmp_path / "pepper").write_text(text, "utf-8")
    with pytest.raises(PepperError, match="pepper must hold 64 hex"):
        load_pepper(tmp_path)


def test_the_operators_own_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text(f"{HEX}\n")
    assert load_pepper(tmp_path) == bytes.fromhex(HEX)
