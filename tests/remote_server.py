"""An HTTP server of a folder for tests: with ranges and ETags, and with faults on demand."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

#: Answers in place of a file: a status, "cut" for half of the body, "slow", "loop" for a
#: redirect to itself, "away" for one to `/moved`, and "whole" for an answer without its range.
Fault = int | str


class FolderServer:
    """A server on loopback.

    Parameters
    ----------
    folder : Path
        What it serves.

    Attributes
    ----------
    fault : callable
        Returns the fault of a request by its path and how often that was asked for before, or None.
    asked : list of (str, str, int)
        Method, path and status of every answer.
    authorized : list of str
        The header Authorization of every request, "" without it.
    most_at_once : int
        Most requests that were answered at the same time.
    encoding : callable
        Returns the Content-Encoding of a file by its path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault: Callable[[str, int], Fault | None] = lambda path, before: None
        self.asked: list[tuple[str, str, int]] = []
        self.authorized: list[str] = []
        self.encoding: Callable[[str], str] = lambda path: ""
        self.counts: Counter[str] = Counter()
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def paths(self) -> list[str]:
        """Return the paths that were asked for."""
        return [path for _, path, _ in self.asked]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def status(self, code: int, size: int = 0, **headers: str) -> None:
                outer.asked.append((self.command, self.path, code))
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(size))
                self.end_headers()

            def answer(self, *, body: bool) -> None:
                with outer._lock:
                    outer._at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer._at_once)
                try:
                    self.answer_one(body=body)
                finally:
                    with outer._lock:
                        outer._at_once -= 1

            def answer_one(self, *, body: bool) -> None:
                before = outer.counts[self.path]
                outer.counts[self.path] += 1
                fault = outer.fault(self.path, before)
                if isinstance(fault, int):
                    self.status(fault)
                    return
                if fault == "loop":
                    self.status(302, Location=self.path)
                    return
                if fault == "away":
                    self.status(302, Location=f"/moved{self.path}")
                    return
                if fault == "slow":
                    time.sleep(1.0)
                outer.authorized.append(self.headers.get("Authorization", ""))
                file = outer.folder / unquote(self.path).removeprefix("/moved").lstrip("/")
                if not file.is_file():
                    self.status(404)
                    return
                data = file.read_bytes()
                stamp = f"{file.stat().st_mtime_ns}".encode()
                etag = f'"{hashlib.md5(data + stamp).hexdigest()}"'  # noqa: S324
                modified = self.date_time_string(int(file.stat().st_mtime))
                facts = {"ETag": etag, "Last_Modified": modified, "Accept_Ranges": "bytes"}
                if outer.encoding(self.path):
                    facts["Content_Encoding"] = outer.encoding(self.path)
                if self.headers.get("If-None-Match") == etag:
                    self.status(304, **facts)
                    return
                code, part = 200, data
                wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
                if wanted and fault != "whole":
                    first, last = wanted[1], wanted[2]
                    start = int(first) if first else max(0, len(data) - int(last))
                    stop = min(len(data), int(last) + 1) if first and last else len(data)
                    code, part = 206, data[start:stop]
                    facts["Content_Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
                self.status(code, len(part), **facts)
                if not body:
                    return
                if fault == "cut":
                    self.wfile.write(part[: len(part) // 2])
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.close()
                    return
                self.wfile.write(part)

        return Handler

    def start(self) -> None:
        """Begin to serve, in a thread."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the server, if it runs."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[FolderServer]:
    """Serve a folder on loopback while the block runs."""
    server = FolderServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
