"""An HTTP server that shows a folder of results to viewers on the same machine, read only."""

from __future__ import annotations

import contextlib
import email.utils
import errno
import html
import io
import logging
import mimetypes
import os
import re
import socket
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, ClassVar
from urllib.parse import quote, unquote_to_bytes, urlsplit

from parafovea.errors import ConfigError, StoreError
from parafovea.service.wide_floats import WideFloats, request_of

logger = logging.getLogger(__name__)

#: The only address that it listens at.
LOOPBACK = "127.0.0.1"

#: Names of this machine in requests. Others, which a foreign page had resolved to the loopback
#: address, are refused.
_HOSTS = frozenset({LOOPBACK, "localhost", "[::1]"})

#: First parts of addresses: files as they are, and with wide floating-point numbers.
FILES, WIDE = "results", "float32"

#: Bytes that are sent at once.
_PIECE = 2**20

_TYPES = {".json": "application/json", ".md": "text/markdown", ".tsv": "text/tab-separated-values"}
_BINARY = "application/octet-stream"

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a request is answered with: a file, or bytes."""

    content: bytes | Path
    size: int
    content_type: str
    changed: float | None = None

    @property
    def tag(self) -> str | None:
        """Entity tag of a file."""
        if self.changed is None:
            return None
        return f'"{self.size:x}-{round(self.changed * 1e9):x}"'


class ResultsServer(ThreadingHTTPServer):
    """Server of the files below a folder, at `/results/NAME/` and `/float32/NAME/`.

    It answers GET and HEAD, with parts of files; requests of pages of other origins than the
    given ones are not readable by these pages. Links that lead out of the folder, hidden files and
    other names of the machine are refused.

    Parameters
    ----------
    folder : Path
        The folder, such as that of a sample's results.
    port : int
        Port at the loopback address; 0 for any that is free.
    origins : sequence of str
        Origins of the pages that may read, such as "https://neuroglancer-demo.appspot.com".

    Raises
    ------
    ConfigError
        If the port is not free, or may not be used.
    """

    daemon_threads = True
    block_on_close = False
    #: Connections that wait to be accepted; viewers open many at once.
    request_queue_size = 128

    def __init__(self, folder: Path, *, port: int = 0, origins: Sequence[str] = ()) -> None:
        self.folder = folder.resolve()
        self.origins = frozenset(origins)
        self.wide_floats = WideFloats()
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = {
                errno.EADDRINUSE: "is in use",
                errno.EACCES: "may not be used by you",
            }.get(getattr(error, "errno", None) or 0, str(error))
            raise ConfigError(
                f"port {port} of {LOOPBACK} {reason}: choose another one by --port, or --port 0 "
                "for any that is free"
            ) from error

    def address(self, *parts: str, wide: bool = False) -> str:
        """Return the address of a file or folder by its path in the folder.

        Parameters
        ----------
        *parts : str
            Names on the way to it.
        wide : bool
            Whether arrays of half precision are to be served as float32.
        """
        way = "/".join(quote(part) for part in (self.folder.name, *parts))
        return f"http://{LOOPBACK}:{self.server_port}/{WIDE if wide else FILES}/{way}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Log an error of a request; the server goes on."""
        # a viewer that moves on ends its connections as it likes
        usual = isinstance(sys.exception(), ConnectionError | TimeoutError)
        level = logging.DEBUG if usual else logging.WARNING
        logger.log(level, "a request of %s failed", client_address, exc_info=True)

    def server_bind(self) -> None:
        """Bind without asking for the name of the machine, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])


class _Refused(Exception):  # noqa: N818  (an answer, not an error of the program)
    """An answer without content."""

    def __init__(self, status: HTTPStatus, **headers: str) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


class _Handler(BaseHTTPRequestHandler):
    server: ResultsServer
    protocol_version = "HTTP/1.1"
    server_version = "parafovea"
    sys_version = ""
    #: Seconds after which an idle connection is closed.
    timeout = 60
    _METHODS: ClassVar = "GET, HEAD, OPTIONS"

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_OPTIONS(self) -> None:
        """Answer what a browser asks before a page of another origin reads."""
        try:
            self._check_host()
        except _Refused as refused:
            self._refuse(refused)
            return
        self.send_response(HTTPStatus.NO_CONTENT)
        self.send_header("Allow", self._METHODS)
        self._allow_origin()
        if self._origin() is not None:
            self.send_header("Access-Control-Allow-Methods", self._METHODS)
            self.send_header("Access-Control-Allow-Headers", "Range, If-None-Match, Cache-Control")
            self.send_header("Access-Control-Max-Age", "600")
            if self.headers.get("Access-Control-Request-Private-Network") == "true":
                self.send_header("Access-Control-Allow-Private-Network", "true")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse_method(self) -> None:
        # what comes with it is not read
        self.close_connection = True
        self._refuse(_Refused(HTTPStatus.METHOD_NOT_ALLOWED, Allow=self._METHODS))

    do_POST = do_PUT = do_DELETE = do_PATCH = do_TRACE = do_CONNECT = _refuse_method  # noqa: N815

    def _answer(self, *, with_content: bool) -> None:
        try:
            self._check_host()
            answer = self._found()
            self._send(answer, with_content=with_content)
        except _Refused as refused:
            self._refuse(refused)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            # the viewer moved on
            self.close_connection = True

    def _check_host(self) -> None:
        """Refuse requests that were meant for another machine."""
        hosts = self.headers.get_all("Host") or [""]
        name = re.sub(r":\d+$", "", hosts[0].strip().lower())
        if len(hosts) != 1 or name not in _HOSTS:
            self.close_connection = True
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST)

    def _found(self) -> _Answer:
        names = self._names()
        if not names:
            return self._listing([f"{FILES}/", f"{WIDE}/"])
        first, *within = names
        if first not in (FILES, WIDE):
            raise _Refused(HTTPStatus.NOT_FOUND)
        if not within:
            return self._listing([f"{self.server.folder.name}/"])
        if within[0] != self.server.folder.name:
            raise _Refused(HTTPStatus.NOT_FOUND)
        place = self.server.folder.joinpath(*within[1:])
        if first == WIDE:
            content = self._widened(place)
            if content is not None:
                return _Answer(content, len(content), self._type_of(place))
        there = self._require_inside(place)
        try:
            status = there.stat()
        except OSError:
            raise _Refused(HTTPStatus.NOT_FOUND) from None
        if stat.S_ISDIR(status.st_mode):
            return self._folder(there)
        if not stat.S_ISREG(status.st_mode):
            raise _Refused(HTTPStatus.NOT_FOUND)
        return _Answer(there, status.st_size, self._type_of(place), status.st_mtime)

    def _widened(self, place: Path) -> bytes | None:
        """Return a file of an array of half precision as float32, None for any other file."""
        asked = request_of(place)
        if asked is None:
            return None
        folder = self._require_inside(asked.array)
        try:
            return self.server.wide_floats.content(folder, asked)
        except LookupError:
            raise _Refused(HTTPStatus.NOT_FOUND) from None
        except StoreError as error:
            # an absent chunk would be taken for zeros
            logger.warning("%s", error)
            raise _Refused(HTTPStatus.INTERNAL_SERVER_ERROR) from None

    def _names(self) -> list[str]:
        """Return the names on the way to what is asked for."""
        try:
            way = unquote_to_bytes(urlsplit(self.path).path).decode("utf-8")
        except ValueError:
            raise _Refused(HTTPStatus.BAD_REQUEST) from None
        if not way.startswith("/") or "\0" in way or "\\" in way:
            raise _Refused(HTTPStatus.BAD_REQUEST)
        names = [name for name in way.split("/") if name]
        # "." and ".." begin like hidden files
        if any(name.startswith(".") for name in names):
            raise _Refused(HTTPStatus.NOT_FOUND)
        return names

    def _require_inside(self, place: Path) -> Path:
        """Return a path with all links followed, if it exists within the folder."""
        try:
            there = place.resolve(strict=True)
        except (OSError, RuntimeError):
            raise _Refused(HTTPStatus.NOT_FOUND) from None
        hidden = (
            name.startswith(".") for name in os.path.relpath(there, self.server.folder).split("/")
        )
        if there != self.server.folder and (
            not there.is_relative_to(self.server.folder) or any(hidden)
        ):
            raise _Refused(HTTPStatus.FORBIDDEN)
        return there

    @staticmethod
    def _type_of(place: Path) -> str:
        if place.suffix in _TYPES:
            return _TYPES[place.suffix]
        found, encoding = mimetypes.guess_type(place.name)
        return _BINARY if encoding or found is None else found

    def _folder(self, folder: Path) -> _Answer:
        try:
            places = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
        except OSError:
            raise _Refused(HTTPStatus.NOT_FOUND) from None
        names = []
        for place in places:
            with contextlib.suppress(_Refused, OSError):
                there = self._require_inside(place) if place.is_symlink() else place
                names.append(f"{place.name}/" if there.is_dir() else place.name)
        return self._listing(names)

    def _listing(self, names: Sequence[str]) -> _Answer:
        base = quote(unquote_to_bytes(urlsplit(self.path).path).rstrip(b"/"))
        lines = "\n".join(
            f'<li><a href="{base}/{quote(name, errors="surrogateescape")}">'
            f"{html.escape(os.fsencode(name).decode('utf-8', 'replace'))}</a></li>"
            for name in names
        )
        head = '<!DOCTYPE html>\n<meta charset="utf-8"><title>Results</title>\n'
        content = f"{head}<ul>\n{lines}\n</ul>\n".encode()
        return _Answer(content, len(content), "text/html")

    def _send(self, answer: _Answer, *, with_content: bool) -> None:
        if answer.tag is not None and self.headers.get("If-None-Match") == answer.tag:
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self._describe(answer)
            self.end_headers()
            return
        start, stop, status = self._span(answer.size)
        with _opened(answer.content) as source:
            source.seek(start)
            self.send_response(status)
            self._describe(answer)
            text = answer.content_type.startswith("text/")
            self.send_header("Content-Type", answer.content_type + "; charset=utf-8" * text)
            self.send_header("Content-Length", str(stop - start))
            if status == HTTPStatus.PARTIAL_CONTENT:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{answer.size}")
            self.end_headers()
            left = stop - start if with_content else 0
            while left:
                piece = source.read(min(left, _PIECE))
                if not piece:
                    # shorter than it was a moment ago: the viewer has to notice
                    self.close_connection = True
                    return
                self.wfile.write(piece)
                left -= len(piece)

    def _describe(self, answer: _Answer) -> None:
        self._allow_origin()
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        if answer.tag is not None:
            self.send_header("ETag", answer.tag)
        if answer.changed is not None:
            self.send_header("Last-Modified", email.utils.formatdate(answer.changed, usegmt=True))

    def _span(self, size: int) -> tuple[int, int, HTTPStatus]:
        """Return the first byte to send and the one after the last."""
        whole = (0, size, HTTPStatus.OK)
        found = _RANGE.fullmatch(self.headers.get("Range", "").replace(" ", ""))
        # several ranges, and other units, may be ignored
        if found is None or not (found[1] or found[2]):
            return whole
        if not found[1]:
            start, stop = max(0, size - int(found[2])), size
        else:
            start, stop = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
            if found[2] and int(found[2]) < start:
                return whole
        if start >= stop:
            raise _Refused(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, **{"Content-Range": f"bytes */{size}"}
            )
        return start, stop, HTTPStatus.PARTIAL_CONTENT

    def _refuse(self, refused: _Refused) -> None:
        content = f"{refused.status.value} {refused.status.phrase}\n".encode()
        self.send_response(refused.status)
        self._allow_origin()
        for name, value in refused.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _origin(self) -> str | None:
        """Return the origin of the page that asks, if it may read."""
        origin = self.headers.get("Origin")
        return origin if origin in self.server.origins else None

    def _allow_origin(self) -> None:
        self.send_header("Vary", "Origin")
        origin = self._origin()
        if origin is not None:
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header(
                "Access-Control-Expose-Headers",
                "Accept-Ranges, Content-Length, Content-Range, ETag, Last-Modified",
            )

    def log_message(self, format: str, *args: object) -> None:
        """Log a request where the user asks for debug messages."""
        logger.debug(format, *args)


def _opened(content: bytes | Path) -> BinaryIO:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    try:
        return content.open("rb")
    except OSError:
        raise _Refused(HTTPStatus.NOT_FOUND) from None
