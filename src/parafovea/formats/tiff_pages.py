"""The pixels of TIFF files, read in the pieces in which they are stored.

A file is opened for every read and closed after it: no handle is shared by the processes of a
data loader, and a file that was cut short in between is noticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from parafovea.errors import SourceError
from parafovea.formats.source import Array


def check_complete(tiff: Any, path: str) -> None:
    """Raise `SourceError` where pages, or parts of a page, lie past the end of the file.

    tifffile only logs a broken chain of pages and goes on with those before the break.

    Parameters
    ----------
    tiff : tifffile.TiffFile
        Open.
    path : str
        For the message.
    """
    size = Path(path).stat().st_size
    pages = tiff.pages
    for number, page in enumerate(pages):
        ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends, default=0) > size:
            raise SourceError(
                f"{path} is truncated: page {number} ends at byte {max(ends)}, the file at byte "
                f"{size}: copy or write it again"
            )
    if _next_page(tiff, pages[len(pages) - 1].offset) != 0:
        raise SourceError(
            f"{path} is truncated: pages are missing after the first {len(pages)}: "
            "copy or write it again"
        )


def _next_page(tiff: Any, offset: int) -> int:
    """Return the offset of the page after the one at `offset`, 0 after the last."""
    layout, handle = tiff.tiff, tiff.filehandle
    handle.seek(offset)
    count = int.from_bytes(handle.read(layout.tagnosize), _order(tiff))
    handle.seek(offset + layout.tagnosize + count * layout.tagsize)
    raw = handle.read(layout.offsetsize)
    # A file that ends before this number is truncated too.
    return int.from_bytes(raw, _order(tiff)) if len(raw) == layout.offsetsize else -1


def _order(tiff: Any) -> Any:
    return "little" if tiff.byteorder == "<" else "big"


class ContiguousTiff:
    """Uncompressed voxels that lie in one piece, mapped into memory for each read.

    Parameters
    ----------
    path : str
        The file.
    dtype : dtype
        In the file's byte order.
    offset : int
        Byte at which the voxels begin.
    shape : tuple of int
        All axes of the series.
    """

    def __init__(
        self, path: str, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._path = path
        self._offset = offset

    @property
    def stop(self) -> int:
        """One past the last byte of the voxels."""
        return self._offset + math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, index: tuple[slice | int, ...]) -> Array:
        """Return the elements of slices and integers, one an axis."""
        mapped = np.memmap(
            self._path, dtype=self.dtype, mode="r", offset=self._offset, shape=self.shape
        )
        return np.array(mapped[index])


class PagedTiff:
    """Pages that are compressed or lie apart, of which the strips or tiles in need are decoded.

    Parameters
    ----------
    path : str
        The file.
    dtype : dtype
        In the machine's byte order.
    shape : tuple of int
        All axes of the series; the last ones are those of a page.
    pages : sequence of int
        Number of each page within the file, in the order of the leading axes.
    """

    def __init__(
        self, path: str, dtype: np.dtype[Any], shape: tuple[int, ...], pages: Sequence[int]
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._path = path
        self._pages = pages
        # The leading axes are those whose lengths multiply to the number of pages; axes of
        # length one between them and the page belong to them.
        self._leading = next(
            k for k in range(len(shape) - 2, -1, -1) if math.prod(shape[:k]) == len(pages)
        )

    def __getitem__(self, index: tuple[slice | int, ...]) -> Array:
        """Return the elements of slices and integers, one an axis."""
        leading = self.shape[: self._leading]
        numbers = np.array(self._pages).reshape(leading)[index[: self._leading]]
        with tifffile.TiffFile(self._path) as tiff:
            size = Path(self._path).stat().st_size
            planes = [
                self._read(tiff.pages[int(number)], index[self._leading :], size)
                for number in np.ravel(numbers)
            ]
        return np.stack(planes).reshape(np.shape(numbers) + planes[0].shape)

    def _read(self, page: Any, index: tuple[slice | int, ...], size: int) -> Array:
        shape = self.shape[self._leading :]
        # A last axis of one sample takes no part: the page is then plain rows and columns.
        plain = len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)
        if plain and page.shape == shape[:2] and all(isinstance(i, slice) for i in index[:2]):
            rows, columns = index[0], index[1]
            pixels = _read_window(page, rows, columns, size)  # type: ignore[arg-type]
            pixels = pixels.reshape(pixels.shape + (1,) * (len(shape) - 2))
            return pixels[(slice(None), slice(None), *index[2:])]
        return np.asarray(page.asarray().reshape(shape)[index])


def _read_window(page: Any, rows: slice, columns: slice, size: int) -> Array:
    """Return the rows and columns of a page of one sample, from the strips or tiles in need."""
    out = np.empty((rows.stop - rows.start, columns.stop - columns.start), page.dtype)
    height, width = page.chunks[:2]
    across = -(-page.shape[1] // width)
    for row in range(rows.start // height, -(-rows.stop // height)):
        for column in range(columns.start // width, -(-columns.stop // width)):
            segment = _decode(page, row * across + column, size)
            y, x = row * height, column * width
            top, left = max(rows.start, y), max(columns.start, x)
            bottom = min(rows.stop, y + segment.shape[0])
            right = min(columns.stop, x + segment.shape[1])
            there = (
                slice(top - rows.start, bottom - rows.start),
                slice(left - columns.start, right - columns.start),
            )
            out[there] = segment[top - y : bottom - y, left - x : right - x]
    return out


def _decode(page: Any, number: int, size: int) -> Array:
    offset, count = page.dataoffsets[number], page.databytecounts[number]
    if count == 0 or offset + count > size:
        raise EOFError(f"strip or tile {number} of page {page.index} is missing")
    handle = page.parent.filehandle
    handle.seek(offset)
    decoded, _, shape = page.decode(handle.read(count), number, jpegtables=page.jpegtables)
    return np.asarray(decoded)[0, : shape[1], : shape[2], 0]
