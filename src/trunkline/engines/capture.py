"""The engine's log: a bounded file and the last lines in memory, without parts of requests."""

import re
from collections import deque
from pathlib import Path
from typing import Final

LIMIT_BYTES: Final = 5_000_000
LINE_BYTES: Final = 2_000
_LAST_LINES: Final = 8

# Once calls run, only lines of a known shape are kept: llama.cpp's own stamped lines, and what
# a dying native process says. It prints a grammar that it cannot parse as it came, for one.
_SAFE: Final = re.compile(
    rb"\d+\.\d{2}\.\d{3}\.\d{3} [EWI] |engine \S+ (?:is ready on|cannot be sealed:) "
    rb"|.*GGML_ASSERT|.*GGML_ABORT|CUDA error|ggml_\w+:|terminate called|Fatal Python error"
    rb"|Traceback"
)


class EngineLog:
    """Takes an engine's output line by line; the file never grows past twice the limit.

    Args:
        path: the file; when it is full it becomes ``<path>.1``, in place of an older one.
        limit_bytes: when it is full.
    """

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    def add(self, line: bytes, *, serving: bool) -> None:
        """Keep one line; while calls run (``serving``), only if its shape is known as safe."""
        line = line[:LINE_BYTES].rstrip()
        if not line or (serving and not _SAFE.match(line)):
            return
        if self._file.tell() + len(line) > self._limit_bytes:
            self._rotate()
        self._file.write(line + b"\n")
        self._last.append(line.decode("utf-8", "replace"))

    def read_last(self) -> list[str]:
        """Return the last lines, oldest first, 8 at most."""
        return list(self._last)

    def forget_last(self) -> None:
        """Forget the lines in memory: what follows is another process's."""
        self._last.clear()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        self.path.replace(self.path.with_name(self.path.name + ".1"))
        self._file = self.path.open("ab", buffering=0)
