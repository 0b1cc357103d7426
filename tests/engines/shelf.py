"""A small web server with model files, that can cut connections and redirect."""

import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self


@dataclass
class Shelf:
    """What lies on the server, how it misbehaves, and what was asked of it.

    ``cuts`` are the bytes after which the next answers break off; ``validators`` are the headers
    that say which version of a file it is.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": '"v1"'})
    cuts: list[int] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        shelf = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shelf.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.path, headers))
        if request.path in self.refusals:
            self.send(request, self.refusals[request.path], {})
        elif request.path in self.redirects:
            self.send(request, 302, {"Location": self.redirects[request.path]})
        elif request.path in self.files:
            self.send_file(request, self.files[request.path], headers)
        else:
            self.send(request, 404, {})

    def send_file(
        self, request: BaseHTTPRequestHandler, content: bytes, headers: dict[str, str]
    ) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        same = headers.get("if-range") in self.validators.values()
        start = int(asked[1]) if asked and same else 0
        if start >= len(content):
            self.send(request, 416, {})
            return
        own = dict(self.validators)
        if start:
            own["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        cut = self.cuts.pop(0) if self.cuts else len(body)
        self.send(request, 206 if start else 200, own, body, cut)

    def send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        body: bytes = b"",
        cut: int | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body[:cut])
