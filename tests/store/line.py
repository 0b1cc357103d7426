"""A line to a server that a test can cut, freeze and mend: a TCP relay on 127.0.0.1."""

import socket
import threading
from contextlib import suppress
from typing import Self


class _Carrier:
    """One connection through the line; carries bytes only while it flows."""

    def __init__(self, near: socket.socket, far: socket.socket, *, flows: bool) -> None:
        self._ends = (near, far)
        self.flowing = threading.Event()
        if flows:
            self.flowing.set()
        self.threads = [
            threading.Thread(target=self._carry, args=pair) for pair in ((near, far), (far, near))
        ]
        for thread in self.threads:
            thread.start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.flowing.wait()
                sink.sendall(data)
            self.flowing.wait()
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.flowing.set()
        for thread in self.threads:
            thread.join()
        for end in self._ends:
            end.close()


class Line:
    """Leads from ``port`` on 127.0.0.1 to a server, until the block ends.

    Args:
        host: the server's.
        port: the server's.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._carriers: list[_Carrier] = []
        self._flows = True
        self.port = 0
        self.mend()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """End every connection, and refuse new ones."""
        if self._listener.fileno() == -1:
            return
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for carrier in self._carriers:
            carrier.close()
        self._carriers.clear()

    def mend(self) -> None:
        """Take connections, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def freeze(self) -> None:
        """Take connections and bytes, but let nothing through, until ``thaw``."""
        self._flows = False
        self.strand()

    def thaw(self) -> None:
        """Let through what was held back."""
        self._flows = True
        for carrier in self._carriers:
            carrier.flowing.set()

    def strand(self) -> None:
        """Let nothing through on the connections that there are; new ones are not affected."""
        for carrier in self._carriers:
            carrier.flowing.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                self._carriers.append(_Carrier(near, far, flows=self._flows))
