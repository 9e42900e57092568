"""A scan that comes by WebSocket, as one message or several, with or without words before it.

A client may begin with a text of JSON: `filename`, `task`, `config` (YAML), `metadata` (words) and
`size` in bytes, all optional. The scan follows in binary messages. It is complete at its size, at
the text `end`, or, without either, when nothing comes for a moment.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parafovea.service.refusal import Refusal
from parafovea.service.uploads import (
    CONFIG_BYTES,
    FIELD_BYTES,
    METADATA_BYTES,
    ClientGone,
    IncomingFile,
    Limits,
)

#: Seconds without a message after which a scan of unknown size is complete.
QUIET = 1.0

#: Text that ends a scan.
END = "end"


class ScanHeader(BaseModel):
    """What a client says of a scan before it sends it."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field("", max_length=1000)
    task: str = Field("", max_length=FIELD_BYTES)
    config: str = Field("", max_length=CONFIG_BYTES)
    metadata: str = Field("", max_length=METADATA_BYTES)
    size: int | None = Field(None, ge=1)


class Messages(Protocol):
    """The receiving side of a WebSocket."""

    async def receive(self) -> Any:
        """Return the next message of ASGI."""


@dataclass
class _Reader:
    """Reads messages, and knows whether one is on its way that is not complete.

    Parameters
    ----------
    messages : WebSocket
        The connection.
    received : callable or None
        Returns how many bytes have come; None if the server does not tell.
    """

    messages: Messages
    received: Callable[[], int] | None

    async def next(self, wait: float, *, least: float = 1) -> str | bytes | None:
        """Return the next message, None if nothing comes for so long.

        Parameters
        ----------
        wait : float
            Seconds.
        least : float
            Bytes that have to come in this time, if a message is not complete.
        """
        waiting = asyncio.ensure_future(self.messages.receive())
        try:
            before = self._count()
            while not (await asyncio.wait({waiting}, timeout=wait))[0]:
                now = self._count()
                if now - before < least:
                    return None
                before = now
        finally:
            if not waiting.done():
                waiting.cancel()
        message = waiting.result()
        if message["type"] != "websocket.receive":
            raise ClientGone
        data = message.get("bytes")
        return data if data is not None else str(message.get("text") or "")

    def _count(self) -> int:
        return 0 if self.received is None else self.received()


async def received_scan(
    messages: Messages,
    folder: Path,
    limits: Limits,
    *,
    received: Callable[[], int] | None = None,
) -> ScanHeader:
    """Write a scan that comes in messages to `upload/file` in a folder, and return its header.

    Parameters
    ----------
    messages : WebSocket
        An accepted connection.
    folder : Path
        Folder of the job.
    limits : Limits
        What the scan may be.
    received : callable, optional
        Returns how many bytes have come, those of an incomplete message included: by it a slow
        client is told from a silent one.

    Raises
    ------
    Refusal
        If it is too large or too slow, or its header is invalid.
    ClientGone
        If the client went away.
    """
    reader = _Reader(messages, received)
    patience, least = limits.patience, max(1.0, limits.rate * limits.patience)
    begin = time.monotonic()
    first = await reader.next(patience, least=least)
    header = ScanHeader()
    if isinstance(first, str):
        header = _header(first)
        first = await reader.next(patience, least=least)
    if not isinstance(first, bytes):
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "no scan has come: send its bytes")
    limits.require_space(header.size or len(first))
    place = folder / "upload"
    place.mkdir(mode=0o700, parents=True)
    file = IncomingFile(place / "file", limits)
    try:
        piece: str | bytes | None = first
        while isinstance(piece, bytes):
            await asyncio.to_thread(file.write, piece)
            if header.size is not None and file.size >= header.size:
                break
            limits.require_rate(file.size, time.monotonic() - begin)
            if header.size is None:
                piece = await reader.next(QUIET)
            else:
                piece = await reader.next(patience, least=least)
        if isinstance(piece, str) and piece.strip() != END:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"after the scan comes the text {END!r}, or none"
            )
        if header.size is not None and file.size != header.size:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the scan has {file.size} bytes, and its size is stated as {header.size}",
            )
    finally:
        await asyncio.to_thread(file.close)
    return header


def _header(text: str) -> ScanHeader:
    try:
        if len(text) > 2 * CONFIG_BYTES:
            raise ValueError
        return ScanHeader.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError):
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "the text before a scan is JSON with filename, task, config, metadata and size, all "
            "optional",
        ) from None
