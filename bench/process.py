"""A child process of the benchmark: pinned to a core, measured through /proc, stopped by its id."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

START_LIMIT_S = 60.0
STOP_LIMIT_S = 10.0


class BenchError(Exception):
    """What stops a benchmark: a tool is missing, or a server gave a wrong answer."""


@dataclass(frozen=True)
class Child:
    """A started server and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def read_cpu_ns(self) -> int:
        """Return the CPU time of the process tree so far, user and system, in nanoseconds."""
        return sum(read_thread_cpu_ns(pid) for pid in list_tree(self.process.pid))

    def read_rss_bytes(self) -> int:
        """Return the resident memory of the process tree, in bytes."""
        return sum(read_rss_bytes(pid) for pid in list_tree(self.process.pid))

    def fail(self, why: str) -> BenchError:
        """Return an error that shows the end of the server's output."""
        tail = self.log.read_text(errors="replace")[-2000:]
        return BenchError(f"{self.name}: {why}\n{tail}")


@contextmanager
def run_child(
    name: str,
    command: Sequence[str],
    port: int,
    work: Path,
    *,
    core: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """Start a server in its own process group, and stop the whole group at the end."""
    refuse_taken(port)
    log = work / f"{name}.log"
    pinned = ["taskset", "-c", str(core), *command] if core is not None else list(command)
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        yield Child(name, process, log)
    finally:
        stop_group(process)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, then end what is left of its group."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def refuse_taken(port: int) -> None:
    """Raise when something listens on the port: it would be measured in the server's place."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise BenchError(f"port {port} is taken: stop what listens there")


def stop_when_asked() -> None:
    """Turn SIGTERM into an ordinary exit, so that every child is stopped on the way out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def list_tree(root: int) -> list[int]:
    """Return the ids of the process and of all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue  # it ended while we looked
        # The name in brackets may itself hold brackets and spaces, so cut after the last one.
        parent = int(stat.rpartition(")")[2].split()[1])
        parents.setdefault(parent, []).append(int(entry.name))
    tree = [root]
    for pid in tree:
        tree.extend(parents.get(pid, []))
    return tree


def read_thread_cpu_ns(pid: int) -> int:
    """Return the CPU time of all threads of one process, in nanoseconds.

    /proc/PID/task/TID/schedstat counts nanoseconds; /proc/PID/stat only hundredths of a second.
    """
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns


def read_rss_bytes(pid: int) -> int:
    """Return the resident memory of one process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def send(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Send one request (POST when there is a body) and return the status and the body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("GET" if body is None else "POST", parts.path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_for(
    child: Child, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> None:
    """Wait until the server answers this request with 200."""
    deadline = time.monotonic() + START_LIMIT_S
    last = "no answer"
    while time.monotonic() < deadline:
        if child.process.poll() is not None:
            raise child.fail(f"ended with exit status {child.process.returncode}")
        try:
            status, answer = send(url, body, headers)
        except OSError as error:
            last = str(error)
        else:
            if status == 200:
                return
            last = f"{status} {answer[:200]!r}"
        time.sleep(0.02)
    raise child.fail(f"no 200 from {url} within {START_LIMIT_S:.0f} s, last: {last}")
