"""A damaged file is the fault of one tile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from parafovea.errors import SourceError, TileError
from parafovea.formats.source import readable


@contextlib.contextmanager
def readable_tile(path: Path, *failures: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong while a tile is read into one `TileError`.

    Parameters
    ----------
    path : Path
        For the message.
    *failures : type
        Errors of one library beside the built-in ones.
    """
    try:
        with readable(str(path), *failures):
            yield
    except TileError:
        raise
    except SourceError as error:
        raise TileError(str(error)) from error
