"""``trunkline accounts``: create, list and change the accounts that calls are counted for."""

import argparse
import sys
from typing import TYPE_CHECKING

import msgspec

from trunkline.cli.operator import open_roster
from trunkline.cli.session import add_config, run_session
from trunkline.cli.table import format_table, format_time
from trunkline.cli.term import (
    add_terms,
    change_terms,
    describe_terms,
    names_terms,
    show_budgets,
    show_limits,
)
from trunkline.terms import NO_ACCOUNT_TERMS, AccountTerms

if TYPE_CHECKING:
    from trunkline.access.roster import AccountChange
    from trunkline.store.account import Account
    from trunkline.store.store import Store

HELP = "create, list and change accounts"
_POLICIES = ("leaving", "over_budget", "share", "priority")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``create``, ``list`` and ``set``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|set")

    create = actions.add_parser("create", help="add an account")
    create.add_argument("id", help="any text, spaces included; what x-selected-account-id names")
    create.add_argument("--name", default="", metavar="TEXT", help="who it is, for people")
    _add_terms(create)
    add_config(create)

    listing = actions.add_parser("list", help="show every account")
    listing.add_argument("--json", action="store_true", help="as a JSON array")
    add_config(listing)

    change = actions.add_parser("set", help="change an account; counts within 5 seconds")
    change.add_argument("id", help="as accounts list shows it")
    change.add_argument("--name", metavar="TEXT", help="who it is, for people")
    change.add_argument(
        "--status", choices=("active", "suspended"), help="suspended: none of its keys works"
    )
    _add_terms(change)
    add_config(change)


def run(args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""

    def act(store: "Store") -> None:
        if args.action == "create":
            terms = _change_terms(args, NO_ACCOUNT_TERMS)
            account = open_roster(store).create_account(args.id, args.name, terms)
            print(f"Created account {account.id!r}{_say_terms(account)}.", file=sys.stderr)
        elif args.action == "set":
            _set(store, args)
        else:
            print(_show_accounts(store, as_json=args.json))

    return run_session(args.data_dir, act, args.config)


def _add_terms(parser: argparse.ArgumentParser) -> None:
    add_terms(parser)
    parser.add_argument(
        "--leaving",
        choices=("cancel", "drain"),
        help="when a client leaves: cancel the upstream's answer and count what came, or read it "
        "to its end to learn the upstream's own count (default: cancel)",
    )
    parser.add_argument(
        "--over-budget",
        choices=("refuse", "clamp"),
        help="a call that may not fit into what is left of a budget: refuse it, or shorten its "
        "answer to what fits (default: refuse)",
    )
    parser.add_argument(
        "--share",
        type=int,
        metavar="N",
        help="where calls wait for an upstream: so many of this account's are served for each of "
        "an account with a share of 1 (1 to 1000; default: 1)",
    )
    parser.add_argument(
        "--priority",
        choices=("high", "normal", "low"),
        help="where calls wait for an upstream: higher ones go first (default: normal)",
    )


def _change_terms(args: argparse.Namespace, terms: AccountTerms) -> AccountTerms:
    policies = {name: value for name in _POLICIES if (value := getattr(args, name)) is not None}
    return change_terms(args, msgspec.structs.replace(terms, **policies))


def _set(store: "Store", args: argparse.Namespace) -> None:
    from trunkline.access.roster import AccountChange

    is_terms = names_terms(args) or any(getattr(args, name) is not None for name in _POLICIES)
    if not is_terms and args.name is None and args.status is None:
        raise ValueError("nothing to change; give an option, see: trunkline accounts set --help")

    def decide(account: "Account") -> "AccountChange":
        terms = _change_terms(args, account.terms) if is_terms else None
        return AccountChange(name=args.name, status=args.status, terms=terms)

    account = open_roster(store).edit_account(args.id, decide)
    print(
        f"Changed account {account.id!r} ({account.status}){_say_terms(account)}; "
        "running gateways know within 5 seconds.",
        file=sys.stderr,
    )


def _say_terms(account: "Account") -> str:
    shown = (show_limits(account.terms.limits), show_budgets(account.terms.budgets))
    return f": {', '.join(filter(None, shown))}" if any(shown) else ""


def _show_accounts(store: "Store", *, as_json: bool) -> str:
    accounts = store.accounts.list()
    if as_json:
        rows = [
            {
                "id": account.id,
                "name": account.name,
                "status": account.status,
                "created_at": format_time(account.created_at_us),
                **describe_terms(account.terms),
            }
            for account in accounts
        ]
        return msgspec.json.format(msgspec.json.encode(rows)).decode()
    return format_table(
        ("ID", "NAME", "STATUS", "LIMITS", "BUDGETS", "SHARE", "PRIORITY", "CREATED"),
        [
            (
                account.id,
                account.name,
                account.status,
                show_limits(account.terms.limits),
                show_budgets(account.terms.budgets),
                str(account.terms.share),
                account.terms.priority,
                format_time(account.created_at_us) or "",
            )
            for account in accounts
        ],
    )
