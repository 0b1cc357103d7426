"""A process that seals itself, says what it can still do, and takes one call."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

from trunkline.engines.seal import seal_process


def run_program() -> None:
    subprocess.run(["/bin/sh", "-c", ":"], check=True)


ACTIONS: dict[str, Callable[[], object]] = {
    "tcp": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
    "udp": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close(),
    "unix": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close(),
    "program": run_program,
    "file": lambda: open("/dev/null", "rb").close(),  # noqa: PTH123
}


def try_actions() -> dict[str, str]:
    outcome = {}
    for name, action in ACTIONS.items():
        try:
            action()
        except OSError as error:
            outcome[name] = type(error).__name__
        else:
            outcome[name] = "done"
    return outcome


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    sealed, told = threading.Event(), {"before": try_actions()}

    def try_in_older_thread() -> None:
        sealed.wait()
        told["thread"] = try_actions()

    thread = threading.Thread(target=try_in_older_thread)
    thread.start()
    seal_process()
    sealed.set()
    thread.join()
    told["after"] = try_actions()
    sys.stdout.write(json.dumps({**told, "port": listener.getsockname()[1]}) + "\n")
    sys.stdout.flush()
    call, _ = listener.accept()
    call.sendall(b"served")
    call.close()


if __name__ == "__main__":
    main()
