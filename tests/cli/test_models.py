"""``trunkline models``, as a script and as a person use it."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from engines.shelf import Shelf
from trunkline.catalog import read_catalog
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
    known, fetched = json.loads(capsys.readouterr().out)["files"]
    assert (known["name"], known["pulled"]) == ("smollm2-135m-instruct", False)
    assert (known["licence"], known["size_bytes"]) == ("Apache-2.0", 98_362_432)
    assert (fetched["path"], fetched["pulled"]) == (str(path), True)


def test_the_names_are_listed_with_all_their_columns(
    cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)["names"]
    catalog = read_catalog().models
    assert [each["name"] for each in names] == list(catalog)
    for each in names:
        row = catalog[each.pop("name")]
        parameters = row.parameters if row.parameters is None else list(row.parameters)
        assert each == msgspec.structs.asdict(row) | {"parameters": parameters}


def test_the_list_is_two_tables(cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    names, files = capsys.readouterr().out.split("\n\n")
    head, *rows = names.splitlines()
    columns = ["NAME", "VENDOR", "KIND", "CONTEXT", "TAKES", "STATUS", "SERVED BY", "REPLACEMENT"]
    assert re.split(r"  +", head.strip()) == columns
    assert [row.split()[0] for row in rows] == list(read_catalog().models)
    (gone,) = [row for row in rows if row.startswith("claude-2 ")]
    assert "retired 2025-07-21" in gone
    assert gone.rstrip().endswith("claude-sonnet-5-5")
    (there,) = [row for row in rows if row.startswith("gpt-4o ")]
    assert "azure,openai,openrouter" in there
    assert "images,tools" in there
    head, row = files.splitlines()
    assert re.split(r"  +", head.strip()) == ["MODEL FILE", "PULLED", "SIZE", "LICENCE", "PATH"]
    assert row.split()[:5] == ["smollm2-135m-instruct", "no", "98", "MB", "Apache-2.0"]


def test_what_went_wrong_is_one_line(cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "gpt-4o"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trunkline: 'gpt-4o' is no known model")
    assert err.count("\n") == 1
