"""The house rules that no linter knows: sizes, names, pins, and what a file must not name."""

import ast
import fnmatch
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "trunkline"

FILE_LINES = 400
FUNCTION_LINES = 50
ARGUMENTS = 6

# Words that say where a thing was put because nobody knew what it is.
BANNED = {
    "base",
    "common",
    "core",
    "handler",
    "handlers",
    "helper",
    "helpers",
    "manager",
    "managers",
    "misc",
    "types",
    "util",
    "utils",
}

# Written as expressions, so that this file does not name what it looks for.
REGISTRY_HOSTS = (
    r"pypi[.]org",
    r"pythonhosted[.]org",
    r"registry[.]npmjs",
    r"registry[.]yarnpkg",
    r"(deb|security)[.]debian[.]org",
    r"archive[.]ubuntu[.]com",
    r"proxy[.]golang[.]org",
    r"crates[.]io",
    r"maven[.]org",
    r"anaconda[.]org",
)
MODEL_HOST = r"huggingface[.]co"
# The address of its inference API, which is a provider's like any other: no file comes from it.
MODEL_HOST_API = r"https://router[.]huggingface[.]co/v1\b"

# Folders that every machine has: naming one of them betrays nothing.
PUBLIC_FOLDERS = {
    "/",
    "/app",
    "/home",
    "/mnt",
    "/opt",
    "/src",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def list_sources() -> list[Path]:
    found = sorted(SOURCE.rglob("*.py"))
    assert found, f"no sources under {SOURCE}"
    return found


def read_functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, Function):
            yield node


def count_arguments(function: Function) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in {"self", "cls"} for argument in named)


def list_files() -> list[Path]:
    """Every file that is, or would be, committed."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-coz", "--exclude-standard"]
    try:
        names = subprocess.run(listing, capture_output=True, check=True).stdout.split(b"\0")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return walk_files()  # no git here, or no repository: a source archive
    paths = (ROOT / os.fsdecode(name) for name in names if name)
    return [path for path in paths if path.is_file()]


def walk_files() -> list[Path]:
    """The same without git: every file that .gitignore does not name."""
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text("utf-8").split()]
    ignored.append(".git")

    def keep(path: Path) -> bool:
        names = (path.name, path.relative_to(ROOT).as_posix())
        return not any(fnmatch.fnmatch(name, mark) for name in names for mark in ignored)

    found: list[Path] = []
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder)
        folders[:] = [name for name in folders if keep(here / name)]
        found += [here / name for name in files if keep(here / name)]
    return found


def find_text(pattern: str, files: list[Path]) -> list[str]:
    """Where a text that the pattern matches stands: ``file:line: text``."""
    expression = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if (match := expression.search(line))
    ]


def read_pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text("utf-8")
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", text, re.MULTILINE))


def test_no_file_is_longer_than_the_limit() -> None:
    files = [
        path
        for room in ("src", "tests", "bench")
        for path in (ROOT / room).rglob("*.py")
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    lengths = {path.relative_to(ROOT): len(path.read_text("utf-8").splitlines()) for path in files}
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES} == {}


def test_no_function_is_longer_than_the_limit() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{function.lineno}: {function.name} has {lines} lines"
        for path in list_sources()
        for function in read_functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    ]
    assert faults == []


def test_no_function_takes_more_arguments_than_the_limit() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{function.lineno}: {function.name} takes {count}"
        for path in list_sources()
        for function in read_functions(path)
        if (count := count_arguments(function)) > ARGUMENTS
    ]
    assert faults == []


def test_no_module_has_a_banned_name() -> None:
    paths = [path.relative_to(SOURCE) for path in list_sources()]
    assert [path for path in paths if BANNED & {*path.with_suffix("").parts}] == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        path.relative_to(ROOT)
        for path in list_sources()
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_no_file_names_a_package_registry() -> None:
    assert find_text("|".join(REGISTRY_HOSTS), list_files()) == []


def test_only_the_engine_room_names_the_model_host() -> None:
    room = SOURCE / "engines"  # people pull models from there by name
    # Its inference router is a provider like others: a row, and the row's line on the page.
    rows = [SOURCE / "providers" / "catalog.toml", ROOT / "docs" / "providers.md"]
    files = [path for path in list_files() if room not in path.parents]
    assert find_text(MODEL_HOST, [path for path in files if path not in rows]) == []
    for path in rows:
        assert len(find_text(MODEL_HOST, [path])) == len(find_text(MODEL_HOST_API, [path])) == 1


def test_no_file_names_a_folder_of_this_machine() -> None:
    folders = {str(ROOT), str(ROOT.parent), str(Path.home()), sys.base_prefix} - PUBLIC_FOLDERS
    named = "|".join(re.escape(folder) for folder in sorted(folders))
    assert find_text(rf"(?<![\w.-])({named})/", list_files()) == []


def test_without_git_no_file_is_overlooked() -> None:
    assert {*list_files()} <= {*walk_files()}


def test_both_requirement_files_pin_the_same_versions() -> None:
    serve, dev = read_pins("serve.txt"), read_pins("dev.txt")
    assert serve
    assert {name: pin for name, pin in serve.items() if dev.get(name) != pin} == {}


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = {
        "serve.txt": [
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["local"],
            *project["dependency-groups"]["build"],
        ],
        "dev.txt": project["dependency-groups"]["dev"],
    }
    for name, requirements in wanted.items():
        names = {re.split(r"[^\w.-]", text, maxsplit=1)[0].lower() for text in requirements}
        assert names - read_pins(name).keys() == set(), f"run: make lock ({name})"


def test_requirement_files_name_no_place_to_install_from() -> None:
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert files
    assert find_text(r"^\s*-(?!-hash=)|://|file:", files) == []
