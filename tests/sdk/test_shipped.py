"""The tests that the SDKs' own source distributions ship, unmodified, against the gateway."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from gateway import RunningGateway
from scripted import ScriptedServer
from trunkline.cli import find_dir

pytestmark = pytest.mark.sdk

WITH_ALL_PARAMS = [
    f"{group}::test_method_create_with_all_params_overload_{overload}[{mode}]"
    for group, modes in (
        ("TestCompletions", ("loose", "strict")),
        ("TestAsyncCompletions", ("loose", "strict", "aiohttp")),
    )
    for overload, mode in product((1, 2), modes)
]
LIST_MODELS = [
    f"{group}::{name}[{mode}]"
    for group, modes in (
        ("TestCompletions", ("loose", "strict")),
        ("TestAsyncCompletions", ("loose", "strict", "aiohttp")),
    )
    for name, mode in product(
        (
            "test_method_models",
            "test_method_models_with_all_params",
            "test_raw_response_models",
            "test_streaming_response_models",
        ),
        modes,
    )
]


@dataclass(frozen=True)
class Distribution:
    """A source distribution and one file of its tests."""

    name: str
    version: str
    sha256: str
    tests: str
    passed: int
    deselected: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def folder(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}"


SCALE_GP = (
    "scale-gp",
    "0.1.0a62",
    "43c0e5843f44ae9ee15c8457e9babe1c4dc8dd9daa0d212c32d168b0d846a8cb",
)
SCALE_GP_BETA = (
    "scale-gp-beta",
    "0.7.0",
    "0bffac4b0d3494f43c7e23db5c36c7710d7b38dc49ac7618c7a90f451274b9fa",
)
SHIPPED = {
    "completions": Distribution(*SCALE_GP, "tests/api_resources/test_completions.py", 40),
    # The SDK cannot send a plain dict as response_format: its own TypeError comes before any
    # request, so these ten cases say nothing about a server.
    "beta chat": Distribution(
        *SCALE_GP,
        "tests/api_resources/beta/chat/test_completions.py",
        30,
        tuple(WITH_ALL_PARAMS),
    ),
    # GET /v5/chat/completions/models is not inference, and not served.
    "v5 chat": Distribution(
        *SCALE_GP_BETA,
        "tests/api_resources/chat/test_completions.py",
        40,
        tuple(LIST_MODELS),
    ),
}


def fetch_archive(shipped: Distribution, cache_dir: Path) -> Path:
    """The distribution's archive from the cache, else fetched by pip, which checks its hash."""
    archive = cache_dir / f"{shipped.folder}.tar.gz"
    if archive.is_file() and _hash(archive) == shipped.sha256:
        return archive
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir) as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{shipped.requirement} --hash=sha256:{shipped.sha256}\n")
        words = ["download", "--no-input", "--no-deps", "--require-hashes", "--dest", folder]
        command = [sys.executable, "-m", "pip", *words, f"--no-binary={shipped.name}"]
        done = subprocess.run(
            [*command, "--requirement", str(wanted)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(
                f"pip could not fetch the source distribution {shipped.requirement}, whose tests "
                f"are run here. It needs a package index the first time; is this machine "
                f"offline?\n{done.stdout}",
                pytrace=False,
            )
        Path(folder, archive.name).replace(archive)
    return archive


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session", params=SHIPPED)
def shipped(request: pytest.FixtureRequest) -> Distribution:
    return SHIPPED[request.param]


@pytest.fixture
def unpacked(shipped: Distribution, tmp_path: Path) -> Path:
    """The distribution's tests and their settings; what they test is the installed package."""
    archive = fetch_archive(shipped, find_dir(os.environ, "CACHE", ".cache") / "sdk")
    wanted = (f"{shipped.folder}/tests/", f"{shipped.folder}/pyproject.toml")
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.startswith(wanted)]
        tar.extractall(tmp_path, members, filter="data")
    return tmp_path / shipped.folder


def test_shipped_tests_pass(
    shipped: Distribution, unpacked: Path, gateway: RunningGateway, upstream: ScriptedServer
) -> None:
    before = len(upstream.requests)
    output = run_tests(shipped, unpacked, gateway.url)
    counts = re.findall(r"(\d+) ([a-z]+)", output.splitlines()[-1])
    wanted = {"passed": shipped.passed}
    if shipped.deselected:
        wanted["deselected"] = len(shipped.deselected)
    assert {word: int(count) for count, word in counts} == wanted, output
    # Each case is one call, and none was answered by anything but the upstream.
    assert len(upstream.requests) - before == shipped.passed


def run_tests(shipped: Distribution, folder: Path, url: str) -> str:
    """Run the distribution's file of tests in its own folder; returns what pytest printed."""
    skipped = [f"--deselect={shipped.tests}::{case}" for case in shipped.deselected]
    # Their own options want a plugin that spreads tests over processes.
    own = ["-o", "addopts=", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *own, shipped.tests, *skipped],
        cwd=folder,
        env=_environ() | {"TEST_API_BASE_URL": url, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{shipped.requirement}, {shipped.tests}:\n{done.stdout}", pytrace=False)
    return done.stdout


def _environ() -> dict[str, str]:
    """The environment without what would reach into the other pytest."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
