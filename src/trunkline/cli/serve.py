"""``trunkline serve``: starts the gateway, from a configuration or as the demo."""

import argparse
import gc
import os
import signal
import socket
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trunkline.app import Blueprint, EngineLink, Gateway
    from trunkline.catalog import Catalog
    from trunkline.settings import Settings
    from trunkline.store.store import Store

HELP: Final = "start the gateway"
KEEP_ALIVE_S: Final = 75
"""Longer than clients' pools keep idle connections, so that no request meets a closing one."""
GARBAGE_OBJECTS: Final = 10_000
"""New objects after which cycles are looked for. Calls make none unless they fail, so Python's own
700 has it look through those under way for nothing, which costs 2 % of all that is done."""
PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


class ServeError(Exception):
    """A start that cannot go on; the code is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file; without it the demo starts"
    )
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (5003)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes on the port (1)")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; streams are drained before the end."""
    from trunkline.toml import FileError

    try:
        with ExitStack() as stack:
            _serve(args, stack)
    except FileError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 2
    except ServeError as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return error.code
    return 0


def _serve(args: argparse.Namespace, stack: ExitStack) -> None:
    from trunkline.access.pepper import load_pepper
    from trunkline.app import Blueprint
    from trunkline.catalog import read_catalog
    from trunkline.observe.log import configure_log
    from trunkline.store.address import locate_store
    from trunkline.store.database import StoreError
    from trunkline.store.store import open_store

    configure_log()
    catalog = read_catalog()
    settings = _read_settings(args, catalog)
    data_dir: Path = args.data_dir
    place = locate_store(settings.store.url, data_dir)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        pepper = load_pepper(data_dir, os.environ.get("TRUNKLINE_PEPPER"))
        store = stack.enter_context(closing(open_store(place)))
        demo_key = _prepare_keys(store, pepper, settings, is_demo=args.config is None)
    except (OSError, StoreError, ValueError) as error:
        raise ServeError(str(error)) from None
    listener = stack.enter_context(_bind(settings.server.host, settings.server.port))
    engines = _start_engines(settings, args, stack)
    address = _address(listener)
    if args.config is None:
        print(_write_welcome(address, demo_key), flush=True)
    else:
        print(f"Trunkline listens on {address}", flush=True)
    variables = {
        name: value for name, value in os.environ.items() if name.lower() in PROXY_VARIABLES
    }
    _run_server(Blueprint(settings, catalog, engines, data_dir, place, pepper, variables), listener)


def _read_settings(args: argparse.Namespace, catalog: "Catalog") -> "Settings":
    import msgspec

    from trunkline.settings import make_demo_settings, read_settings

    if args.config is None:
        settings = make_demo_settings()
    else:
        settings = read_settings(args.config, catalog, os.environ)
    given = {
        name: value
        for name in ("host", "port", "workers")
        if (value := getattr(args, name)) is not None
    }
    if not 0 <= given.get("port", 0) <= 65535:
        raise ServeError("--port: expected a number from 0 to 65535", 2)
    if given.get("workers", 1) < 1:
        raise ServeError("--workers: expected 1 or more", 2)
    server = msgspec.structs.replace(settings.server, **given)
    return msgspec.structs.replace(settings, server=server)


def _prepare_keys(
    store: "Store", pepper: bytes, settings: "Settings", *, is_demo: bool
) -> str | None:
    """Set the bootstrap key; return a new key's text for a demo that has no bootstrap key."""
    from contextlib import suppress

    from trunkline.access.bootstrap import BOOTSTRAP_ACCOUNT, ensure_bootstrap
    from trunkline.access.key import NewKey, create_key
    from trunkline.store.account import AccountExistsError

    now_us = time.time_ns() // 1000
    bootstrap = os.environ.get("TRUNKLINE_BOOTSTRAP_KEY")
    ensure_bootstrap(store, pepper, bootstrap, now_us)
    usable = (
        key
        for key in store.keys.list()
        if key.revoked_at_us is None and (key.expires_at_us or now_us + 1) > now_us
    )
    if settings.server.is_public and not any(usable):
        raise ServeError(
            f"server.host: {settings.server.host} can be reached from outside, but no key exists; "
            "create one first: trunkline accounts create ID, trunkline keys create --account ID",
            2,
        )
    if is_demo and not bootstrap:
        with suppress(AccountExistsError):
            store.accounts.create(BOOTSTRAP_ACCOUNT, "", now_us)
        new = NewKey(account_id=BOOTSTRAP_ACCOUNT, role="admin", name="demo")
        text, _ = create_key(store, pepper, new, now_us)
        return text
    return None


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ServeError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
        ) from None
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def _start_engines(
    settings: "Settings", args: argparse.Namespace, stack: ExitStack
) -> "tuple[EngineLink, ...]":
    """Start every engine, pulling the demo's model if it is not here yet."""
    if not settings.engines:
        return ()
    import msgspec

    from trunkline.app import EngineLink
    from trunkline.engines.model import ModelError, find_model, pull_model
    from trunkline.engines.process import EngineError, EngineProcess, EngineSpec
    from trunkline.engines.progress import ProgressBar

    links = []
    for name, engine in settings.engines.items():
        try:
            if args.config is None:
                pull_model(engine.model, args.cache_dir, ProgressBar(sys.stderr))
            model = find_model(engine.model, args.cache_dir)
            mmproj = find_model(engine.mmproj, args.cache_dir).path if engine.mmproj else None
            spec = EngineSpec(
                name, model.path, model.alias, engine.context, engine.slots, engine.threads, mmproj
            )
            process = EngineProcess(spec, args.data_dir / "logs" / f"engine-{name}.log")
            process.start()
            stack.callback(process.stop)
            if args.config is None:
                process.wait_ready(60)
        except (ModelError, EngineError) as error:
            raise ServeError(f"engine '{name}': {error}") from None
        link = EngineLink(name, process.address, process.key, model.alias, model.tools)
        links.append(msgspec.structs.replace(link, images=mmproj is not None))
    return tuple(links)


def build_worker(blueprint: "Blueprint") -> "Gateway":
    """The gateway of one worker, which may be a process of its own."""
    from trunkline.app import build_gateway
    from trunkline.observe.log import configure_log

    configure_log()
    gateway = build_gateway(blueprint)
    gc.collect()
    gc.freeze()  # what is here now stays to the end
    gc.set_threshold(GARBAGE_OBJECTS)
    return gateway


def _run_server(blueprint: "Blueprint", listener: socket.socket) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from trunkline.api.direct import DirectProtocol

    server_settings = blueprint.settings.server
    config = uvicorn.Config(
        partial(build_worker, blueprint),
        factory=True,
        http=DirectProtocol,
        ws="none",
        lifespan="on",
        workers=server_settings.workers,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(server_settings.drain_s)),
    )
    if server_settings.workers > 1:
        # The supervisor ends by itself after a signal; uvicorn then raises the signal again.
        Multiprocess(config, sockets=[listener]).run()
        return
    server = uvicorn.Server(config)

    def stop(_number: int, _frame: object) -> None:
        server.should_exit = True

    # uvicorn raises the signals again once it has stopped: without these, they would end the
    # process with the signal's own code instead of 0.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.run(sockets=[listener])


def _write_welcome(address: str, key: str | None) -> str:
    shown = key or "$TRUNKLINE_BOOTSTRAP_KEY"
    quoted = f'"{key}"' if key else 'os.environ["TRUNKLINE_BOOTSTRAP_KEY"]'
    return f"""
Trunkline is listening on {address}

  API key (shown once): {shown}

  curl {address}/v4/completions -H "x-api-key: {shown}" \\
    -H "content-type: application/json" \\
    -d '{{"model": "gpt-oss-120b", "prompt": "prompt"}}'

  # pip install scale-gp
  from scale_gp import SGPClient
  client = SGPClient(api_key={quoted}, base_url="{address}/public")
  reply = client.completions.create(model="gpt-oss-120b", prompt="prompt")
  print(reply.completion.text)

Every model name is answered by the small embedded model; Ctrl-C stops the gateway.
"""
