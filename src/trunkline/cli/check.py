"""``trunkline check``: validates a configuration file without starting anything."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

HELP: Final = "validate a configuration file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path, help="the TOML file")


def run(args: argparse.Namespace) -> int:
    """Print the faults, one a line, or what the file configures; 2 when there are faults."""
    from trunkline.catalog import read_catalog
    from trunkline.observe.log import configure_log
    from trunkline.settings import read_settings
    from trunkline.toml import FileError

    configure_log()
    try:
        settings = read_settings(args.file, read_catalog(), os.environ)
    except FileError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 2
    print(
        f"{args.file}: ok: {len(settings.providers)} providers, {len(settings.engines)} engines, "
        f"{len(settings.models)} models"
    )
    return 0
