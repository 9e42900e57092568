"""What a client sends, written to the disk as it comes: counted, timed, and checked for space."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Self

from parafovea.runtime.optional_packages import import_extra
from parafovea.service.refusal import Refusal

#: Most bytes of a config that comes with an upload, of its metadata, and of any other field.
CONFIG_BYTES, METADATA_BYTES, FIELD_BYTES = 64 * 1024, 4096, 256

#: Parts of a form that are known, with the most bytes of each; the file has a limit of its own.
FIELDS = {"config": CONFIG_BYTES, "metadata": METADATA_BYTES, "task": FIELD_BYTES}

_PARTS = f"file, {', '.join(list(FIELDS)[:-1])} and {list(FIELDS)[-1]}"

#: Bytes that are collected before they are written, and after which the disk is looked at again.
PIECE, LOOK = 2**20, 64 * 2**20

#: What a client gets to know of a full disk.
DISK_FULL = "the disk of the service is full, or almost: delete results, or try again later"

#: Bytes of a form around its file: its other fields, and what stands between and around them.
AROUND = 2**20

#: Seconds before the rate of an upload counts.
GRACE = 30.0

#: Bytes and seconds for which the rest of a refused upload is read, so that its client sees why.
DRAIN_BYTES, DRAIN_SECONDS = 64 * 2**20, 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upload may be.

    Parameters
    ----------
    size : int
        Most bytes of the file.
    patience : float
        Seconds between two pieces.
    rate : int
        Bytes a second on the average.
    free : callable
        Returns the bytes that the disk has left for uploads.
    """

    size: int
    patience: float
    rate: int
    free: Callable[[], int]

    def require_space(self, size: int) -> None:
        """Refuse an upload that the limits or the disk have no room for.

        Parameters
        ----------
        size : int
            Bytes that are still to come, as far as they are known.

        Raises
        ------
        Refusal
            413 or 507.
        """
        if size > self.size:
            raise too_large(self.size)
        if size > self.free():
            raise Refusal(HTTPStatus.INSUFFICIENT_STORAGE, DISK_FULL)

    def require_rate(self, received: int, seconds: float) -> None:
        """Refuse an upload that is slower than `rate` on the average.

        Parameters
        ----------
        received : int
            Bytes that have come.
        seconds : float
            Since it began.

        Raises
        ------
        Refusal
            408.
        """
        if seconds > GRACE and received < self.rate * seconds:
            raise _slow()


def is_full(error: BaseException) -> bool:
    """Return whether an error is that of a full disk, or of its quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def too_large(limit: int) -> Refusal:
    """Return the refusal of what is larger than a limit in bytes."""
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"an upload may have {limit} bytes: crop or compress the scan",
    )


class IncomingFile:
    """A file of an upload, which is written in pieces.

    Parameters
    ----------
    path : Path
        Where it goes.
    limits : Limits
        What it may be.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.size = 0
        self._limits = limits
        self._looked = 0
        self._file: IO[bytes] = path.open("xb")

    def write(self, data: bytes) -> None:
        """Append some bytes.

        Raises
        ------
        Refusal
            If there are too many of them, or the disk is full.
        """
        self.size += len(data)
        if self.size > self._limits.size:
            raise too_large(self._limits.size)
        if self.size - self._looked >= LOOK:
            self._looked = self.size
            self._limits.require_space(0 if self._limits.free() > 0 else 1)
        self._file.write(data)

    def close(self) -> None:
        """Make sure that the file is on the disk; it is closed even if the disk is full."""
        if not self._file.closed:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()


class ClientGone(Exception):  # noqa: N818  (no error of the program)
    """The client closed the connection before its upload was complete."""


class Body:
    """The body of a request, which comes in pieces.

    Parameters
    ----------
    receive : callable
        That of ASGI.
    limits : Limits
        How long to wait.
    """

    def __init__(self, receive: Callable[[], Awaitable[Any]], limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._complete = False

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            self._complete = True
            raise ClientGone
        self._complete = not message.get("more_body")
        return bytes(message.get("body", b""))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the pieces, and refuse a client that is silent, very slow, or does not end.

        Raises
        ------
        Refusal
            408 or 413.
        ClientGone
            If the client went away.
        """
        begin, received = time.monotonic(), 0
        while not self._complete:
            try:
                async with asyncio.timeout(self._limits.patience):
                    piece = await self._next()
            except TimeoutError:
                raise _slow() from None
            received += len(piece)
            self._limits.require_rate(received, time.monotonic() - begin)
            if received > self._limits.size + AROUND:
                raise too_large(self._limits.size)
            yield piece

    async def drain(self) -> None:
        """Read what is left for a moment: the client of a refused upload then reads the answer."""
        left = DRAIN_BYTES
        with contextlib.suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(DRAIN_SECONDS):
                while left > 0 and not self._complete:
                    left -= len(await self._next())


def _slow() -> Refusal:
    return Refusal(HTTPStatus.REQUEST_TIMEOUT, "the upload is too slow: try again")


@dataclass
class Form:
    """The parts of a form.

    Parameters
    ----------
    folder : Path
        Folder of the job; the file goes to `upload` in it, under the name `file`.
    limits : Limits
        What the file may be.
    """

    folder: Path
    limits: Limits
    filename: str = ""
    fields: dict[str, bytes] = field(default_factory=dict)
    file: IncomingFile | None = None
    _name: str | None = None
    _header: list[bytes] = field(default_factory=lambda: [b"", b""])
    _headers: dict[str, str] = field(default_factory=dict)
    _waiting: bytearray = field(default_factory=bytearray)
    _parts: int = 0
    _ended: bool = False

    @classmethod
    async def received(cls, content_type: str, body: Body, folder: Path, limits: Limits) -> Self:
        """Return a form that a client sends.

        Parameters
        ----------
        content_type : str
            Header of the request.
        body : Body
            Its body.
        folder, limits
            See the class.

        Raises
        ------
        Refusal
            If it is no valid form, is too large, has unknown parts or lacks the file.
        ClientGone
            If the client went away.
        """
        library = import_extra("python_multipart")
        kind, options = library.multipart.parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "send multipart/form-data with the part file: curl -F file=@scan.nii.gz",
            )
        form = cls(folder, limits)
        try:
            parser = library.MultipartParser(boundary, form._callbacks())
            async for piece in body.pieces():
                parser.write(piece)
                if len(form._waiting) >= PIECE:
                    await asyncio.to_thread(form._flush)
            parser.finalize()
            await asyncio.to_thread(form._close)
        except library.exceptions.FormParserError:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the form is malformed: send it again") from None
        finally:
            if form.file is not None:
                form.file.close()
        if not form._ended:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the form is cut short: send it again")
        if form.file is None or not form.file.size:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY, "the part file is missing or empty: add the scan"
            )
        return form

    def text(self, name: str) -> str:
        """Return a field as text, empty if it was not sent."""
        return self.fields.get(name, b"").decode("utf-8", "replace")

    def _callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._part_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > 1 + len(FIELDS):
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the form has more parts than {_PARTS}: remove the others",
            )
        self._headers, self._header, self._name = {}, [b"", b""], None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        library = import_extra("python_multipart")
        disposition = self._headers.get("content-disposition", "")
        _, options = library.multipart.parse_options_header(disposition.encode())
        name = options.get(b"name", b"").decode("utf-8", "replace")
        known = name == "file" or name in FIELDS
        if not known or name in self.fields or (name == "file" and self.file is not None):
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the parts of the form are {_PARTS}, each once: correct it",
            )
        self._name = name
        if name == "file":
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")
            place = self.folder / "upload"
            place.mkdir(mode=0o700, parents=True)
            self.file = IncomingFile(place / "file", self.limits)
        else:
            self.fields[name] = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self._waiting += data[start:end]
            if self.file is not None and self.file.size + len(self._waiting) > self.limits.size:
                raise too_large(self.limits.size)
        elif self._name is not None:
            limit = FIELDS[self._name]
            self.fields[self._name] += data[start:end]
            if len(self.fields[self._name]) > limit:
                raise Refusal(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"the part {self._name} may have {limit} bytes: shorten it",
                )

    def _end_part(self) -> None:
        self._flush()
        self._name = None

    def _end(self) -> None:
        self._ended = True

    def _flush(self) -> None:
        if self.file is not None and self._waiting:
            self.file.write(bytes(self._waiting))
        self._waiting.clear()

    def _close(self) -> None:
        self._flush()
        if self.file is not None:
            self.file.close()
