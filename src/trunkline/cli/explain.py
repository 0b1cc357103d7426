"""``trunkline explain``: which targets a model's calls would go to, why, and at what price."""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trunkline.catalog import Catalog
    from trunkline.ledger.price import Tariff
    from trunkline.routing.table import Route, Target
    from trunkline.settings import Settings

HELP: Final = "show which targets a model's calls would go to, why, and at what price"
WITHIN_S: Final = 10
_POLICIES: Final = {
    "ordered": "in the order of the file: the first that is healthy",
    "weighted": "at random, by weight, among those that are healthy",
    "latency": "the faster of two drawn at random, among those that are healthy",
}
_WANTS: Final = {
    "context": "the prompt does not fit the context of the one before",
    "filter": "a content filter of the one before refused the request",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the TOML file")
    parser.add_argument("model", metavar="MODEL", help="a public name, or provider/model")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    parser.add_argument(
        "--url",
        metavar="URL",
        help="a running gateway's, such as http://127.0.0.1:5003: shows its circuits too",
    )
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="of an admin, for --url (default: TRUNKLINE_KEY in the environment)",
    )


def run(args: argparse.Namespace) -> int:
    """Print it; 1 where the name goes nowhere or the gateway does not tell, 2 for a bad file."""
    from trunkline.catalog import read_catalog
    from trunkline.cli.prices import build_prices, find_route
    from trunkline.errors import GatewayError
    from trunkline.settings import read_settings
    from trunkline.toml import FileError

    catalog = read_catalog()
    try:
        settings = read_settings(args.file, catalog, os.environ)
        route = find_route(args, settings, catalog)
        standings = _ask_gateway(args.url, args.key) if args.url else {}
    except FileError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 2
    except GatewayError as error:
        print(f"trunkline: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"trunkline: {args.url} does not tell how its targets stand: {error}", file=sys.stderr
        )
        return 1
    prices, now_us = build_prices(settings, catalog), time.time_ns() // 1000
    found = [
        (target, prices.find(target.provider, target.model, now_us)) for target in route.targets
    ]
    why = _find_reason(args.model, route, settings, catalog)
    if args.json:
        print(_write_json(args.model, why, route, found, standings))
    else:
        print(_write_text(args.model, why, route, found, standings))
    return 0


def _ask_gateway(url: str, key: str | None) -> dict[str, dict[str, Any]]:
    """How the targets of a running gateway stand, by label.

    Raises:
        OSError: it does not answer, or does not tell this key.
    """
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    import msgspec

    if not url.startswith(("http://", "https://")):
        raise OSError("expected a URL that begins with http:// or https://")
    key = key or os.environ.get("TRUNKLINE_KEY", "")
    request = Request(f"{url.rstrip('/')}/admin/v1/targets", headers={"x-api-key": key})  # noqa: S310
    try:
        with urlopen(request, timeout=WITHIN_S) as answer:  # noqa: S310 - checked above
            rows = msgspec.json.decode(answer.read())["data"]
            return {row["target"]: row for row in rows}
    except (HTTPException, ValueError, KeyError, TypeError) as error:
        raise OSError("it is no gateway of this kind") from error


def _find_reason(model: str, route: "Route", settings: "Settings", catalog: "Catalog") -> str:
    """Why the name goes to this route."""
    if model in settings.models:
        return f'[models."{model}"] of the file'
    if route.stand_in:
        return f"no target of its own: '{settings.demo.stand_in}' stands in (demo.stand_in)"
    vendor, _, rest = model.partition("/")
    if vendor == "local":
        return f"[engines.{rest}] of the file"
    if model in catalog.models:
        return "the model catalog: the configured providers that have it by themselves"
    return f"[providers.{vendor}] of the file, which is asked for '{rest}'"


def _find_when(route: "Route", position: int) -> str:
    """When a target is asked."""
    target = route.targets[position]
    if target.on:
        return "only when " + ", or ".join(_WANTS[want] for want in target.on)
    normal = [each for each in route.targets if not each.on]
    if len(normal) == 1:
        return "always"
    if route.rule.policy == "weighted":
        share = target.weight / sum(each.weight for each in normal)
        return f"{share:.0%} of the calls, and when others fail"
    if route.rule.policy == "latency":
        return "when it is the faster one, and when others fail"
    return "first" if position == 0 else "when those before it fail"


def _write_text(
    model: str,
    why: str,
    route: "Route",
    found: "list[tuple[Target, Tariff | None]]",
    standings: Mapping[str, dict[str, Any]],
) -> str:
    from trunkline.cli.price import write_target

    rule, times = route.rule, route.deadlines
    sticky = "; a conversation stays at its target" if rule.sticky else ""
    hold = f"opens after {rule.circuit.failures} failures in a row, for {rule.circuit.open_s:g} s"
    again = f"those at a target that failed it already, {rule.retry_share:.0%} of the calls"
    begin = f"connect {times.connect_s:g} s, first token {times.first_token_s:g} s"
    lines = [
        f"{model}: {why}",
        f"  policy     {rule.policy}: {_POLICIES[rule.policy]}{sticky}",
        f"  retries    at most {rule.retries} a call; {again}",
        *_tell_hedging(route),
        f"  circuits   each {hold} and, while probes fail, up to {rule.circuit.open_max_s:g} s",
        f"  deadlines  {begin}, idle {times.idle_s:g} s, total {times.total_s:g} s",
    ]
    for position, (target, tariff) in enumerate(found):
        lines += ["", f"{position + 1}. {target.label}: {_find_when(route, position)}"]
        if target.label in standings:
            lines.append(f"  circuit {_tell_standing(standings[target.label])}")
        priced = write_target(target, tariff).split("\n")[1:] if tariff else ["  price   unknown"]
        lines += priced
    return "\n".join(lines)


def _tell_hedging(route: "Route") -> list[str]:
    """When a second target is asked as well, where that is on."""
    from trunkline.routing.hedge import LATE

    share = route.rule.hedge_share
    if not share:
        return []
    if sum(not each.on for each in route.targets) < 2:
        return ["  hedging    on, but there is no second target"]
    late = f"its first content takes longer than {LATE:.0%} of the newest did"
    return [
        f"  hedging    a second target is asked as well when, at the first, {late};",
        f"             at most {share * 100:g}% of the calls",
    ]


def _tell_standing(row: Mapping[str, Any]) -> str:
    words = [str(row["circuit"])]
    if row["wait_s"]:
        words.append(f"probed in {row['wait_s']:.0f} s")
    if row["aside_s"]:
        words.append(f"goes last for {row['aside_s']:.0f} s")
    if row["latency_ms"] is not None:
        words.append(f"first content after {row['latency_ms']:.0f} ms")
    attempts = ", ".join(f"{count} {word}" for word, count in row["attempts"].items() if count)
    return "; ".join([*words, attempts] if attempts else words)


def _write_json(
    model: str,
    why: str,
    route: "Route",
    found: "list[tuple[Target, Tariff | None]]",
    standings: Mapping[str, dict[str, Any]],
) -> str:
    import msgspec

    from trunkline.cli.price import describe_target

    targets = [
        {
            "target": target.label,
            "when": _find_when(route, position),
            "weight": target.weight,
            "on": target.on,
            "price": describe_target(target, tariff),
            "standing": standings.get(target.label),
        }
        for position, (target, tariff) in enumerate(found)
    ]
    value = {
        "model": model,
        "why": why,
        "routing": route.rule,
        "deadlines": route.deadlines,
        "targets": targets,
    }
    return msgspec.json.format(msgspec.json.encode(value)).decode()
