"""Reports: what calls used, summed up as a question asks, from the store it is given.

``question`` says what can be asked, ``sheet`` how a report is written.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Final

import msgspec

from trunkline.errors import FieldFault, GatewayError
from trunkline.ledger.question import Question, find_day, read_question
from trunkline.ledger.sheet import Sheet, write_csv, write_json
from trunkline.store.store import Store
from trunkline.store.usage import Share, Sums, TooManySharesError, knows_only_calls

MOST_ROWS: Final = 50_000
"""How many rows an answer of the admin API has at most."""


def make_report(store: Store, query: Mapping[str, str], now_us: int) -> tuple[bytes, str]:
    """A report as the admin API answers it: the body and its media type.

    Args:
        store: asked for the sums; the call waits for its database.
        query: the parameters; see ``read_question``.
        now_us: microseconds since 1970.

    Raises:
        GatewayError: ``validation_error``: a parameter is wrong or unknown, names an account or
            key that does not exist, or asks for more than is kept or can be answered.
    """
    question = read_question(query, now_us)
    sheet = draw_sheet(store, question, MOST_ROWS)
    if question.form == "csv":
        return write_csv(sheet).encode(), "text/csv; charset=utf-8; header=present"
    return write_json(sheet), "application/json"


def draw_sheet(store: Store, question: Question, most_rows: int | None = None) -> Sheet:
    """Sum up what the question asks.

    Args:
        store: asked for the sums.
        question: what is asked.
        most_rows: how many rows it can have; None for any number.

    Raises:
        GatewayError: ``validation_error``: it names an account or key that does not exist, asks
            for what only the calls know on days whose calls were removed, or has more rows.
    """
    choice, by = question.choice, question.by
    if knows_only_calls(choice, by):
        _require_calls(store, question)
    try:
        rows = store.usage.list_shares(choice, by, most_rows)
    except TooManySharesError as error:
        raise _refuse("by", f"With these, {error}; ask for fewer at a time") from None
    if not rows:
        _require_known(store, question)
    rows.sort(key=attrgetter("parts"))
    names = {key.id: key.name for key in store.keys.list()} if "key" in by else {}
    return Sheet(question, rows, add_up(rows), names)


def add_up(rows: list[Share]) -> Sums:
    """The sums of all rows."""
    return Sums(*map(sum, zip(*(msgspec.structs.astuple(row.sums) for row in rows), strict=True)))


def _require_calls(store: Store, question: Question) -> None:
    kept_day = store.usage.find_kept_day(question.choice)
    if kept_day is not None:
        day = find_day(kept_day)
        raise _refuse(
            "since",
            "Hours, targets and statuses are known only of single calls, which are kept from "
            f"{day} on; ask since that day, or for days, accounts, keys and models",
        )


def _require_known(store: Store, question: Question) -> None:
    """A name that nobody has is more likely a slip than something that used nothing."""
    account_id, key_id = question.choice.account_id, question.choice.key_id
    if account_id is not None and store.accounts.find(account_id) is None:
        raise _refuse("account", f"There is no account {account_id!r}")
    if key_id is not None and store.keys.find(key_id) is None:
        raise _refuse("key", "There is no key with this id")


def _refuse(name: str, message: str) -> GatewayError:
    fault = FieldFault(("query", name), message, "value_error")
    return GatewayError("validation_error", f"query.{name}: {message}", param=name, faults=(fault,))
