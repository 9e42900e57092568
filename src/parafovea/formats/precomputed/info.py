"""Neuroglancer precomputed volumes: what their `info` says; no chunk is read here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats.location import Location
from parafovea.formats.remote.address import Folder, folder_of
from parafovea.formats.source import Request, readable
from parafovea.formats.unpacking import LARGEST_EXTENSION, read_at_most
from parafovea.formats.zarr.ome_zarr import (
    Header,
    Image,
    Level,
    choose_level,
    level_spacings,
    open_level,
)
from parafovea.geometry.grid import Grid

FILE = "info"

_AXES = ("x", "y", "z", "c")
_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32")


@dataclass(frozen=True, slots=True)
class Scale:
    """A level of a volume.

    Parameters
    ----------
    key : str
        Its folder, relative to that of the volume.
    shape, chunk : tuple of int
        Of the array and of a chunk along x, y, z, channel.
    offset : tuple of int
        Of the first voxel along x, y, z, as in the names of chunks.
    resolution : tuple of float
        Voxel size along x, y, z in nanometres.
    encoding : str
        Of the chunks.
    facts : mapping
        All that is said of it.
    """

    key: str
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    offset: tuple[int, ...]
    resolution: tuple[float, ...]
    encoding: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Info:
    """A volume.

    Parameters
    ----------
    folder : Path or RemoteFolder
        Where it is.
    dtype : dtype
        Of a voxel.
    scales : tuple of Scale
        Its levels, the finest first.
    """

    folder: Folder
    dtype: np.dtype[Any]
    scales: tuple[Scale, ...]

    @property
    def image(self) -> Image:
        """The pyramid as an image.

        The centre of the first voxel of the finest scale is at its offset times its size, as in
        formats that state no corner; coarser voxels begin at the same faces.
        """
        finest = self.scales[0].resolution
        levels = []
        for each in self.scales:
            shift = (
                (o + 0.5) * r - f / 2
                for o, r, f in zip(each.offset, each.resolution, finest, strict=True)
            )
            levels.append(Level(each.key, (*each.resolution, 1.0), (*shift, 0.0)))
        return Image(_AXES, ("nanometer",) * 3 + (None,), tuple(levels))


def read_info(folder: Folder) -> Info:
    """Return the description of a volume.

    Raises
    ------
    SourceError
        If it is damaged, or not one of a volume.
    """
    file = folder / FILE
    with readable(str(file)), file.open("rb") as opened:
        facts = json.loads(read_at_most(opened, LARGEST_EXTENSION, str(file)))
    try:
        kind = facts.get("@type", "neuroglancer_multiscale_volume")
        if kind != "neuroglancer_multiscale_volume":
            raise ValueError(f"it is a {kind}, not a volume")
        dtype = str(facts["data_type"]).lower()
        channels = _whole(facts["num_channels"], least=1)
        scales = tuple(_scale(each, channels) for each in facts["scales"])
        if not scales:
            raise ValueError("no scales")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{file} does not describe a precomputed volume ({type(error).__name__}: {error}): "
            "give the folder of a volume, or copy it again"
        ) from error
    if dtype not in _TYPES:
        raise SourceError(f"{file} states the data type {dtype!r}, which is not one of numbers")
    return Info(folder, np.dtype(dtype), scales)


def _scale(facts: Mapping[str, Any], channels: int) -> Scale:
    key = str(facts["key"])
    size = tuple(_whole(n, least=1) for n in facts["size"])
    chunk = tuple(_whole(n, least=1) for n in facts["chunk_sizes"][0])
    offset = tuple(_whole(n) for n in facts.get("voxel_offset", (0, 0, 0)))
    resolution = tuple(float(r) for r in facts["resolution"])
    if {len(size), len(chunk), len(offset), len(resolution)} != {3}:
        raise ValueError(f"scale {key!r} has not three axes")
    return Scale(
        key,
        (*size, channels),
        (*(min(k, n) for k, n in zip(chunk, size, strict=True)), channels),
        offset,
        resolution,
        str(facts["encoding"]).lower(),
        facts,
    )


def _whole(number: Any, *, least: int | None = None) -> int:
    if isinstance(number, bool) or int(number) != number or (least is not None and number < least):
        raise ValueError(f"{number!r} is no number of voxels")
    return int(number)


def choose(path: str, request: Request) -> tuple[Info, int]:
    """Return the volume of a source and the index of the scale that is read."""
    info = read_info(folder_of(path))
    spacings = level_spacings(path, info.image, request.metadata)
    return info, choose_level(spacings, request.finer_than, request.unit)


def grid(location: Location, request: Request) -> Grid:
    """Return the grid of a volume from its `info`.

    Parameters
    ----------
    location : Location
        Folder of the volume.
    request : Request
        As for `open_volume` of the format.

    Raises
    ------
    SourceError
        If it is damaged.
    """
    path = location.path
    info, level = choose(path, request)
    header = Header(info.scales[level].shape, info.dtype)
    return open_level(path, info.image, level, header, metadata=request.metadata)[1]


def marks(folder: Folder) -> bool:
    """Return whether the `info` in a folder is one of Neuroglancer's, judged by its words."""
    try:
        with (folder / FILE).open("rb") as opened:
            return b'"scales"' in opened.read(2**20)
    except OSError:
        return False


def files(path: str) -> list[str]:
    """Return the file that describes a volume."""
    return [str(Path(path) / FILE)]


def metadata_files(folder: Folder) -> list[Folder]:
    """Return the file that describes a volume, on disk or at an address."""
    return [folder / FILE]
