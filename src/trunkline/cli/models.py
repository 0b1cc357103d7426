"""``trunkline models``: list the model files for embedded engines, and fetch them."""

import argparse
import os
import sys

HELP = "list and pull model files for embedded engines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two commands."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = commands.add_parser("list", help="show the known and the fetched model files")
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

    from trunkline.cli.table import format_table
    from trunkline.engines.model import list_models

    models = list_models(args.cache_dir)
    if args.json:
        rows = [msgspec.structs.asdict(model) | {"path": str(model.path)} for model in models]
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return 0
    head = ("MODEL", "PULLED", "SIZE", "LICENCE", "PATH")
    cells = [
        (
            model.name,
            "yes" if model.pulled else "no",
            f"{model.size_bytes / 1e6:.0f} MB" if model.size_bytes else "",
            model.licence or "",
            str(model.path),
        )
        for model in models
    ]
    print(format_table(head, cells))
    return 0
