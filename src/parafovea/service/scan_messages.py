"""A scan that comes by WebSocket, as one message or several, with or without words before it.

A client may begin with a text of JSON: `filename`, `task`, `config` (YAML), `metadata` (words) and
`size` in bytes, all optional. The scan follows in binary messages. It is complete at its size, at
the text `end`, or, without either, when nothing comes for a moment.
"""

from __future__ import annotations

import asyncio
import json
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
    messages: Messages
    patience: float

    async def next(self, wait: float) -> str | bytes | None:
        """Return the next message, None if none comes in time."""
        try:
            async with asyncio.timeout(wait):
                message = await self.messages.receive()
        except TimeoutError:
            return None
        if message["type"] != "websocket.receive":
            raise ClientGone
        data = message.get("bytes")
        return data if data is not None else str(message.get("text") or "")


async def received_scan(messages: Messages, folder: Path, limits: Limits) -> ScanHeader:
    """Write a scan that comes in messages to `upload/file` in a folder, and return its header.

    Parameters
    ----------
    messages : WebSocket
        An accepted connection.
    folder : Path
        Folder of the job.
    limits : Limits
        What the scan may be.

    Raises
    ------
    Refusal
        If it is too large or too slow, or its header is invalid.
    ClientGone
        If the client went away.
    """
    reader = _Reader(messages, limits.patience)
    first = await reader.next(limits.patience)
    header = ScanHeader()
    if isinstance(first, str):
        header = _header(first)
        first = await reader.next(limits.patience)
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
            piece = await reader.next(QUIET if header.size is None else limits.patience)
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
