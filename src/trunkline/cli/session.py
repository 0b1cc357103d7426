"""A command's session with the store: opened, closed, and every failure told in one line."""

import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.store.store import Store


def run_session(data_dir: Path, action: "Callable[[Store], None]") -> int:
    """Open the store of the data folder, do the action, and return the exit code.

    What the operator can mend (a name that is taken, a file that cannot be read, a database that
    is busy) becomes one line on stderr and the code 1.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from trunkline.store.account import AccountUnknownError
    from trunkline.store.database import StoreError
    from trunkline.store.store import FILE_NAME, open_store

    try:
        with closing(open_store(data_dir / FILE_NAME)) as store:
            action(store)
    except BrokenPipeError:
        raise  # whoever reads the output has left: nothing to mend, the command line knows
    except AccountUnknownError as error:
        wanted = shlex.quote(error.account_id)
        return _fail(f"{error}; create it with: trunkline accounts create {wanted}")
    except SQLAlchemyError as error:
        return _fail(f"the database does not answer: {getattr(error, 'orig', None) or error}")
    except (StoreError, ValueError, OSError) as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    print(f"trunkline: {message}", file=sys.stderr)
    return 1
