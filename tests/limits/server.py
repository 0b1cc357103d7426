"""Redis for tests: where it is, what is left out without it, and a server of a test's own."""

import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from absence import leave_out

VARIABLE = "TRUNKLINE_TEST_REDIS"
BINARY = "redis-server"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"redis: needs the Redis server that {VARIABLE} is")
    config.addinivalue_line("markers", f"own_redis: starts {BINARY}, where there is one")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = set[str]()
    if not os.environ.get(VARIABLE):
        missing |= {"redis", "own_redis"}
    if not shutil.which(BINARY):
        missing.add("own_redis")
    words = (
        f"Redis; to run them, set {VARIABLE}=redis://host:port/number and have {BINARY} on the path"
    )
    leave_out(config, items, lambda item: any(map(item.get_closest_marker, missing)), words)


def find_url(port: int | None = None) -> str:
    """The server's URL, or that of a line on 127.0.0.1 that leads to it."""
    url = os.environ[VARIABLE]
    if port is None:
        return url
    host, own_port = find_server()
    return url.replace(f"{host}:{own_port}", f"127.0.0.1:{port}")


def find_server() -> tuple[str, int]:
    """The server's host and port."""
    kwargs = Redis.from_url(os.environ[VARIABLE]).connection_pool.connection_kwargs
    return str(kwargs["host"]), int(kwargs["port"])


@contextmanager
def make_prefix() -> Iterator[str]:
    """What the keys of one test begin with; they are gone after the block."""
    prefix = f"trunkline-test-{uuid.uuid4().hex}"
    yield prefix
    with Redis.from_url(find_url()) as client:
        for name in client.scan_iter(f"{prefix}:*"):
            client.delete(name)


class Server:
    """A Redis server of a test's own, which can be killed, frozen and started again, empty.

    Args:
        folder: where it runs.
        options: further options of its command line.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self._folder = folder
        self._options = options
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        place = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder))
        self._process = subprocess.Popen(
            [BINARY, *place, "--save", "", "--appendonly", "no", *self._options],
            stdout=subprocess.DEVNULL,
        )
        with self.open_client() as client:
            client.ping()

    def open_client(self) -> "Redis":
        password = dict(zip(self._options, self._options[1:], strict=False)).get("--requirepass")
        patience = Retry(ConstantBackoff(0.02), 500)
        return Redis(port=self.port, password=password, retry=patience)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)
