"""``trunkline accounts``: create and list the accounts that calls are counted for."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from trunkline.cli.session import add_config, run_session
from trunkline.cli.table import format_table, format_time

if TYPE_CHECKING:
    from trunkline.store.store import Store

HELP = "create and list accounts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``create`` and ``list``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list")

    create = actions.add_parser("create", help="add an account")
    create.add_argument("id", help="any text, spaces included; what x-selected-account-id names")
    create.add_argument("--name", default="", metavar="TEXT", help="who it is, for people")
    add_config(create)

    listing = actions.add_parser("list", help="show every account")
    listing.add_argument("--json", action="store_true", help="as a JSON array")
    add_config(listing)


def run(args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""

    def act(store: "Store") -> None:
        if args.action == "create":
            store.accounts.create(args.id, args.name, time.time_ns() // 1000)
            print(f"Created account {args.id!r}.", file=sys.stderr)
        else:
            print(_show_accounts(store, as_json=args.json))

    return run_session(args.data_dir, act, args.config)


def _show_accounts(store: "Store", *, as_json: bool) -> str:
    rows = [
        {
            "id": account.id,
            "name": account.name,
            "status": account.status,
            "created_at": format_time(account.created_at_us),
        }
        for account in store.accounts.list()
    ]
    if as_json:
        return msgspec.json.format(msgspec.json.encode(rows)).decode()
    return format_table(
        ("ID", "NAME", "STATUS", "CREATED"),
        [[value or "" for value in row.values()] for row in rows],
    )
