"""Neuroglancer precomputed volumes: their chunks, as those of a Zarr array."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.codestreams import check_codestream
from parafovea.formats.location import Location
from parafovea.formats.neighbours import inside
from parafovea.formats.precomputed.compressed_labels import decode_labels
from parafovea.formats.precomputed.info import Info, choose
from parafovea.formats.precomputed.shards import Shards
from parafovea.formats.remote.address import RemoteFolder
from parafovea.formats.source import Request, Source
from parafovea.formats.unpacking import LARGEST_PIECE, unpacked
from parafovea.formats.zarr.arrays import open_blocks_level
from parafovea.formats.zarr.missing_chunks import Chunks
from parafovea.formats.zarr.tracked_store import Index
from parafovea.formats.zarr.translated_store import Array, Blocks, open_blocks, read_file

_NAME = re.compile(r"(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)(?:\.gz)?")

_ENCODINGS = ("raw", "jpeg", "png", "compressed_segmentation")

_GZIP = b"\x1f\x8b"


def open_volume(location: Location, request: Request) -> Source:
    """Open a scale of a precomputed volume.

    Parameters
    ----------
    location : Location
        Folder of the volume, on disk or at an address.
    request : Request
        User metadata, and the required resolution, as for OME-Zarr.

    Returns
    -------
    Source
        The scale; the centre of the first voxel of the finest one is at its offset times its size.

    Raises
    ------
    SourceError
        If its description is damaged, or its encoding is not supported.
    """
    info, level = choose(location.path, request)
    arrays = [open_blocks(PrecomputedChunks(info, k)) for k in range(level, len(info.scales))[:2]]
    return open_blocks_level(location.path, info.image, level, arrays, request)


class PrecomputedChunks(Blocks):
    """Chunks of a scale of a volume.

    Parameters
    ----------
    info : Info
        The volume.
    level : int
        Index of the scale.
    """

    def __init__(self, info: Info, level: int) -> None:
        scale = info.scales[level]
        folder = inside(info.folder, scale.key)
        if folder is None:
            raise SourceError(
                f"{info.folder} has a scale in {scale.key!r}, outside of its folder: put it into "
                "the folder of the volume"
            )
        if scale.encoding not in _ENCODINGS:
            raise SourceError(
                f"{folder} is stored in the encoding {scale.encoding!r}, which is not supported: "
                f"write it again as one of {', '.join(_ENCODINGS)}"
            )
        super().__init__(folder, scale.shape, scale.chunk, info.dtype)
        self._offset = scale.offset
        self._encoding = scale.encoding
        self._block = scale.facts.get("compressed_segmentation_block_size", (8, 8, 8))
        sharding = scale.facts.get("sharding")
        self._shards = None if sharding is None else Shards(folder, sharding, self.counts[:3])

    def name(self, index: Index) -> str:
        """Return the name of the file of a chunk; in shards, the shard and its place in it."""
        if self._shards is not None:
            return self._shards.name(index[:3])
        spans = zip(index, self.block, self.covered(index), self._offset, strict=False)
        return "_".join(f"{o + i * k}-{o + i * k + n}" for i, k, n, o in spans)

    def index_of(self, name: str) -> Index | None:
        """Return the index of the chunk in a file, None if the file is of no chunk."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        starts = [int(number) for number in found.groups()[::2]]
        index = tuple(
            (start - o) // k for start, o, k in zip(starts, self._offset, self.block, strict=False)
        )
        beyond = (*self.counts[:3], 0)
        if min(index) < 0 or any(i >= n for i, n in zip(index, self.counts, strict=False)):
            return beyond
        # one of another size of chunks is none of this grid
        index = (*index, 0)
        return index if self.name(index) == name.removesuffix(".gz") else beyond

    def listed(self, fixed: Any) -> Chunks | None:
        """Return which chunks are there; those in shards are known when they are read."""
        if self._shards is not None:
            return None
        # all channels are in one chunk
        return super().listed({axis: at for axis, at in fixed.items() if axis < 3})

    async def read(self, index: Index) -> tuple[bytes, str] | None:
        """Return the bytes of a chunk and their version, None if there is none."""
        if self._shards is not None:
            return await self._shards.read(index[:3])
        found = await super().read(index)
        if found is None and not isinstance(self.folder, RemoteFolder):
            found = await read_file(self.folder / f"{self.name(index)}.gz")
        return found

    def decode(self, data: bytes, index: Index) -> Array:
        """Return the voxels of a chunk."""
        shape = self.covered(index)
        size = math.prod(shape) * self.dtype.itemsize
        if data[:2] == _GZIP and not (self._encoding == "raw" and len(data) == size):
            exact = self._encoding == "raw"
            data = unpacked("gzip", data, size if exact else LARGEST_PIECE, exact=exact)
        if self._encoding == "raw":
            if len(data) != size:
                raise ValueError(f"it has {len(data)} instead of {size} bytes")
            values = np.frombuffer(data, self.dtype.newbyteorder("<"))
            return values.reshape(shape, order="F")
        if self._encoding == "compressed_segmentation":
            return decode_labels(data, shape, self.dtype, tuple(map(int, self._block)))
        return self._picture(data, shape)

    def _picture(self, data: bytes, shape: Index) -> Array:
        """Return the voxels of a chunk that is one picture of all its planes, x fastest."""
        from PIL import Image

        expected = "JPEG" if self._encoding == "jpeg" else "PNG"
        check_codestream(data, math.prod(shape[:3]), 1, samples=shape[3])
        with Image.open(io.BytesIO(data), formats=[expected]) as picture:
            width, height = picture.size
            if width * height != math.prod(shape[:3]):
                raise ValueError(f"its picture has {width} x {height} pixels, for {shape} voxels")
            pixels = np.asarray(picture)
        if pixels.dtype != self.dtype or pixels.size != math.prod(shape):
            raise ValueError(f"its picture has the mode {picture.mode} for {self.dtype} voxels")
        return pixels.reshape(*shape[2::-1], shape[3]).transpose(2, 1, 0, 3)
