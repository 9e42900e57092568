"""N5: the blocks of a dataset, as chunks of a Zarr array."""

from __future__ import annotations

import lzma
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import zarr

from parafovea.errors import SourceError
from parafovea.formats.location import Location
from parafovea.formats.n5.attributes import Dataset, choose
from parafovea.formats.source import Request, Source
from parafovea.formats.unpacking import unpacked
from parafovea.formats.zarr.arrays import open_blocks_level
from parafovea.formats.zarr.chunk_codecs import decode
from parafovea.formats.zarr.tracked_store import Index
from parafovea.formats.zarr.translated_store import Array, Blocks, open_blocks

#: Modes of a block: all elements, a number of them, an object.
_PLAIN, _COUNTED = 0, 1

_NAME = re.compile(r"(?:0|[1-9][0-9]*)(?:/(?:0|[1-9][0-9]*))*")


def open_volume(location: Location, request: Request) -> Source:
    """Open a dataset of N5, or a level of a group.

    Parameters
    ----------
    location : Location
        Folder of the dataset or the group, on disk or at an address.
    request : Request
        User metadata, and the required resolution, as for OME-Zarr.

    Returns
    -------
    Source
        Its place from `transform`, or else from `pixelResolution` or `resolution`, with
        `downsamplingFactors` or `scales`.

    Raises
    ------
    SourceError
        If the attributes are damaged, or do not describe a volume.
    """
    chosen = choose(location.path, request)
    arrays: list[zarr.Array[Any]] = []
    for each in chosen.image.levels[chosen.level : chosen.level + 2]:
        dataset = chosen.dataset
        if arrays:
            dataset = choose(str(chosen.folder / each.path), request).dataset
        arrays.append(open_blocks(N5Blocks(dataset)))
    return open_blocks_level(location.path, chosen.image, chosen.level, arrays, request)


class N5Blocks(Blocks):
    """Blocks of a dataset of N5.

    Parameters
    ----------
    dataset : Dataset
        Its attributes.
    """

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset.folder, dataset.shape, dataset.block, dataset.dtype)
        self._unpack = _unpacker(dataset)

    def name(self, index: Index) -> str:
        """Return the name of the file of a block."""
        return "/".join(map(str, index))

    def index_of(self, name: str) -> Index | None:
        """Return the index of the block in a file, None if the file is of no block."""
        if _NAME.fullmatch(name) is None:
            return None
        index = tuple(int(number) for number in name.split("/"))
        return index if len(index) == len(self.shape) else None

    def decode(self, data: bytes, index: Index) -> Array:
        """Return the elements of a block."""
        if len(data) < 4:
            raise ValueError(f"it has {len(data)} bytes, fewer than a header")
        mode, dimensions = struct.unpack_from(">HH", data)
        if mode not in (_PLAIN, _COUNTED) or dimensions != len(self.shape):
            raise ValueError(f"its header states mode {mode} and {dimensions} dimensions")
        end = 4 + 4 * dimensions + (4 if mode == _COUNTED else 0)
        if len(data) < end:
            raise ValueError(f"it has {len(data)} bytes, and its header alone {end}")
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
        for n, covered, most in zip(shape, self.covered(index), self.block, strict=True):
            if not covered <= n <= most:
                raise ValueError(
                    f"its header states {shape} elements, and {self.covered(index)} lie in the "
                    "array"
                )
        count = math.prod(shape)
        if mode == _COUNTED and struct.unpack_from(">I", data, end - 4)[0] != count:
            raise ValueError("its number of elements is not that of its shape")
        raw = self._unpack(memoryview(data)[end:], count * self.dtype.itemsize)
        values = np.frombuffer(raw, self.dtype.newbyteorder(">"), count)
        return values.reshape(shape, order="F")


def _unpacker(dataset: Dataset) -> Callable[[memoryview, int], Any]:
    """Return what unpacks a block to a number of bytes."""
    stated = dataset.compression
    name = stated["type"]
    if name == "raw":
        return _exactly
    if name == "gzip":
        codec = "zlib" if stated.get("useZlib") else "gzip"
        return lambda data, size: unpacked(codec, data, size)
    if name == "bzip2":
        return lambda data, size: unpacked("bz2", data, size)
    if name == "xz":
        return lambda data, size: unpacked("lzma", data, size, format=lzma.FORMAT_XZ)
    if name == "zstd":
        return lambda data, size: unpacked("zstd", data, size)
    if name == "blosc":
        from numcodecs import Blosc

        blosc = Blosc(cname=str(stated.get("cname", "lz4")), shuffle=int(stated.get("shuffle", 1)))
        elements = [dataset.dtype.itemsize]
        return lambda data, size: decode(blosc, data, size, exact=True, elements=elements)
    raise SourceError(
        f"{dataset.folder} is stored by the compression {name!r}, which is not supported: write "
        "it again with gzip, bzip2, xz, zstd, blosc or raw"
    )


def _exactly(data: memoryview, size: int) -> memoryview:
    if len(data) != size:
        raise ValueError(f"it has {len(data)} instead of {size} bytes")
    return data
