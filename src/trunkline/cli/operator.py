"""The operator: who sits at the command line, and the roster as it is changed from there."""

import os
import pwd
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.access.roster import Roster
    from trunkline.store.store import Store


def open_roster(store: "Store", pepper: bytes = b"") -> "Roster":
    """The roster, for the one who sits here.

    Args:
        store: where accounts and keys are kept.
        pepper: 32 bytes; not needed where no key is made.
    """
    from trunkline.access.roster import Roster

    return Roster(store, pepper, name_operator(), lambda: time.time_ns() // 1000)


def name_operator() -> str:
    """Who sits here, for the audit: ``cli:`` and the login name, or the number of who has none.

    The environment is not asked: it says whatever it was told.
    """
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        return f"cli:{number}"  # usual in containers
    return f"cli:{name}" if name.isprintable() else f"cli:{number}"
