"""``trunkline models``: list the model names and files that are known, and fetch files."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trunkline.catalog import CatalogRow
    from trunkline.engines.model import ModelFile

HELP = "list the known model names and files, and pull files for embedded engines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two commands."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = commands.add_parser(
        "list", help="show every model name of the catalog, and the model files"
    )
    listing.add_argument("--json", action="store_true", help="as JSON, for scripts")
    pull = commands.add_parser("pull", help="fetch a model file into the cache")
    pull.add_argument(
        "ref",
        metavar="NAME|hf:OWNER/NAME/FILE|URL",
        help="a known name or an address; add #sha256=… to have the checksum verified. "
        "HF_TOKEN is sent for hf: addresses",
    )


def run(args: argparse.Namespace) -> int:
    """Run ``list`` or ``pull``; what went wrong is one line on standard error."""
    if args.action == "list":
        return _show_models(args)
    from trunkline.engines.model import ModelError, pull_model
    from trunkline.engines.progress import ProgressBar

    try:
        token = os.environ.get("HF_TOKEN") or None
        path = pull_model(args.ref, args.cache_dir, ProgressBar(sys.stderr), token=token)
    except ModelError as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


def _show_models(args: argparse.Namespace) -> int:
    import msgspec

    from trunkline.catalog import read_catalog
    from trunkline.engines.model import list_models

    names = read_catalog().models
    files = list_models(args.cache_dir)
    if args.json:
        shown = {
            "names": [{"name": name} | msgspec.structs.asdict(row) for name, row in names.items()],
            "files": [msgspec.structs.asdict(file) | {"path": str(file.path)} for file in files],
        }
        print(msgspec.json.format(msgspec.json.encode(shown)).decode())
        return 0
    _print_names(names)
    print()
    _print_files(files)
    return 0


def _print_names(names: "Mapping[str, CatalogRow]") -> None:
    from trunkline.cli.table import format_table

    head = ("NAME", "VENDOR", "KIND", "CONTEXT", "TAKES", "STATUS", "SERVED BY", "REPLACEMENT")
    cells = [
        (
            name,
            row.vendor,
            row.kind,
            str(row.context_window or ""),
            ",".join(word for word in ("images", "tools", "reasoning") if getattr(row, word)),
            f"{row.status} {row.retired_on}".strip(),
            ",".join(row.native),
            row.replacement,
        )
        for name, row in names.items()
    ]
    print(format_table(head, cells))


def _print_files(files: "Sequence[ModelFile]") -> None:
    from trunkline.cli.table import format_table

    head = ("MODEL FILE", "PULLED", "SIZE", "LICENCE", "PATH")
    cells = [
        (
            file.name,
            "yes" if file.pulled else "no",
            f"{file.size_bytes / 1e6:.0f} MB" if file.size_bytes else "",
            file.licence or "",
            str(file.path),
        )
        for file in files
    ]
    print(format_table(head, cells))
