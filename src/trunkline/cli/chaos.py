"""``trunkline chaos``: plays an upstream's faults against a configuration, and judges answers."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trunkline.chaos.rehearsal import Rehearsal

HELP: Final = "play an upstream's faults against a configuration"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path, metavar="CONFIG", help="the TOML file; needs no secret")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="a public name to play; can be repeated (default: one of each way of routing)",
    )
    parser.add_argument(
        "--faults",
        metavar="NAMES",
        help="kinds of faults, with commas between, as trunkline mock --list has them "
        "(default: all)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as a table for a document")
    parser.add_argument("--keep-log", type=Path, metavar="FILE", help="keep the gateway's log")


def run(args: argparse.Namespace) -> int:
    """Print a line a scenario; 1 if one is wrong, 2 for a faulty configuration."""
    from trunkline.errors import GatewayError
    from trunkline.toml import FileError

    try:
        rehearsal, kinds = _prepare(args)
    except FileError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 2
    except (GatewayError, ValueError) as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 2
    return _play(args, rehearsal, kinds)


def _prepare(args: argparse.Namespace) -> "tuple[Rehearsal, list[str]]":
    from trunkline.catalog import read_catalog
    from trunkline.chaos.configuration import read_configuration
    from trunkline.chaos.rehearsal import make_rehearsal
    from trunkline.mock import FAULTS

    kinds = args.faults.split(",") if args.faults else list(FAULTS)
    unknown = [kind for kind in kinds if kind not in FAULTS]
    if unknown:
        raise ValueError(f"--faults: there is no fault '{unknown[0]}'; see trunkline mock --list")
    catalog = read_catalog()
    settings = read_configuration(args.file, catalog)
    rehearsal = make_rehearsal(settings, catalog, args.model or ())
    if not rehearsal.lines:
        raise ValueError(f"{args.file}: there is no provider, engine or model to play")
    return rehearsal, kinds


def _play(args: argparse.Namespace, rehearsal: "Rehearsal", kinds: list[str]) -> int:
    import asyncio

    from trunkline.chaos.drill import Result, play
    from trunkline.chaos.gateway import ChildError
    from trunkline.chaos.report import (
        write_json,
        write_preface,
        write_result,
        write_summary,
        write_table,
    )
    from trunkline.chaos.scenario import list_scenarios

    scenarios = list_scenarios(rehearsal.lines, kinds)
    is_text = not (args.json or args.markdown)
    if is_text:
        print(write_preface(rehearsal, len(scenarios)), flush=True)

    def tell(result: Result) -> None:
        if is_text:
            print(write_result(result), end="")

    try:
        results = asyncio.run(play(rehearsal, scenarios, tell, args.keep_log))
    except (ChildError, OSError) as error:
        print(f"trunkline: the gateway: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(write_json(results))
    else:
        print(write_table(results) if args.markdown else "", write_summary(results), sep="\n")
    return int(any(result.verdict.judgement == "wrong" for result in results))
