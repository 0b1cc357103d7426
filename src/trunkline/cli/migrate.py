"""``trunkline migrate``: brings the database to the newest schema without starting anything."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

HELP: Final = "bring the database to the newest schema"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file whose store.url is meant; without it the file in the data folder",
    )


def run(args: argparse.Namespace) -> int:
    """Migrate and say from which revision to which; 1 when it fails, 2 when the file is faulty."""
    from trunkline.catalog import read_catalog
    from trunkline.observe.log import configure_log
    from trunkline.settings import read_settings
    from trunkline.store.address import locate_store
    from trunkline.store.database import StoreError
    from trunkline.store.store import migrate_store
    from trunkline.toml import FileError

    configure_log()
    url = "sqlite"
    try:
        if args.config is not None:
            url = read_settings(args.config, read_catalog(), os.environ).store.url
        done = migrate_store(locate_store(url, args.data_dir))
    except FileError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 2
    except (StoreError, ValueError) as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 1
    if done.before is None:
        print(f"{done.name}: created at revision {done.after}")
    elif done.before == done.after:
        print(f"{done.name}: already at revision {done.after}")
    else:
        print(f"{done.name}: migrated from revision {done.before} to {done.after}")
    return 0
