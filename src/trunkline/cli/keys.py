"""``trunkline keys``: create, list, change, rotate and revoke API keys."""

import argparse
import os
import sys
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline.cli.operator import open_roster
from trunkline.cli.session import add_config, run_session
from trunkline.cli.table import format_table, format_time
from trunkline.cli.term import (
    NONE,
    add_terms,
    change_terms,
    describe_terms,
    names_terms,
    read_duration_s,
    show_budgets,
    show_limits,
)
from trunkline.terms import NO_TERMS

if TYPE_CHECKING:
    from trunkline.access.roster import KeyChange
    from trunkline.store.key import Key
    from trunkline.store.store import Store

HELP = "create, list, change, rotate and revoke API keys"

_PREFIX_CHARACTERS = 8  # fewer would let a slip of the finger stop the only key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``create``, ``list``, ``set``, ``rotate`` and ``revoke``."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="create|list|set|rotate|revoke"
    )
    create = actions.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--account", required=True, metavar="A", help="the account it belongs to")
    create.add_argument(
        "--role",
        choices=("admin", "member"),
        default="member",
        help="an admin may act for every account (default: member)",
    )
    _add_wishes(create)

    listing = actions.add_parser("list", help="show keys, never their text")
    listing.add_argument("--account", metavar="A", help="only this account's")
    listing.add_argument("--json", action="store_true", help="as a JSON array")
    add_config(listing)

    change = actions.add_parser("set", help="change a key; counts within 5 seconds")
    _add_key(change)
    _add_wishes(change)

    rotate = actions.add_parser("rotate", help="make a key's successor and print it, this once")
    _add_key(rotate)
    rotate.add_argument(
        "--overlap",
        default="24h",
        metavar="TIME",
        help="how long the old key goes on, such as 30m, 24h, 7d, or 0 (default: 24h)",
    )
    add_config(rotate)

    revoke = actions.add_parser("revoke", help="stop a key within 5 seconds, for good")
    _add_key(revoke)
    add_config(revoke)


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="ID_OR_PREFIX", help="as keys list shows it")


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    """Declare what can be wanted of a key, new or not."""
    parser.add_argument("--name", metavar="N", help="what it is for, for people")
    parser.add_argument(
        "--models",
        metavar="PATTERNS",
        help="only these models, e.g. 'gpt-4o,local/*'; 'none' for no such restriction",
    )
    parser.add_argument(
        "--expires",
        metavar="DATE",
        help="last day of its validity (UTC), or a moment such as 2027-01-31T18:00Z; "
        "'none' for never",
    )
    parser.add_argument(
        "--also-for",
        action="append",
        metavar="A",
        help="a further account that it may act for; can be repeated; 'none' for no other",
    )
    add_terms(parser)
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""

    def act(store: "Store") -> None:
        match args.action:
            case "create":
                _create(store, args)
            case "set":
                _set(store, args)
            case "rotate":
                _rotate(store, args)
            case "revoke":
                _revoke(store, args.key)
            case _:
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
        if day == date.max:
            raise ValueError(f"--expires {text!r} is as good as never: use 'none', or leave it out")
        moment = datetime(day.year, day.month, day.day) + timedelta(days=1)  # noqa: DTZ001 - below
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _read_wishes(args: argparse.Namespace) -> dict[str, Any]:
    """What was wanted of a key apart from its terms: fields of ``NewKey`` and ``KeyChange``."""
    wanted: dict[str, Any] = {}
    if args.name is not None:
        wanted["name"] = args.name
    if args.models is not None:
        patterns = tuple(text.strip() for text in args.models.split(","))
        wanted["models"] = None if patterns == (NONE,) else patterns
    if args.expires is not None:
        wanted["expires_at_us"] = None if args.expires == NONE else read_expiry(args.expires)
    if args.also_for is not None:
        wanted["accounts"] = () if args.also_for == [NONE] else tuple(args.also_for)
    return wanted


def _load_pepper(args: argparse.Namespace) -> bytes:
    from trunkline.access.pepper import load_pepper

    return load_pepper(args.data_dir, os.environ.get("TRUNKLINE_PEPPER"))


def _create(store: "Store", args: argparse.Namespace) -> None:
    from trunkline.access.key import NewKey

    new = NewKey(
        account_id=args.account,
        role=args.role,
        terms=change_terms(args, NO_TERMS),
        **_read_wishes(args),
    )
    text, key = open_roster(store, _load_pepper(args)).create_key(new)
    print(
        f"Created key {key.id} ({key.role}) of account {key.account_id!r}. "
        "It cannot be shown again:",
        file=sys.stderr,
    )
    print(text)


def _set(store: "Store", args: argparse.Namespace) -> None:
    from trunkline.access.roster import KeyChange

    wanted, is_terms = _read_wishes(args), names_terms(args)
    if not wanted and not is_terms:
        raise ValueError("nothing to change; give an option, see: trunkline keys set --help")

    def decide(key: "Key") -> "KeyChange":
        terms = change_terms(args, key.terms) if is_terms else msgspec.UNSET
        return KeyChange(terms=terms, **wanted)

    key = open_roster(store).edit_key(_find_key(store, args.key).id, decide)
    shown = ", ".join(
        filter(None, (show_limits(key.terms.limits), show_budgets(key.terms.budgets)))
    )
    print(
        f"Changed key {key.id} of account {key.account_id!r}{shown and f': {shown}'}; "
        "running gateways know within 5 seconds.",
        file=sys.stderr,
    )


def _rotate(store: "Store", args: argparse.Namespace) -> None:
    overlap_s = read_duration_s("--overlap", args.overlap)
    old_id = _find_key(store, args.key).id
    text, key = open_roster(store, _load_pepper(args)).rotate_key(old_id, overlap_s)
    old = store.keys.find(old_id)
    ends = format_time(old.expires_at_us) if old else None
    print(
        f"Created key {key.id} ({key.role}) of account {key.account_id!r} after {old_id}, "
        f"which works until {ends}. It cannot be shown again:",
        file=sys.stderr,
    )
    print(text)


def _revoke(store: "Store", text: str) -> None:
    key = open_roster(store).revoke_key(_find_key(store, text).id)
    print(
        f"Revoked key {key.id} of account {key.account_id!r}; "
        "running gateways refuse it within 5 seconds.",
        file=sys.stderr,
    )


def _find_key(store: "Store", text: str) -> "Key":
    """The key that the operator means: by its id, its prefix, the start of either, or its text."""
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
    return found[0]


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
        (
            "ID",
            "KEY",
            "ACCOUNT",
            "NAME",
            "ROLE",
            "MODELS",
            "LIMITS",
            "BUDGETS",
            "STATE",
            "EXPIRES",
            "LAST USED",
        ),
        [
            (
                key.id,
                f"{key.prefix}…" if key.prefix else "",
                ", ".join((key.account_id, *key.accounts)),
                key.name,
                key.role,
                "all" if key.models is None else ",".join(key.models),
                show_limits(key.terms.limits),
                show_budgets(key.terms.budgets),
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
        **describe_terms(key.terms),
        "subject_id": key.subject_id,
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
