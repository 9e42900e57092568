"""Checksums of the compressed strips and tiles of a GeoTIFF, which GDAL does not compare.

A deflated block ends with the Adler-32 checksum of its content (RFC 1950). GDAL reads a block with
a hole, as an interrupted download leaves it, as other pixels.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from rasterio.enums import Compression, Interleaving
from rasterio.windows import Window

from parafovea.errors import SourceError

#: Bytes that are unpacked at once, only for their checksum.
_PIECE = 2**20


class BlockChecksums:
    """Compares the checksum of each block of an image once.

    Parameters
    ----------
    content : bytes, optional
        The file, if its dataset is in GDAL's memory.
    """

    def __init__(self, content: bytes | None = None) -> None:
        self._content = content
        self._compared: set[tuple[str, int, int, int]] = set()

    def compare(self, dataset: Any, bands: Sequence[int], window: Window | None) -> None:
        """Raise `SourceError` if a deflated block of a window is damaged.

        Parameters
        ----------
        dataset
            Open rasterio dataset; others than deflated GeoTIFFs are not checked.
        bands : sequence of int
            Indices, from 0, of the bands that are read.
        window : Window or None
            None for the whole image.
        """
        if dataset.driver != "GTiff" or dataset.compression != Compression.deflate:
            return
        every = ((dataset.name, *block) for block in _blocks(dataset, bands, window))
        blocks = [block for block in every if block not in self._compared]
        if not blocks:
            return
        with self._opened(dataset) as file:
            for block in blocks:
                _, band, x, y = block
                place, size = (
                    dataset.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=band + 1)
                    for what in ("OFFSET", "SIZE")
                )
                if place is not None and int(size or 0):  # else it was never written
                    file.seek(int(place))
                    if not _is_whole(file.read(int(size)), _unpacked_bytes(dataset, band)):
                        raise SourceError(
                            f"{dataset.name} is damaged: the checksum of its block {x}, {y} does "
                            "not match: copy or download it again"
                        )
                self._compared.add(block)

    def _opened(self, dataset: Any) -> BinaryIO:
        return Path(dataset.name).open("rb") if self._content is None else BytesIO(self._content)


def block_ranges(dataset: Any, band: int, window: Window | None) -> tuple[range, range]:
    """Return the blocks of a band that a window touches: rows and columns of blocks."""
    rows, columns = (0, dataset.height), (0, dataset.width)
    if window is not None:
        rows = window.row_off, window.row_off + window.height
        columns = window.col_off, window.col_off + window.width
    height, width = dataset.block_shapes[band]
    down = range(rows[0] // height, (rows[1] - 1) // height + 1)
    return down, range(columns[0] // width, (columns[1] - 1) // width + 1)


def share_blocks(dataset: Any) -> bool:
    """Return whether the bands of a dataset lie in the same blocks."""
    together: bool = dataset.interleaving == Interleaving.pixel
    return together and len(set(dataset.block_shapes)) == 1


def _blocks(
    dataset: Any, bands: Sequence[int], window: Window | None
) -> Iterator[tuple[int, int, int]]:
    for band in bands[:1] if share_blocks(dataset) else bands:
        down, across = block_ranges(dataset, band, window)
        yield from ((band, x, y) for y in down for x in across)


def _unpacked_bytes(dataset: Any, band: int) -> int:
    rows, columns = dataset.block_shapes[band]
    together = dataset.count if share_blocks(dataset) else 1
    return int(rows * columns * np.dtype(dataset.dtypes[band]).itemsize * together)


def _is_whole(data: bytes, size: int) -> bool:
    """Return whether a zlib stream comes to its end, with the right checksum."""
    try:
        imagecodecs.deflate_decode(data, out=size)
    except imagecodecs.DeflateError:
        return _ends(data)  # it may be larger than its block
    return True


def _ends(data: bytes) -> bool:
    stream = zlib.decompressobj()
    try:
        while data and not stream.eof:
            stream.decompress(data, _PIECE)
            data = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof
