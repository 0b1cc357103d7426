"""Model files by name: what is found, what is fetched, what is listed."""

import hashlib
from pathlib import Path

import pytest

from engines.shelf import Shelf
from trunkline.engines.library import DEFAULT_MODEL, read_library
from trunkline.engines.model import ModelError, find_model, list_models, pull_model

CONTENT = b"GGUF" + bytes(100)
SHA = hashlib.sha256(CONTENT).hexdigest()


def test_a_fetched_address_is_found_by_the_same_name(tmp_path: Path) -> None:
    with Shelf({"/a/Tiny.gguf": CONTENT}) as shelf:
        ref = f"{shelf.url}/a/Tiny.gguf#sha256={SHA}"
        path = pull_model(ref, tmp_path)
        assert pull_model(ref, tmp_path) == path
    assert len(shelf.asked) == 1
    model = find_model(ref, tmp_path)
    assert (model.path, model.alias, model.size_bytes) == (path, "tiny", len(CONTENT))


def test_the_token_goes_to_the_hub_only(tmp_path: Path) -> None:
    files = {"/o/n/resolve/main/m.gguf": CONTENT, "/m.gguf": CONTENT}
    with Shelf(files) as shelf:
        pull_model("hf:o/n/m.gguf", tmp_path, token="t", hub_url=shelf.url)
        pull_model(f"{shelf.url}/m.gguf", tmp_path, token="t")
    assert [headers.get("authorization") for _, headers in shelf.asked] == ["Bearer t", None]
    listed = list_models(tmp_path)
    assert [model.name for model in listed][:2] == [DEFAULT_MODEL, "hf:o/n/m.gguf"]
    assert [model.pulled for model in listed] == [False, True, True]


def test_a_wrong_file_is_not_kept(tmp_path: Path) -> None:
    with Shelf({"/m.gguf": b"<html>", "/n.gguf": CONTENT}) as shelf:
        with pytest.raises(ModelError, match="not a GGUF file"):
            pull_model(f"{shelf.url}/m.gguf", tmp_path)
        with pytest.raises(ModelError, match="expected 0000"):
            pull_model(f"{shelf.url}/n.gguf#sha256={'0' * 64}", tmp_path)
    assert [*tmp_path.rglob("*.gguf"), *tmp_path.rglob("*.part")] == []


def test_a_file_in_place_of_the_known_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models" / read_library()[DEFAULT_MODEL].file
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    with pytest.raises(ModelError, match="its checksum is another"):
        find_model(DEFAULT_MODEL, tmp_path)


def test_a_path_is_found_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "Mine.Q4.gguf"
    path.write_bytes(CONTENT)
    model = find_model(str(path), tmp_path)
    assert (model.path, model.alias, model.licence) == (path, "mine.q4", None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (DEFAULT_MODEL, "Run: trunkline models pull smollm2-135m-instruct"),
        ("hf:o/n/m.gguf", "Run: trunkline models pull 'hf:o/n/m.gguf'"),
        ("gpt-4o", "no known model .smollm2-135m-instruct., no path"),
        ("/absent/m.gguf", "cannot be read"),
    ],
)
def test_what_is_not_here_says_the_next_step(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        find_model(name, tmp_path)


def test_an_unknown_name_cannot_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no known model"):
        pull_model("gpt-4o", tmp_path)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(ModelError, match="cannot be written"):
        pull_model("hf:o/n/m.gguf", tmp_path)


@pytest.mark.model
def test_the_default_model_is_what_it_should_be(model_path: Path) -> None:
    model = find_model(DEFAULT_MODEL, model_path.parent.parent)
    assert (model.path, model.alias) == (model_path, DEFAULT_MODEL)
    assert (model.licence, model.context_tokens) == ("Apache-2.0", 8192)
    assert model.size_bytes == model_path.stat().st_size
