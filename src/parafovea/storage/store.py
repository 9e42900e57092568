"""Storage of arrays with a Grid as OME-Zarr 0.5 with sharding, written atomically.

All arrays that stages exchange are written and read here. Their group holds the OME metadata for
viewers and, under `parafovea`, the provenance.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
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
from parafovea.geometry.grid import AXES, Box, Grid, Shape, shape3
from parafovea.geometry.symmetry import IDENTITY, Symmetry
from parafovea.storage.blocks import CHUNK, VOLUME_SHARD
from parafovea.storage.chunk_files import read_chunks, write_absent_files
from parafovea.storage.ome_metadata import (
    WITHIN,
    Shown,
    image_metadata,
    label_metadata,
    labels_metadata,
)
from parafovea.storage.pyramids import (
    Level,
    Reduction,
    level_grids,
    level_strides,
    levels_of,
    reduced,
    shard_box,
    write_coarse,
    write_divided,
)

zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

#: Attribute with a hash of the metadata: chunks have their own checksums.
_DIGEST = "parafovea_sha256"

#: With several threads, the chunks of a shard are stored in the order in which they finish, so
#: that equal voxels would give different bytes.
_IN_ORDER = {"threading.max_workers": 1}


#: Key of a part's own facts in its record; see `parts`.
PART = "part_of"


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

    @property
    def first_channel(self) -> Stored:
        """The first channel as an array (z, y, x); the array itself if it has no channels."""
        if self.channels is None:
            return self
        return FirstChannel(self.array, self.grid, None, self.attributes, self)

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
class FirstChannel(Stored):
    """The first channel of a stored array (channel, z, y, x), as (z, y, x).

    Parameters
    ----------
    whole : Stored
        With all channels.
    """

    whole: Stored | None = None

    def read(self, box: Box | None = None, channels: slice | None = None) -> np.ndarray[Any, Any]:
        """Return the voxels (z, y, x) of a box inside the array (by default all)."""
        assert self.whole is not None  # noqa: S101  (without a default, it could not be last)
        first: np.ndarray[Any, Any] = self.whole.read(box, slice(0, 1))[0]
        return first


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


def _describe(
    group: zarr.Group,
    path: Path,
    grids: Sequence[Grid],
    channels: Sequence[str] | None,
    record: Mapping[str, Any],
    *,
    labels: bool,
    levels: Reduction | None = None,
    shown: Sequence[Shown] = (),
    image: str | None = None,
) -> None:
    """Write the metadata of a completed image."""
    own = {
        **record,
        "grid": grids[0].to_dict(),
        "channels": None if channels is None else list(channels),
    }
    name = _image_name(path)
    group.attrs.put(
        {
            "ome": image_metadata(name, grids, levels, channels=channels is not None, shown=shown)
            if not labels
            else label_metadata(name, grids, levels, shown=shown, image=image),
            "parafovea": own,
            _DIGEST: _digest(group, own),
        }
    )


def _image_name(path: Path) -> str:
    return path.name.split(".")[0]


def describe_again(group: zarr.Group, path: Path, record: Mapping[str, Any]) -> None:
    """Write the metadata of an image that `create` described, with another name and record."""
    stored, ome = (dict(cast(dict[str, Any], group.attrs[key])) for key in ("parafovea", "ome"))
    ome["multiscales"][0]["name"] = _image_name(path)
    placed = {key: stored[key] for key in ("grid", "channels")}
    own = {**record, **placed}
    group.attrs.put({"ome": ome, "parafovea": own, _DIGEST: _digest(group, own)})


def _digest(group: zarr.Group, own: Mapping[str, Any]) -> str:
    """Return a hash of an image's own attributes and of the metadata of its array."""
    plain = json.dumps(json.loads(json.dumps(own)), sort_keys=True)
    array = Path(str(group.store_path).removeprefix("file://"), "0", "zarr.json")
    return hashlib.sha256(plain.encode() + array.read_bytes()).hexdigest()


def store_label_images(
    group: zarr.Group, images: Mapping[str, LabelImage], record: Mapping[str, Any]
) -> None:
    """Store label images in OME-Zarr's place for labels, each level in one file, with a record."""
    # OME-Zarr wants as many levels as those of the image
    count = len(list(group.array_keys()))
    folder = group.create_group("labels")
    folder.attrs.put({"ome": labels_metadata(sorted(images))})
    for name, image in images.items():
        own = folder.create_group(name)
        # OME-Zarr has no boolean labels
        dtype = np.dtype(np.uint8) if image.values.dtype == bool else image.values.dtype
        values = image.values.astype(dtype)
        strides = level_strides(image.grid, count)
        for level, (before, stride) in enumerate(itertools.pairwise((strides[0], *strides))):
            step = [k // b for b, k in zip(before, stride, strict=True)]
            values = reduced(values, step, "mode")
            shape = values.shape
            array = _new_array(own, level, shape, shape, None, AXES, dtype, "zstd")
            array[...] = values
            write_absent_files(array)
        grids = level_grids(image.grid, count)
        _describe(own, Path(name), grids, None, record, labels=True, levels="mode", image=WITHIN)


def _new_array(
    group: zarr.Group,
    level: int,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
    names: tuple[str, ...],
    dtype: np.typing.DTypeLike,
    codec: Literal["zstd", "lz4"],
) -> zarr.Array[Any]:
    with zarr.config.set(_IN_ORDER):
        return group.create_array(
            str(level),
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
    levels: Reduction | None = None,
    shown: Sequence[Shown] = (),
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
    levels : {"mean", "mode"}, optional
        How voxels become those of the coarser levels, which are written when the block ends; see
        `pyramids`. By default there are none. A part has those within its files alone.
    shown : sequence of Shown
        How viewers show the channels, or the values of a label image from 0 on.
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
    storing = _Storing(channels, dtype, codec)
    chunks = chunk_shape(grid.shape, chunk)
    shards = None if shard is None else shard_shape(grid.shape, chunks, shard)
    record = attributes if attributes is not None else {}
    with replacing(path) as partial:
        group = zarr.create_group(partial, zarr_format=3)
        arrays = [storing.array(group, 0, grid.shape, chunks, shards)]
        above = levels_of(grid, shards or chunks) if levels else ()
        for number, level in enumerate(above, start=1):
            files = shard_shape(level.grid.shape, level.chunk, level.shard)
            arrays.append(storing.array(group, number, level.grid.shape, level.chunk, files))
        if levels is None:
            yield arrays[0]
        else:
            levelled = _Levelled(arrays, above, grid, levels)
            yield levelled
            levelled.complete(partial / "0")
        if not sparse:
            write_absent_files(arrays[0], box)
        for array, level in zip(arrays[1:], above, strict=True):
            if level.divided:
                write_absent_files(array, None if box is None else level.box(box))
        if levels and PART not in record:
            _write_coarse(arrays, above, levels)
        if label_images:
            store_label_images(group, label_images, record)
        grids = (grid, *(level.grid for level in above))
        _describe(group, path, grids, channels, record, labels=labels, levels=levels, shown=shown)


def _write_coarse(
    arrays: Sequence[zarr.Array[Any]], levels: Sequence[Level], how: Reduction
) -> None:
    """Write the levels without divided shards, all files of them."""
    write_coarse(arrays, levels, how)
    for array, level in zip(arrays[1:], levels, strict=True):
        if not level.divided:
            write_absent_files(array)


@dataclass(frozen=True)
class _Storing:
    """What the arrays of an image have in common."""

    channels: Sequence[str] | None
    dtype: np.typing.DTypeLike
    codec: Literal["zstd", "lz4"]

    def array(
        self,
        group: zarr.Group,
        level: int,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        shards: tuple[int, ...] | None,
    ) -> zarr.Array[Any]:
        """Create the array of a level from its spatial shapes."""
        names: tuple[str, ...] = AXES
        if self.channels is not None:
            count = len(self.channels)
            shape, chunks, names = (count, *shape), (count, *chunks), ("c", *AXES)
            shards = None if shards is None else (count, *shards)
        return _new_array(group, level, shape, chunks, shards, names, self.dtype, self.codec)


class _Levelled(zarr.Array[Any]):
    """An array that writes the levels below its files.

    Those of an image follow each file that is written as a whole, while its voxels are in memory;
    labels are written several times, and theirs follow at the end.

    Parameters
    ----------
    arrays : sequence of zarr.Array
        The array and those of its levels.
    levels : sequence of Level
        The levels.
    grid : Grid
        Grid of the array.
    how : {"mean", "mode"}
        How voxels become those of the next level.
    """

    def __init__(
        self, arrays: Sequence[zarr.Array[Any]], levels: Sequence[Level], grid: Grid, how: Reduction
    ) -> None:
        super().__init__(arrays[0].async_array)
        self._arrays, self._levels, self._grid, self._how = arrays, levels, grid, how
        self._files = shape3((arrays[0].shards or arrays[0].chunks)[-3:])
        self._done: set[Shape] = set()
        #: Files that were changed after their levels were written.
        self._stale: set[Shape] = set()

    def __setitem__(self, selection: Any, value: Any) -> None:
        """Write a part of the array, and the levels below it if it is a whole file."""
        super().__setitem__(selection, value)
        if self._how != "mean":
            return
        box = self._box(selection)
        first = shape3([a // n for a, n in zip(box.start, self._files, strict=True)])
        whole = box == shard_box(first, self._files, self._grid)
        if whole and np.shape(value) == (*self.shape[:-3], *box.shape):
            voxels = np.asarray(value).astype(self.dtype, copy=False)
            write_divided(self._arrays, self._levels, box, self._how, voxels)
            self._done.add(first)
            self._stale.discard(first)
        elif self._done:
            places = (
                range(a // n, -(-b // n))
                for a, b, n in zip(box.start, box.stop, self._files, strict=True)
            )
            changed = self._done.intersection(itertools.product(*places))
            self._done -= changed
            self._stale |= changed

    def _box(self, selection: Any) -> Box:
        """Return the voxels of a selection, of one that is no box those of the whole array."""
        parts = selection if isinstance(selection, tuple) else (selection,)
        if sum(part is Ellipsis for part in parts) == 1:
            at = next(place for place, part in enumerate(parts) if part is Ellipsis)
            missing = (slice(None),) * (self.ndim - len(parts) + 1)
            parts = (*parts[:at], *missing, *parts[at + 1 :])
        if len(parts) != self.ndim or not all(isinstance(part, slice) for part in parts):
            return self._grid.box
        spans = [part.indices(n) for part, n in zip(parts, self.shape, strict=True)]
        if any(step != 1 for _, _, step in spans):
            return self._grid.box
        start, stop = (shape3([span[end] for span in spans[-3:]]) for end in (0, 1))
        return Box(start, stop)

    def complete(self, folder: Path) -> None:
        """Write the levels below the files in the array's folder for which it is not done."""
        files = (file for file in (folder / "c").rglob("*") if file.is_file())
        there = {shape3([int(part) for part in file.parts[-3:]]) for file in files}
        for index in sorted((there - self._done) | self._stale):
            box = shard_box(index, self._files, self._grid)
            write_divided(self._arrays, self._levels, box, self._how)


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


def finish_levels(path: Path) -> None:
    """Write the coarser levels of an image whose levels with divided shards are complete.

    Parameters
    ----------
    path : Path
        Folder of an image with all arrays and metadata that `create` writes, which was put
        together from parts.
    """
    with zarr.config.set(_IN_ORDER):
        group = zarr.open_group(path, mode="r+")
        stored = open_stored(path)
        how = cast(dict[str, Any], group.attrs["ome"])["multiscales"][0].get("type")
        if how is None:
            return
        array = stored.array
        above = levels_of(stored.grid, shape3((array.shards or array.chunks)[-3:]))
        arrays = [cast(zarr.Array[Any], group[str(k)]) for k in range(len(above) + 1)]
        _write_coarse(arrays, above, how)
