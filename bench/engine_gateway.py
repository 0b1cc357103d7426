"""Serves a running engine through the gateway as one of its own: for bench/engine.py only.

``trunkline serve`` would start an engine whose key nobody else knows; to measure the same engine
with and without the gateway, this process is told where it is and what its key is.
"""

import os
import socket
import sys
import time
from functools import partial
from pathlib import Path

import uvicorn

from trunkline.access.bootstrap import ensure_bootstrap
from trunkline.access.pepper import load_pepper
from trunkline.api.direct import DirectProtocol
from trunkline.app import Blueprint, EngineLink, build_gateway
from trunkline.catalog import read_catalog
from trunkline.settings import EngineSettings, ModelSettings, Settings, TargetSettings
from trunkline.store.store import FILE_NAME, open_store

NAME = "bench"


def main() -> None:
    """Serve until a signal: folder, engine's address, model's alias and port are the words."""
    folder, address, alias, port = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    pepper = load_pepper(folder)
    store = open_store(folder / FILE_NAME)
    ensure_bootstrap(store, pepper, os.environ["TRUNKLINE_BOOTSTRAP_KEY"], time.time_ns() // 1000)
    store.close()
    settings = Settings(
        engines={NAME: EngineSettings(model=alias)},
        models={alias: ModelSettings(targets=(TargetSettings(provider="local", model=NAME),))},
    )
    link = EngineLink(NAME, address, os.environ["BENCH_ENGINE_KEY"], alias, tools=False)
    blueprint = Blueprint(settings, read_catalog(), (link,), folder, folder / FILE_NAME, pepper)
    config = uvicorn.Config(
        partial(build_gateway, blueprint),
        factory=True,
        http=DirectProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="on",
    )
    with socket.create_server(("127.0.0.1", port)) as listener:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
