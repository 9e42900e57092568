"""Checksums of the compressed strips and tiles of a GeoTIFF, which GDAL does not compare.

A deflated block ends with the Adler-32 checksum of its content (RFC 1950). GDAL stops once it has
all pixels, so that a block with a hole, as an interrupted download leaves it, is other pixels.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rasterio.enums import Compression, Interleaving
from rasterio.windows import Window

from parafovea.errors import SourceError

#: Bytes that are unpacked at once, only for their checksum.
_PIECE = 2**20


def check_blocks(
    dataset: Any, bands: Sequence[int], window: Window | None, *, content: bytes | None = None
) -> None:
    """Raise `SourceError` if a deflated block of a window is damaged.

    Parameters
    ----------
    dataset
        Open rasterio dataset; others than deflated GeoTIFFs are not checked.
    bands : sequence of int
        Indices, from 0, of the bands that are read.
    window : Window or None
        None for the whole image.
    content : bytes, optional
        The file, if the dataset is in GDAL's memory.
    """
    if dataset.driver != "GTiff" or dataset.compression != Compression.deflate:
        return
    with Path(dataset.name).open("rb") if content is None else io.BytesIO(content) as file:
        for band, x, y in _blocks(dataset, bands, window):
            place, size = (
                dataset.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=band + 1)
                for what in ("OFFSET", "SIZE")
            )
            if place is None or not int(size or 0):
                continue  # never written
            file.seek(int(place))
            if not _is_whole(file.read(int(size))):
                raise SourceError(
                    f"{dataset.name} is damaged: the checksum of its block {x}, {y} does not "
                    "match: copy or download it again"
                )


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


def _is_whole(data: bytes) -> bool:
    """Return whether a zlib stream comes to its end, with the right checksum."""
    stream = zlib.decompressobj()
    try:
        while data and not stream.eof:
            stream.decompress(data, _PIECE)
            data = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof
