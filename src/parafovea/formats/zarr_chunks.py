"""Detection of missing chunks in a Zarr array, which zarr silently reads as the fill value."""

from __future__ import annotations

import logging
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from parafovea.errors import SourceError
from parafovea.formats.registry import ZARR_METADATA
from parafovea.formats.source import readable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunks:
    """Chunks of an array, or its shards if it has any.

    Parameters
    ----------
    total : int
        Number of chunks of the complete array.
    found : int
        Number of chunks found under the keys implied by the metadata.
    smallest : tuple of int or None
        Index in the chunk grid of the chunk with the fewest bytes.
    strange : str or None
        A file that looks like a chunk under a key that does not match the metadata.
    """

    total: int
    found: int
    smallest: tuple[int, ...] | None
    strange: str | None


def chunks_of(array: zarr.Array[Any], folder: Path) -> Chunks:
    """Count the chunks of an array on disk.

    Parameters
    ----------
    array : zarr.Array
        The array.
    folder : Path
        Its folder.
    """
    counts = [-(-n // k) for n, k in zip(array.shape, _pieces(array), strict=True)]
    found, smallest, least, strange = 0, None, math.inf, None
    for place, _, names in os.walk(folder):
        inner = os.path.relpath(place, folder)
        for name in names:
            key = name if inner == "." else f"{inner}/{name}".replace(os.sep, "/")
            index = tuple(int(number) for number in re.findall("[0-9]+", key))
            if name in (*ZARR_METADATA, ".zattrs", ".zmetadata") or len(index) != array.ndim:
                continue
            if array.metadata.encode_chunk_key(index) != key:
                if strange is None and re.fullmatch(r"(c[./])?[0-9]+([./][0-9]+)*", key):
                    strange = key
            elif all(i < n for i, n in zip(index, counts, strict=True)):
                found += 1
                size = os.stat(os.path.join(place, name)).st_size  # noqa: PTH116, PTH118
                if size < least:
                    smallest, least = index, size
    return Chunks(math.prod(counts), found, smallest, strange)


def check_chunks(path: str, array: zarr.Array[Any], *, labels: bool, sparse: bool = False) -> None:
    """Log the number of missing chunks; refuse an array without chunks or with lost ones.

    Parameters
    ----------
    path : str
        Folder of the array.
    array : zarr.Array
        The array.
    labels : bool
        Whether it is a truth. If its writer stored chunks that contain only the fill value,
        missing chunks are lost data, and the truth is refused.
    sparse : bool
        Whether its writer is known to omit chunks that contain only the fill value, so that
        even all of them may be missing.

    Raises
    ------
    SourceError
        If there is no chunk, or chunks of a truth are lost.
    """
    if not array.ndim or not math.prod(array.shape):
        return
    chunks = chunks_of(array, Path(path))
    stated = array.metadata.encode_chunk_key((0,) * array.ndim)
    said = f"{chunks.found} of {chunks.total} chunks"
    if not chunks.found and (chunks.strange or not sparse):
        other = (
            ""
            if chunks.strange is None
            else f"; there are files such as {chunks.strange}: correct the metadata"
        )
        raise SourceError(
            f"{path} holds {said} under the keys it states, such as {stated}{other}: all of it "
            f"would read as {array.fill_value}; copy the array again"
        )
    if chunks.found == chunks.total:
        return
    fill = array.fill_value
    if fill is None:
        raise SourceError(
            f"{path} holds {said}, and its metadata state no fill value for the others: copy the "
            "array again"
        )
    if labels and chunks.smallest is not None:
        corner = [i * k for i, k in zip(chunks.smallest, _pieces(array), strict=True)]
        with readable(path):
            part = np.asarray(
                array[tuple(slice(c, c + k) for c, k in zip(corner, _pieces(array), strict=True))]
            )
        if (part == fill).all():
            raise SourceError(
                f"truth {path} holds {said}. Its writer stored even chunks that hold only {fill}, "
                "so the others are lost: copy the truth again"
            )
    logger.warning(
        "%s holds %s; the others read as %s, since they were left out as empty or are lost",
        path,
        said,
        fill,
    )


def _pieces(array: zarr.Array[Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in array.shards or array.chunks)
