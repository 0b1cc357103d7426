"""What a machine does not have: tests that need it are left out, and the last lines say so once.

With several workers each leaves out the same tests, and the process that started them speaks.
"""

from collections.abc import Callable
from typing import Any

import pytest

Absent = dict[str, int]
"""How many tests were left out, by what is written behind the number."""

_ABSENT = pytest.StashKey[Absent]()
_OUTPUT = "absent"


def leave_out(
    config: pytest.Config,
    items: list[pytest.Item],
    is_left_out: Callable[[pytest.Item], bool],
    words: str,
) -> None:
    """Take tests out of the run.

    Args:
        config: pytest's.
        items: what was collected; changed.
        is_left_out: which of them cannot run here.
        words: what they are, and how they can be run after all.
    """
    left_out = [item for item in items if is_left_out(item)]
    if left_out:
        _find(config)[words] = len(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not is_left_out(item)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand it from a worker to the process that started it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = _find(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it from a worker; one that crashed has none."""
    _find(node.config).update(getattr(node, "workeroutput", {}).get(_OUTPUT, {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for words, count in _find(config).items():
        terminalreporter.write_line(f"left out: {count} tests on {words}")


def _find(config: pytest.Config) -> Absent:
    return config.stash.setdefault(_ABSENT, {})
