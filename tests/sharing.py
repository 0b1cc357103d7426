"""How several workers share the tests: a file is one worker's, and the engine is one worker's.

What runs the embedded engine takes all cores, and the SDKs' own port is one: these tests stay
together and begin first, and so does what takes long, that no worker is left with it at the end.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

ENGINE = "engine"
"""The group of the files below; every other file is a group of its own."""
ENGINE_FILES = (
    "tests/cli/test_serve.py",
    "tests/engines/",
    "tests/real/",
    "tests/sdk/test_embedded.py",
    "tests/sdk/test_engine.py",
    "tests/sdk/test_readme.py",
)
LONG_MARKS = ("sdk", "slow")


def find_group(node_id: str) -> str:
    """What is run by the same worker as this test."""
    return ENGINE if node_id.startswith(ENGINE_FILES) else node_id.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    alone = [item.nodeid for item in items if item.get_closest_marker("model")]
    strays = {group for group in map(find_group, alone) if group != ENGINE}
    if strays:
        raise pytest.UsageError(f"marked model, and not in ENGINE_FILES of {__file__}: {strays}")
    long = {item.path for item in items if any(map(item.get_closest_marker, LONG_MARKS))}
    items.sort(key=lambda item: (find_group(item.nodeid) != ENGINE, item.path not in long))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "Scheduling":
    """By group, in the order above."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return find_group(nodeid)

    config.option.loadscopereorder = False  # the most numerous files would begin first
    return ByGroup(config, log)
