"""Instructions of a whole answer, counted by valgrind: the same on a quiet machine and a busy one.

The gateway runs under callgrind, which counts while one client asks again and again over one
connection. Counted is the thread of the event loop: the thread that ships entries to the database
would have too few of them at a time to tell anything. The kernel's instructions are not among
them, and caches are not modelled, so this compares two states of the code and no two servers.
Callgrind's files stay for ``callgrind_annotate``.
"""

import argparse
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from bench.process import BenchError, run_child, wait_for
from bench.server import (
    SERVERS,
    WHOLE_PORT,
    WORK,
    Route,
    Server,
    build_body,
    start_whole_upstream,
)

PORT = 9150
WARM = 150
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def control(*words: str) -> None:
    """Tell callgrind something."""
    subprocess.run(["callgrind_control", *words], check=True, capture_output=True)


def ask(server: Server, route: Route, calls: int) -> None:
    """Ask so often, one after the other, on one connection; each request is one write."""
    body = build_body(route, server.model, stream=False)
    fields = {"content-type": "application/json", "content-length": str(len(body))}
    fields |= {"host": f"127.0.0.1:{server.port}", **server.headers}
    lines = [f"POST {route.path} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
    request = "\r\n".join([*lines, "\r\n"]).encode() + body
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        for _ in range(calls):
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            if answer.status != 200 or not answer.read():
                raise BenchError(f"{route.path}: {answer.status}")


def count(calls: int) -> dict[str, float]:
    """Thousands of instructions of one answer, by route."""
    server = SERVERS["trunkline"](WHOLE_PORT, PORT)
    found = {}
    for route in server.routes:
        out = WORK / "callgrind" / route.path.strip("/").replace("/", "-")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        watch = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"]
        watch.append(f"--callgrind-out-file={out / 'out'}")
        command = [*watch, sys.executable, "-m", "trunkline", *server.command[1:]]
        with ExitStack() as stack:
            start_whole_upstream(stack)
            child = stack.enter_context(run_child("callgrind", command, PORT, WORK, env=server.env))
            wait_for(child, f"http://127.0.0.1:{PORT}/livez")
            ask(server, route, WARM)
            pid = str(child.process.pid)
            control("-i", "on", pid)
            ask(server, route, calls)
            control("-i", "off", pid)
            control("-d", pid)
            time.sleep(1)
        # The event loop's thread has by far the most of all.
        found[route.label] = max(_read_totals(out)) / calls / 1000
    return found


def _read_totals(folder: Path) -> list[int]:
    texts = [path.read_text(errors="replace") for path in folder.iterdir()]
    totals = [int(total) for text in texts for total in _TOTAL.findall(text)]
    if not totals:
        raise BenchError(f"callgrind counted nothing; see {folder}")
    return totals


def main() -> None:
    """Count, and print a line a route."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    if shutil.which("callgrind_control", path=os.environ.get("PATH")) is None:
        raise SystemExit("valgrind is missing: apt-get install valgrind")
    for route, thousands in count(arguments.calls).items():
        print(f"{route}: {thousands:.1f} thousand instructions a call")


if __name__ == "__main__":
    main()
