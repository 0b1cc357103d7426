"""What a person may name a model file by: a known name, a path, or an address to fetch."""

import re
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from trunkline.engines.file import ModelError

HUB_URL: Final = "https://huggingface.co"

_SHA256: Final = re.compile(r"sha256=([0-9a-f]{64})")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class ModelAddress(msgspec.Struct, frozen=True):
    """A model file on a server, and its place in the cache.

    Args:
        url: where it is fetched.
        place: its path below the cache's folder of models.
        sha256: what was asked for after ``#sha256=``, if anything.
        hub: it lies on the model hub, whose token may be sent.
    """

    url: str
    place: PurePosixPath
    sha256: str | None = None
    hub: bool = False


def read_address(ref: str, hub_url: str = HUB_URL) -> ModelAddress | None:
    """Read ``hf:OWNER/NAME/FILE``, ``https://…`` or loopback ``http://…``; None for other texts.

    A hub file's address is ``/OWNER/NAME/resolve/main/FILE`` (huggingface_hub's ``hf_hub_url``,
    read 2026-11-21).

    Raises:
        ModelError: it begins like an address and is none that may be fetched.
    """
    plain, _, fragment = ref.partition("#")
    match = _SHA256.fullmatch(fragment.lower())
    if plain.startswith("hf:"):
        words = plain.removeprefix("hf:").split("/", 2)
        if len(words) < 3:
            raise ModelError(f"'{ref}': expected hf:OWNER/NAME/FILE.gguf")
        url = f"{hub_url}/{words[0]}/{words[1]}/resolve/main/{words[2]}"
        place = PurePosixPath("hf", *words)
    elif plain.startswith(("https://", "http://")):
        check_url(plain)
        url = plain
        parts = urlsplit(plain)
        place = PurePosixPath(
            "web", parts.netloc.replace(":", "_"), unquote(parts.path).lstrip("/")
        )
    else:
        return None
    if fragment and match is None:
        raise ModelError(f"'{ref}': expected #sha256= and 64 hexadecimal digits")
    if ".." in place.parts or place.suffix != ".gguf":
        raise ModelError(f"'{ref}': expected the address of one .gguf file")
    return ModelAddress(url, place, match and match[1], hub=plain.startswith("hf:"))


def check_url(url: str) -> None:
    """Allow https anywhere and http to this machine only: a model file decides what is said.

    Raises:
        ModelError: another scheme, or http to another machine.
    """
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ModelError(f"'{parts.scheme}://{parts.hostname}' is not encrypted; use https.")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ModelError(f"'{parts.scheme}://{parts.hostname}' is no address of a model file.")


def find_place(address: ModelAddress, cache_dir: Path) -> Path:
    """Return where a fetched file is kept."""
    return cache_dir / "models" / address.place
