"""Attempts as they are asked for: those with a row of their own, and those that an entry tells.

Nearly every call has one attempt, of which its entry says all: to write that again would cost a
third of what shipping an entry costs. Such an attempt has no row, and is read off its entry.
"""

from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Subquery, case, func, or_, select

from trunkline.store.posting import AttemptRow
from trunkline.store.schema import ATTEMPTS, ENTRIES


def _build_attempts() -> Subquery:
    own = ATTEMPTS.c.entry_id.is_not(None)
    waited_us = ENTRIES.c.queue_us
    told: dict[str, ColumnElement[Any]] = {
        "entry_id": ENTRIES.c.id,
        "number": func.coalesce(ATTEMPTS.c.number, 1),
        # Until the first content and in all, from when the call was sent.
        "first_token_us": case(
            (own, ATTEMPTS.c.first_token_us), else_=ENTRIES.c.first_token_us - waited_us
        ),
        "total_us": func.coalesce(ATTEMPTS.c.total_us, ENTRIES.c.total_us - waited_us),
    }
    columns: list[ColumnElement[Any]] = [ENTRIES.c.at_us, ENTRIES.c.model]
    for name in AttemptRow.__struct_fields__:
        column: Column[Any] = ATTEMPTS.c[name]
        if name in told:
            columns.append(told[name].label(name))
        else:
            # The row's own may be NULL, as a cost is.
            columns.append(case((own, column), else_=ENTRIES.c[name]).label(name))
    joined = ENTRIES.outerjoin(ATTEMPTS, ATTEMPTS.c.entry_id == ENTRIES.c.id)
    found = select(*columns).select_from(joined).where(or_(own, ENTRIES.c.attempts == 1))
    return found.subquery("tries")


TRIES: Final = _build_attempts()
"""Every attempt, with the time and the model of its entry, and the columns of ``AttemptRow``."""
