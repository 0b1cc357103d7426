"""What a model file may be called, and where it is then kept."""

from pathlib import Path

import pytest

from trunkline.engines.address import find_place, read_address
from trunkline.engines.file import ModelError

SHA = "ab" * 32


def test_a_hub_file() -> None:
    address = read_address("hf:Owner/Name/sub/m.gguf", "https://hub.example")
    assert address is not None
    assert address.url == "https://hub.example/Owner/Name/resolve/main/sub/m.gguf"
    assert find_place(address, Path("/c")) == Path("/c/models/hf/Owner/Name/sub/m.gguf")
    assert (address.hub, address.sha256) == (True, None)


def test_an_address_with_its_checksum() -> None:
    address = read_address(f"https://files.example:444/a/m.gguf?x=1#sha256={SHA.upper()}")
    assert address is not None
    assert address.url == "https://files.example:444/a/m.gguf?x=1"
    assert find_place(address, Path("/c")) == Path("/c/models/web/files.example_444/a/m.gguf")
    assert (address.hub, address.sha256) == (False, SHA)


def test_other_texts_are_no_addresses() -> None:
    assert [read_address(text) for text in ("smollm2-135m-instruct", "/m/x.gguf", "")] == [None] * 3


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("hf:Owner/m.gguf", "expected hf:OWNER/NAME/FILE"),
        ("hf:a/b/../../x.gguf", "one .gguf file"),
        ("https://files.example/%2e%2e/m.gguf", "one .gguf file"),
        ("https://files.example/m.zip", "one .gguf file"),
        ("https://files.example/m.gguf#sha256=abc", "64 hexadecimal"),
        ("https://files.example/m.gguf#md5=abc", "64 hexadecimal"),
        ("http://files.example/m.gguf", "not encrypted"),
        ("https://user:pass@files.example/m.gguf", "no address"),
    ],
)
def test_what_may_not_be_fetched_is_refused(ref: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_address(ref)


def test_this_machine_needs_no_encryption() -> None:
    assert read_address("http://127.0.0.1:8000/m.gguf") is not None
    assert read_address("http://[::1]:8000/m.gguf") is not None
