"""``trunkline keys``: create, list and revoke API keys."""

import argparse
import os
import sys
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from trunkline.cli.session import add_config, run_session
from trunkline.cli.table import format_table, format_time

if TYPE_CHECKING:
    from trunkline.store.key import Key
    from trunkline.store.store import Store

HELP = "create, list and revoke API keys"

_PREFIX_CHARACTERS = 8  # fewer would let a slip of the finger stop the only key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``create``, ``list`` and ``revoke``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke")

    create = actions.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--account", required=True, metavar="A", help="the account it belongs to")
    create.add_argument(
        "--role",
        choices=("admin", "member"),
        default="member",
        help="an admin may act for every account (default: member)",
    )
    create.add_argument("--name", default="", metavar="N", help="what it is for, for people")
    create.add_argument(
        "--models", metavar="PATTERNS", help="only these models, e.g. 'gpt-4o,local/*'"
    )
    create.add_argument(
        "--expires",
        metavar="DATE",
        help="last day of its validity (UTC), or a moment such as 2027-01-31T18:00Z",
    )
    create.add_argument(
        "--also-for",
        action="append",
        default=[],
        metavar="A",
        help="a further account that it may act for; can be repeated",
    )
    add_config(create)

    listing = actions.add_parser("list", help="show keys, never their text")
    listing.add_argument("--account", metavar="A", help="only this account's")
    listing.add_argument("--json", action="store_true", help="as a JSON array")
    add_config(listing)

    revoke = actions.add_parser("revoke", help="stop a key within 5 seconds, for good")
    revoke.add_argument("key", metavar="ID_OR_PREFIX", help="as keys list shows it")
    add_config(revoke)


def run(args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""

    def act(store: "Store") -> None:
        if args.action == "create":
            _create(store, args)
        elif args.action == "revoke":
            _revoke(store, args.key)
        else:
            print(_show_keys(store, args.account, as_json=args.json))

    return run_session(args.data_dir, act, args.config)


def read_expiry(text: str) -> int:
    """When a key expires, in microseconds: at the end of a day, or at a moment; UTC by default.

    Raises:
        ValueError: the text is neither.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"--expires {text!r} is not a date such as 2027-01-31") from None
    else:
        moment = datetime(day.year, day.month, day.day) + timedelta(days=1)  # noqa: DTZ001 - below
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _create(store: "Store", args: argparse.Namespace) -> None:
    from trunkline.access.key import NewKey, create_key
    from trunkline.access.pepper import load_pepper

    models = None
    if args.models is not None:
        models = tuple(text.strip() for text in args.models.split(","))
    new = NewKey(
        account_id=args.account,
        name=args.name,
        role=args.role,
        models=models,
        expires_at_us=read_expiry(args.expires) if args.expires is not None else None,
        accounts=tuple(args.also_for),
    )
    pepper = load_pepper(args.data_dir, os.environ.get("TRUNKLINE_PEPPER"))
    text, key = create_key(store, pepper, new, time.time_ns() // 1000)
    print(
        f"Created key {key.id} ({key.role}) of account {key.account_id!r}. "
        "It cannot be shown again:",
        file=sys.stderr,
    )
    print(text)


def _revoke(store: "Store", text: str) -> None:
    from trunkline.access.key import SHOWN_CHARACTERS

    if text.startswith("tl-"):
        text = text[:SHOWN_CHARACTERS]  # a whole key works too, and so does a cell of the table
    if len(text) < _PREFIX_CHARACTERS:
        raise ValueError(f"give at least {_PREFIX_CHARACTERS} characters of the id or prefix")
    found = store.keys.find_by_text(text)
    exact = [key for key in found if text in (key.id, key.prefix)]
    if len(exact) == 1:
        found = exact
    if not found:
        # What was typed is not repeated: it may be a whole key.
        raise ValueError("no key has this id or prefix; see: trunkline keys list")
    if len(found) > 1:
        ids = ", ".join(key.id for key in found[:5])
        raise ValueError(f"{len(found)} keys start like this ({ids}); give the whole id")
    (key,) = found
    if key.revoked_at_us is None:
        store.keys.change_revoked(key.id, time.time_ns() // 1000)
    print(
        f"Revoked key {key.id} of account {key.account_id!r}; "
        "running gateways refuse it within 5 seconds.",
        file=sys.stderr,
    )


def _show_keys(store: "Store", account_id: str | None, *, as_json: bool) -> str:
    from trunkline.store.account import AccountUnknownError

    if account_id is not None and store.accounts.find(account_id) is None:
        raise AccountUnknownError(account_id)
    now_us = time.time_ns() // 1000
    keys = store.keys.list(account_id)
    if as_json:
        rows = [_describe_key(key, now_us) for key in keys]
        return msgspec.json.format(msgspec.json.encode(rows)).decode()
    return format_table(
        ("ID", "KEY", "ACCOUNT", "NAME", "ROLE", "MODELS", "STATE", "EXPIRES", "LAST USED"),
        [
            (
                key.id,
                f"{key.prefix}…" if key.prefix else "",
                ", ".join((key.account_id, *key.accounts)),
                key.name,
                key.role,
                "all" if key.models is None else ",".join(key.models),
                _name_state(key, now_us),
                format_time(key.expires_at_us) or "",
                format_time(key.last_used_at_us) or "",
            )
            for key in keys
        ],
    )


def _describe_key(key: "Key", now_us: int) -> dict[str, object]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "account_id": key.account_id,
        "accounts": [key.account_id, *key.accounts],
        "name": key.name,
        "role": key.role,
        "models": key.models,
        "state": _name_state(key, now_us),
        "created_at": format_time(key.created_at_us),
        "expires_at": format_time(key.expires_at_us),
        "revoked_at": format_time(key.revoked_at_us),
        "last_used_at": format_time(key.last_used_at_us),
    }


def _name_state(key: "Key", now_us: int) -> str:
    if key.revoked_at_us is not None:
        return "revoked"
    if key.expires_at_us is not None and key.expires_at_us <= now_us:
        return "expired"
    return "active"
