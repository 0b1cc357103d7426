"""``trunkline usage``: what calls used and cost, calls one by one, and how budgets stand."""

import argparse
import sys
import time
from typing import TYPE_CHECKING, Final, Literal

from trunkline.cli.session import add_config, run_session

if TYPE_CHECKING:
    from trunkline.ledger.question import Question
    from trunkline.store.store import Store

HELP: Final = "show what calls used and cost, single calls, and how budgets stand"

DEFAULT_LIMIT: Final = 50
MOST_CALLS: Final = 1_000_000

_CHOOSING: Final = ("account", "key", "model", "target", "status", "since", "until")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is chosen, how it is split, and how it is written."""
    parser.add_argument("--account", metavar="A", help="only this account's")
    parser.add_argument("--key", metavar="ID", help="only this key's, as keys list shows it")
    parser.add_argument("--model", metavar="M", help="only this model's, by its public name")
    parser.add_argument("--target", metavar="T", help="only what this provider/model answered")
    parser.add_argument(
        "--status", metavar="S", help="only complete, failed, left, refused or lost"
    )
    parser.add_argument(
        "--since",
        metavar="D",
        help="first day (UTC): 2026-01-31, 2026-01, today, yesterday, or 7d or 2w for that long "
        "ago (default: the first of the month)",
    )
    parser.add_argument("--until", metavar="D", help="last day, included (default: today)")
    parser.add_argument(
        "--by",
        action="append",
        metavar="PART",
        help="split by day, account, key, model, hour, target or status; can be repeated "
        "(default: model)",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--calls", action="store_true", help="single calls, the newest first")
    instead.add_argument("--call", metavar="ID", help="one call with its attempts")
    instead.add_argument(
        "--budgets", action="store_true", help="how the budgets of accounts and keys stand"
    )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"with --calls: at most so many (default: {DEFAULT_LIMIT})",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--csv", action="store_true", help="as CSV")
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was asked for; returns the exit code."""
    from trunkline.errors import GatewayError

    try:
        _check_combination(args)
        question = _read_question(args)
    except GatewayError as error:
        for fault in error.faults:
            print(f"trunkline: --{fault.loc[-1]}: {fault.msg}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 2

    def act(store: "Store") -> None:
        try:
            text = _write(store, args, question)
        except GatewayError as error:
            raise ValueError(f"--{error.param}: {error.faults[0].msg}") from error
        print(text, end="")

    return run_session(args.data_dir, act, args.config)


def _check_combination(args: argparse.Namespace) -> None:
    """Refuse words that would have no effect.

    Raises:
        ValueError: some would.
    """
    named = {name for name in (*_CHOOSING, "by", "limit") if getattr(args, name) is not None}
    if args.calls:
        instead, useless = "--calls", named & {"by"}
    elif args.call is not None:
        instead, useless = "--call", named | ({"csv"} if args.csv else set())
    elif args.budgets:
        instead, useless = "--budgets", named - {"account", "key"}
    else:
        instead, useless = "sums", named & {"limit"}
    if useless:
        raise ValueError(f"--{min(useless)} says nothing about {instead}; leave it out")
    if args.limit is not None and not 1 <= args.limit <= MOST_CALLS:
        raise ValueError(f"--limit: It is from 1 to {MOST_CALLS:,}")


def _read_question(args: argparse.Namespace) -> "Question":
    from trunkline.ledger.question import read_question

    query = {name: text for name in _CHOOSING if (text := getattr(args, name)) is not None}
    if args.by:
        query["by"] = ",".join(args.by)
    return read_question(query, time.time_ns() // 1000)


def _write(store: "Store", args: argparse.Namespace, question: "Question") -> str:
    import msgspec

    from trunkline.cli.budget import list_budgets, write_budgets
    from trunkline.cli.call import write_call, write_calls
    from trunkline.ledger.report import draw_sheet
    from trunkline.ledger.sheet import write_csv, write_json, write_table

    form: Literal["table", "json", "csv"] = "json" if args.json else "csv" if args.csv else "table"
    if args.call is not None:
        found = store.ledger.find_entry(args.call) if args.call.isprintable() else None
        if found is None:
            raise ValueError("there is no such call, or it has not been shipped yet")
        return write_call(found, form)
    if args.budgets:
        now_us = time.time_ns() // 1000
        return write_budgets(list_budgets(store, args.account, args.key, now_us), form)
    if args.calls:
        choice = question.choice
        if args.since is None:
            choice = msgspec.structs.replace(choice, since_day=None)
        return write_calls(store.usage.list_calls(choice, args.limit or DEFAULT_LIMIT), form)
    sheet = draw_sheet(store, question)
    if form == "csv":
        return write_csv(sheet)
    if form == "json":
        return msgspec.json.format(write_json(sheet)).decode() + "\n"
    return write_table(sheet) + "\n"
