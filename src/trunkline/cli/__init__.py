"""The command line: one module a command, imported when it is asked for."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from trunkline import __version__

COMMANDS: Final = {
    "serve": "start the gateway",
    "check": "validate a configuration file",
    "explain": "show which targets a model's calls would go to, why, and at what price",
    "chaos": "play an upstream's faults against a configuration",
    "mock": "start an upstream with faults on demand",
    "migrate": "bring the database to the newest schema",
    "accounts": "create, change and list accounts",
    "keys": "create, change, rotate, revoke and list API keys",
    "usage": "show what was used, by model, day, key or account",
    "prices": "show what a model costs, and price past calls anew",
    "models": "list and pull model files for embedded engines",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage or settings."""
    words = list(sys.argv[1:] if argv is None else argv)
    places, words = _take_places(words)
    parser = argparse.ArgumentParser(
        prog="trunkline",
        description="One line to every model: a self-hosted LLM inference gateway.",
        epilog="Every command takes --data-dir DIR (else TRUNKLINE_DATA_DIR, else the XDG data "
        "folder). Model files live in TRUNKLINE_CACHE_DIR, else the XDG cache folder.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"trunkline {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=summary.capitalize() + ".", allow_abbrev=False
        )
        if name == chosen:
            import_module(f"trunkline.cli.{name}").add_arguments(command)
    args = parser.parse_args(words, places)
    try:
        code = import_module(f"trunkline.cli.{args.command}").run(args)
    except KeyboardInterrupt:
        print("trunkline: interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return int(code)


def _take_places(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The folders, wherever in the line they were named, and the other words."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data-dir", type=Path)
    places, rest = parser.parse_known_args(words)
    places.data_dir = places.data_dir or find_dir(os.environ, "DATA", ".local/share")
    places.cache_dir = find_dir(os.environ, "CACHE", ".cache")
    return places, rest


def find_dir(environ: Mapping[str, str], kind: str, default: str) -> Path:
    """The data or cache folder: our own variable, else XDG's, else XDG's default.

    XDG Base Directory Specification 0.8 (read 2026-11-21): relative paths are ignored.
    """
    own = environ.get(f"TRUNKLINE_{kind}_DIR")
    if own:
        return Path(own).expanduser()
    xdg = Path(environ.get(f"XDG_{kind}_HOME", ""))
    root = xdg if xdg.is_absolute() else Path.home() / default
    return root / "trunkline"


if __name__ == "__main__":
    sys.exit(main())
