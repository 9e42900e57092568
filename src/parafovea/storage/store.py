"""Storage of arrays with a Grid as OME-Zarr 0.5 with sharding, written atomically.

All arrays that stages exchange are written and read here. Their group holds the OME metadata for
viewers and, under `parafovea`, the provenance.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import zarr
import zarrs  # noqa: F401  (registers the codec pipeline)
from zarr.codecs import BloscCodec, Crc32cCodec

from parafovea.errors import StoreError
from parafovea.geometry.grid import AXES, Box, Grid
from parafovea.geometry.symmetry import IDENTITY, Symmetry
from parafovea.storage.blocks import CHUNK, VOLUME_SHARD
from parafovea.storage.chunk_files import read_chunks, write_absent_files

zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

OME_VERSION = "0.5"

#: Attribute with a hash of the metadata: chunks have their own checksums.
_DIGEST = "parafovea_sha256"

#: With several threads, the chunks of a shard are stored in the order in which they finish, so
#: that equal voxels would give different bytes.
_IN_ORDER = {"threading.max_workers": 1}


@dataclass(frozen=True)
class Stored:
    """An array on disk with its grid.

    Parameters
    ----------
    array : zarr.Array
        (z, y, x), or (channel, z, y, x) if `channels` is given.
    grid : Grid
        Grid of the voxels.
    channels : tuple of str or None
        Names of the channels.
    attributes : dict
        Provenance: version, settings, hashes.
    """

    array: zarr.Array[Any]
    grid: Grid
    channels: tuple[str, ...] | None
    attributes: dict[str, Any] = field(default_factory=dict)

    def read(self, box: Box | None = None, channels: slice | None = None) -> np.ndarray[Any, Any]:
        """Return the voxels of a box inside the array (by default all).

        Parameters
        ----------
        box : Box, optional
            Within the grid.
        channels : slice, optional
            The channels to read, of an array that has any; by default all.

        Raises
        ------
        StoreError
            If a chunk is damaged; names its file.
        """
        return self._stored((box or self.grid.box).slices, channels)

    def _stored(
        self, slices: tuple[slice, slice, slice], channels: slice | None
    ) -> np.ndarray[Any, Any]:
        """Return a part of the array as stored."""
        first = () if self.channels is None else (channels or slice(None),)
        advice = "delete this result and run again"
        return read_chunks(self.array, (*first, *slices), refused=StoreError, advice=advice)


@dataclass(frozen=True)
class LabelImage:
    """A label image stored within an image, on its own grid in the same world.

    Parameters
    ----------
    values : (z, y, x) bool or integer
        0 is background.
    grid : Grid
        Grid of the voxels.
    """

    values: np.ndarray[Any, Any]
    grid: Grid


def label_image_path(image: Path, name: str) -> Path:
    """Return the path of a label image within an image; open it with `open_stored`."""
    return image / "labels" / name


@dataclass(frozen=True)
class Turned(Stored):
    """A symmetry's view of a stored array: `grid` is the view's, `array` is as stored.

    Parameters
    ----------
    symmetry : Symmetry
        From the array to the view.
    """

    symmetry: Symmetry = IDENTITY

    @classmethod
    def of(cls, stored: Stored, symmetry: Symmetry) -> Turned:
        """Return the view of a stored array."""
        grid = symmetry.grid(stored.grid)
        return cls(stored.array, grid, stored.channels, stored.attributes, symmetry)

    def read(self, box: Box | None = None, channels: slice | None = None) -> np.ndarray[Any, Any]:
        """Return the voxels of a box inside the view (by default all)."""
        slices = self.symmetry.inverse.box(box or self.grid.box, self.grid.shape).slices
        return np.ascontiguousarray(self.symmetry.turned(self._stored(slices, channels)))


def chunk_shape(shape: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    """Return `chunk` limited to the array's `shape`, at least 1 along each axis."""
    return tuple(max(1, min(n, c)) for n, c in zip(shape, chunk, strict=True))


def shard_shape(
    shape: Sequence[int], chunk: Sequence[int], shard: Sequence[int]
) -> tuple[int, ...]:
    """Return `shard` limited to the whole chunks needed to cover `shape`."""
    return tuple(
        c * max(1, min(-(-n // c), s // c)) for n, c, s in zip(shape, chunk, shard, strict=True)
    )


def _ome_metadata(
    name: str, grid: Grid, channels: Sequence[str] | None, labels: bool
) -> dict[str, Any]:
    axes: list[dict[str, str]] = [{"name": a, "type": "space", "unit": grid.unit} for a in AXES]
    scale, translation = list(grid.spacing), list(grid.origin)
    if channels is not None:
        axes.insert(0, {"name": "c", "type": "channel"})
        scale.insert(0, 1.0)
        translation.insert(0, 0.0)
    ome: dict[str, Any] = {
        "version": OME_VERSION,
        "multiscales": [
            {
                "name": name,
                "axes": axes,
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": scale},
                            {"type": "translation", "translation": translation},
                        ],
                    }
                ],
            }
        ],
    }
    if labels:
        ome["image-label"] = {"version": OME_VERSION}
    return ome


def _describe(
    group: zarr.Group,
    path: Path,
    grid: Grid,
    channels: Sequence[str] | None,
    record: Mapping[str, Any],
    *,
    labels: bool,
) -> None:
    """Write the metadata of a completed image."""
    own = {
        **record,
        "grid": grid.to_dict(),
        "channels": None if channels is None else list(channels),
    }
    group.attrs.put(
        {
            "ome": _ome_metadata(path.name.split(".")[0], grid, channels, labels),
            "parafovea": own,
            _DIGEST: _digest(group, own),
        }
    )


def describe_again(group: zarr.Group, path: Path, record: Mapping[str, Any]) -> None:
    """Write the metadata of an image that `create` described, with another name and record."""
    stored = dict(cast(dict[str, Any], group.attrs["parafovea"]))
    grid, channels = Grid.from_dict(stored["grid"]), stored["channels"]
    labels = "image-label" in cast(dict[str, Any], group.attrs["ome"])
    _describe(group, path, grid, channels, record, labels=labels)


def _digest(group: zarr.Group, own: Mapping[str, Any]) -> str:
    """Return a hash of an image's own attributes and of the metadata of its array."""
    plain = json.dumps(json.loads(json.dumps(own)), sort_keys=True)
    array = Path(str(group.store_path).removeprefix("file://"), "0", "zarr.json")
    return hashlib.sha256(plain.encode() + array.read_bytes()).hexdigest()


def store_label_images(
    group: zarr.Group, images: Mapping[str, LabelImage], record: Mapping[str, Any]
) -> None:
    """Store label images in OME-Zarr's place for labels, each in a single file, with a record."""
    folder = group.create_group("labels")
    folder.attrs.put({"ome": {"version": OME_VERSION, "labels": sorted(images)}})
    for name, image in images.items():
        own = folder.create_group(name)
        # OME-Zarr has no boolean labels
        dtype = np.dtype(np.uint8) if image.values.dtype == bool else image.values.dtype
        shape = image.grid.shape
        array = _new_array(own, shape, shape, None, AXES, dtype, "zstd")
        array[...] = image.values.astype(dtype)
        write_absent_files(array)
        _describe(own, Path(name), image.grid, None, record, labels=True)


def _new_array(
    group: zarr.Group,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
    names: tuple[str, ...],
    dtype: np.typing.DTypeLike,
    codec: Literal["zstd", "lz4"],
) -> zarr.Array[Any]:
    with zarr.config.set(_IN_ORDER):
        return group.create_array(
            "0",
            shape=shape,
            chunks=chunks,
            shards=shards,
            dtype=np.dtype(dtype),
            dimension_names=names,
            # the checksum of each chunk, as stored, comes last
            compressors=[BloscCodec(cname=codec, clevel=1, shuffle="shuffle"), Crc32cCodec()],
            fill_value=0,
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to, and rename it to `path` on success.

    Works for files and folders. The previous content of `path` stays until then. After an error
    the temporary path is removed; leftovers of killed processes are removed at the start.

    Raises
    ------
    StoreError
        If a file would replace a folder with all that is in it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = beside(path, "partial")
    try:
        yield partial
        if path.is_dir():
            if partial.is_file():
                raise StoreError(f"{path} is a folder, which no file replaces: name a file")
            discard(path)
        partial.replace(path)
    finally:
        discard(partial)


def beside(path: Path, kind: str) -> Path:
    """Return a hidden path beside `path` for this process, and remove those of other processes.

    A result has one writer at a time, so that these are leftovers of killed processes.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.{kind}-*"):
        discard(left)
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}")


def discard(path: Path) -> None:
    """Remove a file or a folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def create(
    path: Path,
    grid: Grid,
    *,
    dtype: np.typing.DTypeLike,
    channels: Sequence[str] | None = None,
    chunk: Sequence[int] = CHUNK,
    shard: Sequence[int] | None = VOLUME_SHARD,
    attributes: dict[str, Any] | None = None,
    labels: bool = False,
    label_images: Mapping[str, LabelImage] | None = None,
    codec: Literal["zstd", "lz4"] = "zstd",
    box: Box | None = None,
    sparse: bool = False,
) -> Iterator[zarr.Array[Any]]:
    """Create an OME-Zarr image and yield its array; the image appears when the block ends.

    Parameters
    ----------
    path : Path
        Folder of the image; replaced if it exists.
    grid : Grid
        Grid of the voxels; gives the spatial shape.
    dtype : dtype
        Data type of the array.
    channels : sequence of str, optional
        Names of the channels; the array is then (channel, z, y, x).
    chunk : sequence of int
        Chunk along z, y, x; a chunk holds all channels.
    shard : sequence of int, optional
        Shard along z, y, x, one file each: write whole shards at a time. None: a file per chunk.
    attributes : dict, optional
        Provenance, JSON-serializable; stored under the group's `parafovea` attribute. The caller
        may fill it until the block ends.
    labels : bool
        Whether it is a label image, which viewers colour by id.
    label_images : mapping of str to LabelImage, optional
        Small label images to store within the image, by name, with the same attributes. The
        caller may fill it until the block ends.
    codec : {"zstd", "lz4"}
        Compression: zstd is smaller, lz4 faster.
    box : Box, optional
        The voxels of whole shards that are written, if other jobs write the rest; by default all.
    sparse : bool
        Whether files of zeros alone are left out; a lost file is then not noticed.

    Yields
    ------
    zarr.Array
        Filled with zeros.
    """
    chunks: tuple[int, ...] = chunk_shape(grid.shape, chunk)
    shards = None if shard is None else shard_shape(grid.shape, chunks, shard)
    shape: tuple[int, ...] = grid.shape
    names: tuple[str, ...] = AXES
    if channels is not None:
        count = len(channels)
        shape, chunks, names = (count, *shape), (count, *chunks), ("c", *AXES)
        shards = None if shards is None else (count, *shards)
    record = attributes if attributes is not None else {}
    with replacing(path) as partial:
        group = zarr.create_group(partial, zarr_format=3)
        array = _new_array(group, shape, chunks, shards, names, dtype, codec)
        yield array
        if not sparse:
            write_absent_files(array, box)
        if label_images:
            store_label_images(group, label_images, record)
        _describe(group, path, grid, channels, record, labels=labels)


def open_stored(path: Path) -> Stored:
    """Open an image that `create` wrote.

    Parameters
    ----------
    path : Path
        Folder of the image.

    Returns
    -------
    Stored
        The lazy array with its grid, channels and attributes.

    Raises
    ------
    StoreError
        If it does not exist, or its metadata are not those that `create` wrote.
    """
    try:
        group = zarr.open_group(path, mode="r")
        array = group["0"]
        attributes = dict(cast(dict[str, Any], group.attrs["parafovea"]))
        # images of earlier versions have none
        is_damaged = group.attrs.get(_DIGEST, digest := _digest(group, attributes)) != digest
        grid = Grid.from_dict(attributes.pop("grid"))
        channels = attributes.pop("channels")
    except (FileNotFoundError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{path} is not a complete result of this workflow: delete it and run again"
        ) from error
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{path}/0 is not an array: delete {path} and run again")
    if is_damaged:
        raise StoreError(
            f"{path}/zarr.json or {path}/0/zarr.json is damaged (the checksum is invalid): delete "
            f"{path} and run again"
        )
    return Stored(array, grid, None if channels is None else tuple(channels), attributes)
