"""The supervisor of one engine: starts the child, keeps it running, and stops it."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from trunkline.engines.capture import LINE_BYTES, EngineLog
from trunkline.engines.spec import (
    EXIT_HOPELESS,
    READY,
    EngineError,
    EngineSpec,
    Order,
    encode_order,
)

__all__ = ["Backoff", "EngineError", "EngineProcess", "EngineSpec", "State"]

State = Literal["starting", "ready", "backoff", "stopped", "failed"]

# -P: a file in the working directory must not pass for a library.
CHILD: Final = (sys.executable, "-P", "-m", "trunkline.engines.child")

# What the child may see of the environment: never the keys of providers.
_PASSED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PASSED_PREFIXES: Final = ("LC_", "PYTHON", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "OMP_")


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait before the child is started again.

    Args:
        first_s: the wait after the first crash; it doubles with every further one.
        most_s: the longest wait.
        steady_s: a child that ran this long starts the count anew.
        tries: starts that may fail before an engine that never ran is given up.
    """

    first_s: float = 0.2
    most_s: float = 10.0
    steady_s: float = 30.0
    tries: int = 3


class EngineProcess:
    """One engine, run by a child process on one loopback port with one random key.

    Port and key are chosen once and hold over restarts, so that several processes can talk to
    an engine that one of them started. It works in threads and needs no event loop.

    Args:
        spec: what to run.
        log_path: where the child's output goes.
        command: the child's command line; another one only in tests.
        backoff: how restarts are spaced.
    """

    def __init__(
        self,
        spec: EngineSpec,
        log_path: Path,
        *,
        command: Sequence[str] = CHILD,
        backoff: Backoff | None = None,
    ) -> None:
        self.spec = spec
        self.log_path = log_path
        self.key = secrets.token_urlsafe(32)
        self.starts = 0
        self._command = command
        self._backoff = backoff or Backoff()
        self._reserved = _reserve_port()
        self._changed = threading.Condition()
        self._state: State = "stopped"
        self._error = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where the engine answers: ``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self._reserved.getsockname()[1]}"

    @property
    def state(self) -> State:
        """Where the engine is in its life."""
        return self._state

    @property
    def last_error(self) -> str:
        """Why the child ended last, with its last lines; "" while it never has."""
        return self._error

    @property
    def pid(self) -> int | None:
        """The child's process id while one runs."""
        child = self._child
        return child.pid if child is not None else None

    def start(self) -> None:
        """Start the engine and return at once; see ``wait_ready``. A process starts only once.

        Raises:
            EngineError: it was started before, or its log cannot be written.
        """
        if self._thread is not None:
            raise EngineError(f"Engine {self.spec.name} was started before.")
        try:
            log = EngineLog(self.log_path)
        except OSError as error:
            raise EngineError(f"The engine's log cannot be written: {error}") from None
        self._change("starting")
        name = f"engine-{self.spec.name}"
        self._thread = threading.Thread(target=self._supervise, args=(log,), name=name, daemon=True)
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the engine answers.

        Raises:
            EngineError: it was given up or stopped, or is not ready within ``timeout_s``.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._state in ("ready", "failed", "stopped"), timeout_s)
            if self._state == "ready":
                return
            reason = self._error or f"It is {self._state} after {timeout_s:g} s."
        raise EngineError(
            f"Engine {self.spec.name} does not run {self.spec.model_path}. {reason}\n"
            f"Its log: {self.log_path}"
        )

    def stop(self, grace_s: float = 5.0) -> None:
        """Cut the child's life line and wait for its end; kill it after ``grace_s`` seconds.

        Calls that still run are cut off: whoever stops an engine has drained them before.
        """
        with self._changed:
            self._stopping.set()
            child = self._child
            if child is not None and child.stdin is not None:
                with suppress(OSError):
                    child.stdin.close()
        if self._thread is not None:
            self._thread.join(grace_s)
            if self._thread.is_alive() and child is not None:
                child.kill()
                self._thread.join()
        self._reserved.close()

    def _supervise(self, log: EngineLog) -> None:
        try:
            self._keep_running(log)
        except OSError as error:
            self._change("failed", f"The engine's process cannot be run: {error}")
        finally:
            log.close()

    def _keep_running(self, log: EngineLog) -> None:
        rule = self._backoff
        failed_starts, wait_s, ran = 0, rule.first_s, False
        while not self._stopping.is_set():
            self._change("starting")
            code, up_s = self._run_child(log)
            if self._stopping.is_set():
                break
            ran = ran or up_s is not None
            failed_starts = 0 if ran else failed_starts + 1
            if code == EXIT_HOPELESS or failed_starts >= rule.tries:
                self._change("failed", _describe_end(code, log))
                return
            if up_s is not None and up_s >= rule.steady_s:
                wait_s = rule.first_s
            self._change("backoff", _describe_end(code, log))
            self._stopping.wait(wait_s)
            wait_s = min(2 * wait_s, rule.most_s)
        self._change("stopped")

    def _run_child(self, log: EngineLog) -> tuple[int, float | None]:
        """Run one child to its end: its exit code, and how long it was ready, if it ever was."""
        log.forget_last()
        child = self._spawn()
        if child is None:
            return 0, None
        assert child.stdout is not None  # noqa: S101 - for mypy: the pipe was asked for
        with child:
            pump = threading.Thread(target=self._pump, args=(child, log), daemon=True)
            pump.start()
            ready_at = None
            if child.stdout.readline() == READY:
                ready_at = time.monotonic()
                self._change("ready")
            code = child.wait()
            pump.join()
        with self._changed:
            self._child = None
        return code, None if ready_at is None else time.monotonic() - ready_at

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        port = self._reserved.getsockname()[1]
        order = encode_order(Order(self.spec, port, self.key))
        with self._changed:
            if self._stopping.is_set():
                return None
            child = subprocess.Popen(  # noqa: S603 - our own module, no shell
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=filter_environment(os.environ),
                bufsize=0,
                process_group=0,
            )
            self._child = child
            self.starts += 1
            assert child.stdin is not None  # noqa: S101 - for mypy: the pipe was asked for
            with suppress(OSError):  # a child that is dead already says so by its exit code
                child.stdin.write(order)
        return child

    def _pump(self, child: subprocess.Popen[bytes], log: EngineLog) -> None:
        assert child.stderr is not None  # noqa: S101 - for mypy: the pipe was asked for
        with os.fdopen(os.dup(child.stderr.fileno()), "rb") as lines:
            while line := lines.readline(LINE_BYTES):
                log.add(line, serving=self._state == "ready")

    def _change(self, state: State, error: str = "") -> None:
        with self._changed:
            self._state = state
            self._error = error or self._error
            self._changed.notify_all()


def filter_environment(environment: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """Return what the child gets of the environment: paths, locale, devices; no secrets."""
    passed = {
        name: value
        for name, value in environment.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    # A backtrace shows arguments, and arguments may be parts of a prompt.
    return {**passed, "GGML_NO_BACKTRACE": "1"}


def _reserve_port() -> socket.socket:
    """Take a free loopback port for as long as the engine lives, restarts included.

    It is bound and never listens: the child binds it too (SO_REUSEPORT, same user only), while
    any other process that wanted the port, and with it the calls and their key, is refused.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def _describe_end(code: int, log: EngineLog) -> str:
    how = f"exit code {code}"
    if code < 0:
        with suppress(ValueError):
            how = f"signal {signal.Signals(-code).name}"
    return "\n  ".join([f"The engine's process ended with {how}. Last lines:", *log.read_last()])
