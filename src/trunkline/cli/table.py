"""Tables and times as the command line prints them."""

from collections.abc import Sequence
from datetime import UTC, datetime


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with aligned columns; an empty cell shows as ``-``."""
    cells = [list(head), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def format_time(time_us: int | None) -> str | None:
    """Microseconds since 1970 as ISO 8601 in UTC, to the second; None stays None."""
    if time_us is None:
        return None
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
