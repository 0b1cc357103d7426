"""Fetching over HTTP from a real server: going on, starting anew, redirects, refusals."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.shelf import Shelf
from trunkline.engines.download import download_file
from trunkline.engines.file import ModelError
from trunkline.engines.progress import Silence

CONTENT = b"GGUF" + bytes(range(256)) * 40


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with Shelf({"/m.gguf": CONTENT}) as open_shelf:
        yield open_shelf


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "m.gguf.part"


class Record(Silence):
    def __init__(self) -> None:
        self.steps: list[tuple[int, int | None]] = []

    def advance(self, done_bytes: int, total_bytes: int | None) -> None:
        self.steps.append((done_bytes, total_bytes))


def test_it_fetches_a_file_and_says_how_far_it_is(shelf: Shelf, part: Path) -> None:
    record = Record()
    download_file(f"{shelf.url}/m.gguf", part, record)
    assert part.read_bytes() == CONTENT
    assert record.steps[0] == (0, len(CONTENT))
    assert record.steps[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in part.parent.iterdir()] == [part.name]


def test_cut_connections_are_taken_up_where_they_ended(shelf: Shelf, part: Path) -> None:
    shelf.cuts = [1000, 2000]
    download_file(f"{shelf.url}/m.gguf", part, Silence())
    assert part.read_bytes() == CONTENT
    ranges = [headers.get("range") for _, headers in shelf.asked]
    assert ranges == [None, "bytes=1000-", "bytes=3000-"]


def test_another_run_goes_on_after_one_that_gave_up(shelf: Shelf, part: Path) -> None:
    shelf.cuts = [1000, *[0] * 5]
    with pytest.raises(ModelError, match="goes on after"):
        download_file(f"{shelf.url}/m.gguf", part, Silence())
    assert part.stat().st_size == 1000
    download_file(f"{shelf.url}/m.gguf", part, Silence())
    assert part.read_bytes() == CONTENT
    assert shelf.asked[-1][1]["range"] == "bytes=1000-"


def test_a_file_that_has_changed_is_fetched_anew(shelf: Shelf, part: Path) -> None:
    shelf.cuts = [1000, *[0] * 5]
    with pytest.raises(ModelError):
        download_file(f"{shelf.url}/m.gguf", part, Silence())
    shelf.files["/m.gguf"] = CONTENT[::-1]
    shelf.validators = {"ETag": '"v2"'}
    download_file(f"{shelf.url}/m.gguf", part, Silence())
    assert part.read_bytes() == CONTENT[::-1]


def test_a_part_longer_than_the_file_is_fetched_anew(shelf: Shelf, part: Path) -> None:
    shelf.cuts = [1000, *[0] * 5]
    with pytest.raises(ModelError):
        download_file(f"{shelf.url}/m.gguf", part, Silence())
    shelf.files["/m.gguf"] = CONTENT[:500]
    download_file(f"{shelf.url}/m.gguf", part, Silence())
    assert part.read_bytes() == CONTENT[:500]


@pytest.mark.parametrize("validators", [{}, {"ETag": 'W/"v1"'}])
def test_without_a_strong_validator_it_starts_anew(
    shelf: Shelf, part: Path, validators: dict[str, str]
) -> None:
    shelf.validators = validators
    shelf.cuts = [1000]
    download_file(f"{shelf.url}/m.gguf", part, Silence())
    assert part.read_bytes() == CONTENT
    assert "range" not in shelf.asked[1][1]


def test_the_token_stays_on_its_own_server(shelf: Shelf, part: Path) -> None:
    with Shelf({"/far.gguf": CONTENT}) as other:
        shelf.redirects = {"/old.gguf": "/new.gguf", "/new.gguf": f"{other.url}/far.gguf"}
        download_file(f"{shelf.url}/old.gguf", part, Silence(), "hub-token")
    assert part.read_bytes() == CONTENT
    assert [headers.get("authorization") for _, headers in shelf.asked] == ["Bearer hub-token"] * 2
    assert "authorization" not in other.asked[0][1]


def test_a_redirect_to_an_address_without_encryption_is_refused(shelf: Shelf, part: Path) -> None:
    shelf.redirects = {"/m.gguf": "http://models.example/m.gguf"}
    with pytest.raises(ModelError, match="not encrypted"):
        download_file(f"{shelf.url}/m.gguf", part, Silence())


@pytest.mark.parametrize(
    ("status", "token", "words"),
    [
        (401, None, "may need HF_TOKEN"),
        (403, "t", "HF_TOKEN has no access"),
        (404, None, "no such file"),
        (500, None, "answered 500"),
    ],
)
def test_a_refusal_says_what_to_do(
    shelf: Shelf, part: Path, status: int, token: str | None, words: str
) -> None:
    shelf.refusals = {"/m.gguf": status}
    with pytest.raises(ModelError, match=words):
        download_file(f"{shelf.url}/m.gguf", part, Silence(), token)
    assert len(shelf.asked) == 1


def test_an_absent_server_is_told_at_once(part: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(ModelError, match=r"127\.0\.0\.1 could not be reached"):
            download_file(f"http://127.0.0.1:{port}/m.gguf", part, Silence())
