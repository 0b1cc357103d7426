"""``trunkline mock``: an upstream with faults on demand, to prove a configuration with."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from trunkline.mock import MockServer, Plan, Served
    from trunkline.mock.behaviour import Dialect
    from trunkline.mock.script import Script

HELP: Final = "start an upstream with faults on demand"
_PROVIDERS: "Final[tuple[tuple[Dialect, str], ...]]" = (
    ("openai", 'api_key = "mock"'),
    ("anthropic", 'api_key = "mock"'),
    ("gemini", 'api_key = "mock"'),
    ("bedrock", 'region = "us-east-1"\naccess_key = "mock"\nsecret_key = "mock"'),
    ("cohere", 'api_key = "mock"'),
    ("llm-engine", 'api_key = "mock"'),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=9101, help="port to listen on (9101)")
    parser.add_argument("--seed", type=int, help="of words, shares and random bytes (0)")
    parser.add_argument(
        "--pace", type=float, metavar="SECONDS", help="before every piece of a stream (0)"
    )
    parser.add_argument(
        "--fault", metavar="NAME[:KEY=VALUE,…]", help="play this fault; --list shows all"
    )
    parser.add_argument(
        "--share", type=float, default=1, help="the share of requests that get the fault (1)"
    )
    parser.add_argument("--script", type=Path, metavar="FILE", help="TOML file with rules")
    parser.add_argument("--log", action="store_true", help="print a line for every request")
    parser.add_argument("--list", action="store_true", help="show the faults and leave")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, or list the faults."""
    if args.list:
        _print_faults()
        return 0
    import asyncio

    from trunkline.errors import GatewayError
    from trunkline.toml import FileError

    try:
        server = _make_server(args)
    except FileError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 2
    except GatewayError as error:
        print(f"trunkline: {error.message}", file=sys.stderr)
        return 2
    try:
        with asyncio.Runner(loop_factory=_find_loop()) as runner:
            runner.run(_serve(server))
    except OSError as error:
        where = f"{args.host}:{args.port}"
        print(f"trunkline: cannot listen on {where}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _make_server(args: argparse.Namespace) -> "MockServer":
    """The server that the arguments ask for.

    Raises:
        FileError: of the script.
        GatewayError: of the fault, or of a number out of its range.
    """
    from trunkline.errors import GatewayError
    from trunkline.mock import MockServer
    from trunkline.mock.script import Script, read_script

    if not 0 <= args.port <= 65535:
        raise GatewayError("invalid_request", "--port: expected a number from 0 to 65535")
    if not 0 <= args.share <= 1:
        raise GatewayError("invalid_request", "--share: expected a number from 0 to 1")
    if args.script and args.fault:
        raise GatewayError("invalid_request", "--fault and --script exclude each other")
    script = read_script(args.script) if args.script else Script()
    seed = next((each for each in (args.seed, script.seed) if each is not None), 0)
    pace_s = next((each for each in (args.pace, script.pace_s) if each is not None), 0)
    plan = _make_plan(args, script, seed)
    server = MockServer(plan, args.port, host=args.host, seed=seed, pace_s=pace_s)
    if args.log:
        server.on_end = _print_served
    return server


def _make_plan(args: argparse.Namespace, script: "Script", seed: int) -> "Plan":
    from trunkline.mock import read_fault, share
    from trunkline.mock.script import make_plan

    if args.fault:
        return share(args.share, read_fault(args.fault), seed)
    return make_plan(script, seed)


def _find_loop() -> "Callable[[], asyncio.AbstractEventLoop] | None":
    """The fast loop where there is one."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(server: "MockServer") -> None:
    import asyncio
    import signal

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with server:
        print(_write_welcome(server), flush=True)
        await stop.wait()


def _write_welcome(server: "MockServer") -> str:
    lines = [f"# trunkline mock listens on http://{server.host}:{server.port}", ""]
    for dialect, secrets in _PROVIDERS:
        lines += [
            f"[providers.{dialect}]",
            f'base_url = "{server.base_url(dialect)}"',
            secrets,
            "",
        ]
    return "\n".join(lines)


def _print_served(served: "Served") -> None:
    took_s = (served.ended_at or served.began_at) - served.began_at
    end = "complete" if served.completed else "cut" if served.cut else "client left"
    words = (
        f"{served.number:6}",
        served.dialect or "-",
        served.operation or "-",
        "stream" if served.stream else "whole",
        served.model or "-",
        f"{served.fault}@{served.at}" if served.fault else "no fault",
        str(served.status),
        end,
        f"{took_s * 1000:.1f} ms",
    )
    print(" ".join(words), flush=True)


def _print_faults() -> None:
    from trunkline.cli.table import format_table
    from trunkline.mock import FAULTS

    rows = [(name, " ".join(kind.at), kind.outcome, kind.says) for name, kind in FAULTS.items()]
    print(format_table(("FAULT", "AT", "HONEST OUTCOME", "WHAT THE UPSTREAM DOES"), rows))
