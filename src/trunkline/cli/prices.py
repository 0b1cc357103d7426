"""``trunkline prices``: what a model costs, and pricing a past time anew."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trunkline.cli.session import run_session

if TYPE_CHECKING:
    from trunkline.catalog import Catalog
    from trunkline.ledger.price_change import Repricing
    from trunkline.ledger.price_list import PriceList
    from trunkline.routing.table import Route
    from trunkline.settings import Settings
    from trunkline.store.store import Store

HELP: Final = "show what a model costs, and price past calls anew"
PAGE: Final = 1000
"""Attempts that are priced at a time."""
DAY_US: Final = 86_400_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``show`` and ``apply``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="show|apply")

    show = actions.add_parser("show", help="where a model name goes, and what each place costs")
    show.add_argument("model", metavar="MODEL", help="a public name, or provider/model")
    show.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file that maps the name; without it every provider that is known is looked at",
    )
    show.add_argument("--json", action="store_true", help="as JSON, for scripts")

    apply = actions.add_parser(
        "apply",
        help="price the calls of past days anew",
        description="Price the calls of past days anew, by the prices of those days as they are "
        "known now, and correct the ledger and its sums. Calls whose model has no price keep "
        "the cost that they have. What was charged to budgets stays.",
    )
    apply.add_argument(
        "--since",
        metavar="D",
        required=True,
        help="first day (UTC): 2026-01-31, 2026-01, today, yesterday, or 7d or 2w for that long "
        "ago",
    )
    apply.add_argument("--until", metavar="D", help="last day, included (default: today)")
    apply.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file with the operator's prices and the store; without it the shipped prices "
        "and the file in the data folder",
    )
    apply.add_argument("--dry-run", action="store_true", help="change nothing, say what would be")


def run(args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""
    from trunkline.catalog import read_catalog
    from trunkline.settings import Settings, read_settings
    from trunkline.toml import FileError

    catalog = read_catalog()
    settings = Settings(providers={name: row.complete() for name, row in catalog.providers.items()})
    if args.config is not None:
        try:
            settings = read_settings(args.config, catalog, os.environ)
        except FileError as error:
            print("\n".join(error.lines), file=sys.stderr)
            return 2
    if args.action == "show":
        return _show(args, settings, catalog)
    return _apply(args, build_prices(settings, catalog))


def build_prices(settings: "Settings", catalog: "Catalog") -> "PriceList":
    """What models cost by the settings."""
    from trunkline.ledger.price_list import PriceList

    # Calls of the past may have gone to providers that are no longer configured.
    rows = {**catalog.providers, **settings.providers}
    return PriceList(
        settings.prices, {name: row.prices for name, row in rows.items() if row.prices}
    )


def _show(args: argparse.Namespace, settings: "Settings", catalog: "Catalog") -> int:
    import msgspec

    from trunkline.cli.price import describe_target, explain_lack, write_target
    from trunkline.errors import GatewayError

    now_us = time.time_ns() // 1000
    prices = build_prices(settings, catalog)
    try:
        targets = find_route(args, settings, catalog).targets
    except GatewayError as error:
        print(f"trunkline: {error.message}", file=sys.stderr)
        return 1
    found = [(target, prices.find(target.provider, target.model, now_us)) for target in targets]
    if args.json:
        rows = [describe_target(target, tariff) for target, tariff in found]
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        texts = [write_target(target, tariff) for target, tariff in found if tariff is not None]
        print("\n\n".join(texts), end="\n" if texts else "")
    for target, tariff in found:
        if tariff is None:
            row = settings.providers.get(target.provider)
            lack = explain_lack(target, row.prices if row else None, settings.prices.unpriced)
            print(f"trunkline: {lack}", file=sys.stderr)
    return 0 if all(tariff is not None for _, tariff in found) else 1


def find_route(args: argparse.Namespace, settings: "Settings", catalog: "Catalog") -> "Route":
    """Where ``args.model`` goes; raises ``GatewayError`` where it goes nowhere."""
    from trunkline.app import EngineLink, build_table
    from trunkline.engines.model import ModelError, find_model
    from trunkline.routing.plan import find_route as find

    links = []
    for name, engine in settings.engines.items():
        try:
            alias = find_model(engine.model, args.cache_dir).alias
        except ModelError:
            alias = engine.model  # its file is not here, but its price can be asked for
        links.append(EngineLink(name, "", "", alias))
    return find(build_table(settings, catalog, tuple(links)), args.model)


def _apply(args: argparse.Namespace, prices: "PriceList") -> int:
    from trunkline.ledger.question import DAY_WORDS, read_day

    today = time.time_ns() // 1000 // DAY_US
    since_day = read_day(args.since, today)
    until_day = today if args.until is None else read_day(args.until, today, last=True)
    for name, day in (("since", since_day), ("until", until_day)):
        if day is None:
            print(f"trunkline: --{name}: expected a day: {DAY_WORDS}", file=sys.stderr)
            return 2
    if since_day is None or until_day is None or since_day > until_day:
        print("trunkline: --since: it is after the last day", file=sys.stderr)
        return 2
    span = (since_day * DAY_US, (until_day + 1) * DAY_US)

    def act(store: "Store") -> None:
        total = _price_span(store, span, prices, dry=args.dry_run)
        print(_sum_up(total, dry=args.dry_run))

    return run_session(args.data_dir, act, args.config)


def _price_span(
    store: "Store", span: tuple[int, int], prices: "PriceList", *, dry: bool
) -> "Repricing":
    """Price all attempts of a time anew, a page at a time; a page is changed as a whole."""
    from trunkline.ledger.price_change import Repricing, plan_costs

    total = Repricing()
    after = None
    while page := store.ledger.list_attempts(*span, after, PAGE):
        plan = plan_costs(page, prices.find)
        if plan.changes and not dry:
            store.ledger.change_costs(plan.changes)
        total = total.add(plan)
        last = page[-1]
        after = (last.at_us, last.entry_id, last.number)
    return total


def _sum_up(total: "Repricing", *, dry: bool) -> str:
    from trunkline.ledger.sheet import format_usd

    before, after = (format_usd(each) for each in (total.before_micros, total.after_micros))
    verb = "would change" if dry else "changed"
    sums = f"{before} before, {after} after"
    lines = [f"{total.attempts:,} attempts, {total.changed:,} costs {verb}: {sums}."]
    if total.unpriced:
        lines.append(f"{total.unpriced:,} have no price and keep the cost that they have.")
    if total.by_image:
        lines.append(
            f"{total.by_image:,} are priced by the image, which the ledger does not count, "
            "and keep the cost that they have."
        )
    return "\n".join(lines)
