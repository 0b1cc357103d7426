"""How a fetch tells a person how far it is."""

import time
from typing import Final, Protocol, TextIO

_BAR_CELLS: Final = 30
_REDRAW_S: Final = 0.1
_PLAIN_STEP_PERCENT: Final = 10


class Progress(Protocol):
    """Hears of a fetch: what it is doing, and how many bytes are there."""

    def say(self, line: str) -> None:
        """Take one line for the person who waits."""
        ...

    def advance(self, done_bytes: int, total_bytes: int | None) -> None:
        """Take how much is there, and of how much, if the server said."""
        ...


class Silence:
    """A progress that nobody watches."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def advance(self, done_bytes: int, total_bytes: int | None) -> None:
        """Drop the numbers."""


class ProgressBar:
    """Draws a bar on a terminal; elsewhere it writes a plain line for every tenth.

    Args:
        stream: where to; standard error, so that standard output stays for results.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = False
        self._began: tuple[float, int] | None = None
        self._redraw_at = 0.0
        self._next_percent = 0

    def say(self, line: str) -> None:
        """Write one line, below the bar if one is drawn."""
        self._stream.write(f"\n{line}\n" if self._drawn else f"{line}\n")
        self._stream.flush()
        self._drawn, self._began, self._next_percent = False, None, 0

    def advance(self, done_bytes: int, total_bytes: int | None) -> None:
        """Draw the bar again, ten times a second at most."""
        now = time.monotonic()
        if self._began is None:
            self._began = (now, done_bytes)
        began_s, began_bytes = self._began
        percent = 100 * done_bytes // total_bytes if total_bytes else 0
        whole = done_bytes == total_bytes
        speed = (done_bytes - began_bytes) / max(now - began_s, 1e-3) / 1e6
        of_total = f"{done_bytes / 1e6:.1f} of {total_bytes / 1e6:.1f}" if total_bytes else ""
        numbers = f"{of_total or f'{done_bytes / 1e6:.1f}'} MB, {speed:.1f} MB/s"
        if self._stream.isatty():
            if now >= self._redraw_at or whole:
                self._redraw_at = now + _REDRAW_S
                cells = _BAR_CELLS * percent // 100
                bar = "#" * cells + "." * (_BAR_CELLS - cells)
                self._stream.write(f"\r[{bar}] {percent:3d} %  {numbers}  ")
                self._drawn = True
        elif total_bytes and percent >= self._next_percent:
            self._next_percent = percent - percent % _PLAIN_STEP_PERCENT + _PLAIN_STEP_PERCENT
            self._stream.write(f"{percent} %, {numbers}\n")
        self._stream.flush()
