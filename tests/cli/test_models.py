"""``trunkline models``, as a script and as a person use it."""

import json
from pathlib import Path

import pytest

from engines.shelf import Shelf
from trunkline.cli import main

CONTENT = b"GGUF" + bytes(100)


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUNKLINE_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path


def test_pull_prints_the_path_and_list_shows_the_file(
    cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Shelf({"/m.gguf": CONTENT}) as shelf:
        assert main(["models", "pull", f"{shelf.url}/m.gguf"]) == 0
    out, err = capsys.readouterr()
    path = Path(out.strip())
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(cache_dir)
    assert "100 %" in err
    assert main(["models", "list", "--json"]) == 0
    known, fetched = json.loads(capsys.readouterr().out)
    assert (known["name"], known["pulled"]) == ("smollm2-135m-instruct", False)
    assert (known["licence"], known["size_bytes"]) == ("Apache-2.0", 98_362_432)
    assert (fetched["path"], fetched["pulled"]) == (str(path), True)


def test_the_list_is_a_table(cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["MODEL", "PULLED", "SIZE", "LICENCE", "PATH"]
    assert row.split()[:5] == ["smollm2-135m-instruct", "no", "98", "MB", "Apache-2.0"]


def test_what_went_wrong_is_one_line(cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "gpt-4o"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trunkline: 'gpt-4o' is no known model")
    assert err.count("\n") == 1
