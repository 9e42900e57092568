"""Detection of missing chunks in a Zarr array, which zarr silently reads as the fill value."""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from parafovea.errors import SourceError
from parafovea.formats.registry import ZARR_METADATA
from parafovea.formats.source import VolumeView, readable
from parafovea.storage.chunk_files import EVERY_FILE

logger = logging.getLogger(__name__)


#: Missing chunks of a truth that are looked at for labels that end at them.
_LOOKED_AT = 128
#: Share of the labels one voxel further away that reach a missing chunk if it was lost: labels that
#: end by themselves are about twice as many there. Below the number of voxels it is chance.
_CUT, _LEAST = 0.75, 12


Index = tuple[int, ...]


@dataclass(frozen=True)
class Chunks:
    """Chunks of an array, or its shards if it has any.

    Parameters
    ----------
    total : int
        Number of chunks of the complete array.
    there : set of tuple of int
        Their indices in the chunk grid.
    smallest : tuple of int or None
        Index of the chunk with the fewest bytes.
    strange : str or None
        A file that looks like a chunk under a key that does not match the metadata.
    """

    total: int
    there: set[Index]
    smallest: Index | None
    strange: str | None

    @property
    def found(self) -> int:
        """Number of chunks found under the keys implied by the metadata."""
        return len(self.there)


def chunks_of(array: zarr.Array[Any], folder: Path, fixed: Mapping[int, int]) -> Chunks:
    """Count the chunks of an array on disk.

    Parameters
    ----------
    array : zarr.Array
        The array.
    folder : Path
        Its folder.
    fixed : mapping of int to int
        Index that is read along an axis; chunks elsewhere do not count.
    """
    counts = _counts(array)
    read = {axis: at // _pieces(array)[axis] for axis, at in fixed.items()}
    there: set[Index] = set()
    smallest, least, strange = None, math.inf, None
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
            elif all(i < n for i, n in zip(index, counts, strict=True)) and all(
                index[axis] == at for axis, at in read.items()
            ):
                there.add(index)
                size = os.stat(os.path.join(place, name)).st_size  # noqa: PTH116, PTH118
                if size < least:
                    smallest, least = index, size
    total = math.prod(n for axis, n in enumerate(counts) if axis not in read)
    return Chunks(total, there, smallest, strange)


def check_chunks(
    path: str,
    array: zarr.Array[Any],
    view: VolumeView,
    *,
    labels: bool,
    partial: bool = False,
    sparse: bool = False,
    coarser: zarr.Array[Any] | None = None,
    chunks: Chunks | None = None,
) -> None:
    """Log the number of missing chunks; refuse an array without chunks or with lost ones.

    Parameters
    ----------
    path : str
        Folder of the array.
    array : zarr.Array
        The array.
    view : VolumeView
        The volume read from it; chunks of other channels do not count.
    labels : bool
        Whether it is a truth that nobody stated as complete. It is refused if its missing chunks
        are lost rather than empty: if its writer stored chunks that contain only the fill value, or
        if labels are cut off where a missing chunk begins.
    partial : bool
        Whether the user states that it is not complete, so that no chunk may be missing.
    sparse : bool
        Whether its writer is known to omit chunks that contain only the fill value, so that
        even all of them may be missing.
    coarser : zarr.Array, optional
        The next level of the image, of the same axes. Where it has values, a chunk that is missing
        was lost.
    chunks : Chunks, optional
        Its chunks, if they are not in files of the names that Zarr gives them.

    Raises
    ------
    SourceError
        If there is no chunk, or chunks are known to be lost.
    """
    if not array.ndim or not math.prod(array.shape):
        return
    chunks = chunks or chunks_of(array, Path(path), view.fixed)
    stated = array.metadata.encode_chunk_key((0,) * array.ndim)
    said = f"{chunks.found} of {chunks.total} chunks"
    if array.attrs.get(EVERY_FILE) and chunks.found < chunks.total:
        gone = next(
            index
            for index in itertools.product(*map(range, _counts(array)))
            if index not in chunks.there
            and all(index[axis] == at // _pieces(array)[axis] for axis, at in view.fixed.items())
        )
        raise SourceError(
            f"{path} holds {said}, and was written with all of them: "
            f"{array.metadata.encode_chunk_key(gone)} is missing, so make it again"
        )
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
    if chunks.strange is not None:
        raise SourceError(
            f"{path} holds {said} under the keys it states, such as {stated}, and files under "
            f"others, such as {chunks.strange}, which would not be read: rename these, or remove "
            "them if they are left from an earlier array"
        )
    fill = array.fill_value
    if fill is None:
        raise SourceError(
            f"{path} holds {said}, and its metadata state no fill value for the others: copy the "
            "array again"
        )
    if coarser is not None and coarser.ndim == array.ndim:
        _check_shown(path, array, coarser, _absent(array, chunks.there, view), view, said)
    if partial:
        raise SourceError(
            f"truth {path} holds {said}, and truth_complete=no says that the others are not empty: "
            "copy the truth again, or give one of the part that is labelled"
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
                f"so the others are lost: {_ADVICE}"
            )
        with readable(path):
            cut = _cut_off(array, chunks.there, view)
        if cut is not None:
            raise SourceError(
                f"truth {path} holds {said}, and its labels are cut off at chunks that are "
                f"missing, such as {array.metadata.encode_chunk_key(cut)}: {_ADVICE}"
            )
    logger.warning(
        "%s holds %s; the others read as %s, since they were left out as empty or are lost",
        path,
        said,
        fill,
    )


_ADVICE = (
    "copy the truth again; if these chunks are known to be empty, write truth_complete=yes in the "
    "metadata column of its line in the sample sheet"
)


def check_read(
    path: str,
    array: zarr.Array[Any],
    view: VolumeView,
    *,
    there: set[Index],
    missing: set[Index],
    sparse: bool,
    coarser: zarr.Array[Any] | None,
) -> None:
    """Check the chunks that were missing while an array was read whose chunks cannot be listed.

    Parameters
    ----------
    path, array, view, sparse, coarser
        As for `check_chunks`.
    there, missing : set of tuple of int
        Indices of the chunks that were read, and of those that do not exist.

    Raises
    ------
    SourceError
        If all were missing, or one is known to be lost.
    """
    if not missing:
        return
    said = f"{len(there)} of the {len(there) + len(missing)} chunks that were read"
    if not there and not sparse:
        raise SourceError(
            f"{path} holds none of the {len(missing)} chunks that were read, such as "
            f"{array.metadata.encode_chunk_key(min(missing))}: all of it would read as "
            f"{array.fill_value}; correct the address, or copy the array again"
        )
    if array.fill_value is None:
        raise SourceError(
            f"{path} holds {said}, and its metadata state no fill value for the others: copy the "
            "array again"
        )
    if coarser is not None and coarser.ndim == array.ndim:
        _check_shown(path, array, coarser, sorted(missing), view, said)
    logger.warning(
        "%s holds %s; the others read as %s, since they were left out as empty or are lost",
        path,
        said,
        array.fill_value,
    )


def _absent(array: zarr.Array[Any], there: set[Index], view: VolumeView) -> list[Index]:
    """Return the chunks that are missing among those that are read, in order."""
    pieces, counts = _pieces(array), _counts(array)
    is_missing = np.ones(counts, bool)
    is_missing[tuple(np.array(sorted(there), int).reshape(-1, array.ndim).T)] = False
    for axis, position in view.fixed.items():
        read = np.arange(counts[axis]) == position // pieces[axis]
        is_missing &= read.reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    missing = np.flatnonzero(is_missing)
    looked_at = missing[:: -(-len(missing) // _LOOKED_AT) or 1]
    return [tuple(int(i) for i in np.unravel_index(flat, counts)) for flat in looked_at]


def _check_shown(
    path: str,
    array: zarr.Array[Any],
    coarser: zarr.Array[Any],
    missing: list[Index],
    view: VolumeView,
    said: str,
) -> None:
    """Raise `SourceError` if the next level has values where a chunk is missing."""
    with readable(path):
        lost = _shown_by(array, coarser, missing, view)
    if lost is not None:
        raise SourceError(
            f"{path} holds {said}. One that is missing, "
            f"{array.metadata.encode_chunk_key(lost)}, has values in the next level of the "
            "image, so it was lost: copy the image again"
        )


def _shown_by(
    array: zarr.Array[Any], coarser: zarr.Array[Any], missing: list[Index], view: VolumeView
) -> Index | None:
    """Return a missing chunk in whose middle the next level has values, or None."""
    pieces = _pieces(array)
    for chunk in missing[:: -(-len(missing) // _LOOKED_AT) or 1]:
        part: list[slice | int] = []
        for axis, (i, k, n, m) in enumerate(
            zip(chunk, pieces, array.shape, coarser.shape, strict=True)
        ):
            # voxels near the border of a chunk may take values from its neighbours
            border = 0 if n == m else _BORDER
            low, high = i * k * m / n + border, min(n, (i + 1) * k) * m / n - border
            part.append(view.fixed.get(axis, slice(math.ceil(low), math.floor(high))))
        values = np.asarray(coarser[tuple(part)])
        if values.size and (~_is_fill(values, coarser.fill_value)).any():
            return chunk
    return None


#: Voxels of the next level beside a chunk that may take values from both sides of its border.
_BORDER = 2


def _is_fill(values: np.ndarray[Any, Any], fill: Any) -> np.ndarray[Any, Any]:
    """Return where values are the fill value, which may be NaN."""
    if isinstance(fill, float | np.floating) and np.isnan(fill):
        return np.asarray(np.isnan(values))
    return np.asarray(values == fill)


def _cut_off(array: zarr.Array[Any], there: set[Index], view: VolumeView) -> Index | None:
    """Return a missing chunk at which labels are cut off, or None if there is none.

    A label that ends by itself seldom ends with the last voxel before a missing chunk.
    """
    pieces, fill, counts = _pieces(array), array.fill_value, _counts(array)
    sides = [(axis, side) for axis in view.axes if axis is not None for side in (-1, 1)]
    met: dict[Index, list[tuple[int, int]]] = {}
    for chunk in there:
        for axis, side in sides:
            index = (*chunk[:axis], chunk[axis] + side, *chunk[axis + 1 :])
            if 0 <= index[axis] < counts[axis] and index not in there:
                met.setdefault(index, []).append((axis, -side))
    total, behind, most = 0, 0, (0, (0,) * array.ndim)
    for missing in sorted(met)[:: -(-len(met) // _LOOKED_AT) or 1]:
        cut = []
        for axis, side in met[missing]:
            last = missing[axis] * pieces[axis] + (pieces[axis] if side > 0 else -1)
            if not 0 <= last + side < array.shape[axis]:
                continue
            part: list[slice | int] = [
                slice(i * k, (i + 1) * k) for i, k in zip(missing, pieces, strict=True)
            ]
            for other, position in view.fixed.items():
                part[other] = position
            part[axis] = slice(min(last, last + side), max(last, last + side) + 1)
            layers = np.moveaxis(np.asarray(array[tuple(part)]) != fill, _kept(axis, view), 0)
            near, far = [int(np.count_nonzero(layer)) for layer in layers[::side]]
            total, behind = total + near, behind + far
            if near >= max(_LEAST, _CUT * far):
                cut.append((axis, side))
                most = max(most, (near, missing))
        if len(cut) > 2 or any((axis, -side) in cut for axis, side in cut):
            return missing
    return most[1] if most[0] and total >= max(_LEAST, _CUT * behind) else None


def _kept(axis: int, view: VolumeView) -> int:
    """Return the index of an axis after the other fixed ones are read at one position."""
    return axis - sum(other < axis for other in view.fixed)


def _counts(array: zarr.Array[Any]) -> list[int]:
    return [-(-n // k) for n, k in zip(array.shape, _pieces(array), strict=True)]


def _pieces(array: zarr.Array[Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in array.shards or array.chunks)
