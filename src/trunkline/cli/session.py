"""A command's session with the store: opened, closed, and every failure told in one line."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.store.store import Store


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare the option that says which store is meant."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file whose store.url is meant; without it the file in the data folder",
    )


def run_session(
    data_dir: Path, action: "Callable[[Store], None]", config: Path | None = None
) -> int:
    """Open the store, do the action, and return the exit code.

    What the operator can mend (a name that is taken, a file that cannot be read, a database that
    is busy) becomes one line on stderr and the code 1; faults of the configuration, a line each,
    the code 2.

    Args:
        data_dir: the folder of the store, unless the configuration names a server.
        action: what to do with the store.
        config: the configuration file; None for the store in the data folder.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from trunkline.store.account import AccountUnknownError
    from trunkline.store.address import locate_store
    from trunkline.store.database import StoreError, explain_error
    from trunkline.store.store import open_store
    from trunkline.toml import FileError

    try:
        url = _read_url(config) if config else "sqlite"
        with closing(open_store(locate_store(url, data_dir))) as store:
            action(store)
    except FileError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # whoever reads the output has left: nothing to mend, the command line knows
    except AccountUnknownError as error:
        wanted = shlex.quote(error.account_id)
        return _fail(f"{error}; create it with: trunkline accounts create {wanted}")
    except SQLAlchemyError as error:
        return _fail(f"the database does not answer: {explain_error(error)}")
    except (StoreError, ValueError, OSError) as error:
        return _fail(str(error))
    return 0


def _read_url(config: Path) -> str:
    from trunkline.catalog import read_catalog
    from trunkline.settings import read_settings

    return read_settings(config, read_catalog(), os.environ).store.url


def _fail(message: str) -> int:
    print(f"trunkline: {message}", file=sys.stderr)
    return 1
