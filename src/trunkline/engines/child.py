"""The engine's child process: llama.cpp's own HTTP server on loopback, and nothing else.

It reads an ``Order`` as one line of JSON on standard input and writes ``READY`` on standard
output once it answers. Standard input stays open as its life line: when the other end is
closed, however the gateway ended, the process ends at once.
"""

import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from trunkline.engines.seal import seal_process
from trunkline.engines.spec import EXIT_HOPELESS, READY, Order, decode_order

# Small enough that a call cancelled while its prompt is read frees its slot soon: the engine
# looks at its queue between batches only. docs/engine.md has the measurements.
BATCH_TOKENS: Final = 128

# Models that read an image as a whole need all of it in one batch: Gemma 3 has 256 tokens. In a
# smaller one llama.cpp tears the image apart and answers all the same (docs/engine.md).
IMAGE_BATCH_TOKENS: Final = 512

# A folder that can hold nothing: the server starts ffmpeg for video and for bytes it does not know.
NO_PROGRAMS: Final = "/dev/null"

# A waiting call holds one of the server's threads, and so does an idle kept-alive connection;
# with too few of them the engine would not even answer that it is healthy.
SERVER_THREADS: Final = 64

# Errors only. One step more and the engine quotes requests that it could not parse.
LOG_LEVEL: Final = 1


def count_cores() -> int:
    """Count the physical cores that this process may run on; at least 1."""
    cores: set[str] = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        with suppress(OSError):
            cores.add(siblings.read_text("ascii"))
    return len(cores) or len(os.sched_getaffinity(0))


def build_params(order: Order) -> Any:
    """Build llama.cpp's parameters: one model, loopback, a key, and every extra door shut.

    Raises:
        ImportError: the engine is not installed.
    """
    import xllamacpp  # noqa: PLC0415 - only the child may load the native library

    spec = order.spec
    params = xllamacpp.CommonParams()
    params.model.path = str(spec.model_path)
    if spec.mmproj is not None:
        params.mmproj.path = str(spec.mmproj)
    params.model_alias = {spec.alias}
    params.n_parallel = spec.slots
    # Each slot has its own part of the cache: in a shared one (kv_unified) the same greedy
    # prompt gave other text as soon as other calls ran beside it.
    params.n_ctx = spec.context_tokens * spec.slots
    params.kv_unified = False
    # Never shrink the context that was asked for to what memory happens to allow.
    params.fit_params = False
    params.n_batch = params.n_ubatch = BATCH_TOKENS if spec.mmproj is None else IMAGE_BATCH_TOKENS
    # One core is left to the gateway: llama.cpp's threads wait for each other in a busy loop, and
    # collapse as soon as one of them has to share its core (docs/engine.md).
    threads = spec.threads or max(1, count_cores() - 1)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # A last message of the assistant is history, not the start of the answer.
    params.prefill_assistant = False
    params.verbosity = LOG_LEVEL
    _guard_doors(params, order)
    return params


def _guard_doors(params: Any, order: Order) -> None:
    params.hostnames = ["127.0.0.1"]
    params.port = order.port
    params.reuse_port = True  # the gateway holds the port, so that nobody else can take it
    params.api_keys = [order.key]
    params.n_threads_http = max(SERVER_THREADS, 4 * order.spec.slots)
    params.offline = True
    params.ui = params.ui_mcp_proxy = False
    params.endpoint_metrics = params.endpoint_props = params.endpoint_slots = False
    params.server_tools = []
    params.mcp_servers_config = params.mcp_servers_json = ""
    params.media_path = params.public_path = params.slot_save_path = ""
    params.video_ffmpeg_bin_dir = NO_PROGRAMS
    params.cors_origins = params.cors_methods = params.cors_headers = ""
    params.cors_credentials = False


def _seal(order: Order) -> bool:
    """Seal the process; an engine that reads images must not serve without.

    Addresses of images are replaced by their bytes before they come here: this is the second lock.
    """
    try:
        seal_process()
    except OSError as error:
        sys.stderr.write(f"engine {order.spec.name} cannot be sealed: {error}\n")
        return order.spec.mmproj is None
    return True


def _end_with_parent(life_line: int) -> None:
    while os.read(life_line, 4096):
        pass
    os._exit(0)


def _read_order(source: int) -> Order:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(source, 65536)
        if not piece:
            os._exit(0)
        line += piece
    return decode_order(line)


def _leave(code: int) -> NoReturn:
    sys.stderr.flush()
    # Not an orderly interpreter exit: native threads may still be running.
    os._exit(code)


def main() -> int:
    """Run one engine until the life line is cut; returns only when it cannot start."""
    # Ctrl-C goes to everything in the terminal; the gateway drains its calls first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A native crash must not leave prompts behind in a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    order = _read_order(0)
    threading.Thread(target=_end_with_parent, args=(0,), daemon=True).start()
    # Standard output is for READY alone: what a library prints goes where the log goes.
    parent = os.dup(1)
    os.dup2(2, 1)
    try:
        params = build_params(order)
    except ImportError as error:
        sys.stderr.write(
            f"The engine is not installed ({error}). Run: pip install 'trunkline[local]'\n"
        )
        return EXIT_HOPELESS
    import xllamacpp  # noqa: PLC0415 - only the child may load the native library

    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        sys.stderr.write(f"{order.spec.model_path}: {error}\n")
        return 1
    if not _seal(order):
        # Not a return: it would end the server's life, and that waits without the GIL being let
        # go for a loop which may not have begun; nothing could then end this process.
        _leave(EXIT_HOPELESS)
    sys.stderr.write(f"engine {order.spec.name} is ready on {server.listening_address}\n")
    sys.stderr.flush()
    os.write(parent, READY)
    while True:
        signal.pause()


if __name__ == "__main__":
    _leave(main())
