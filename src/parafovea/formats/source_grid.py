"""Where the voxels of a source lie, from its header alone: cheap enough for planning.

An OME-Zarr image is described by two small JSON files, read here without zarr, which takes longer
to import than a hundred samples to plan. Other formats are opened, without reading a voxel.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import SourceError
from parafovea.formats import ome_zarr, open_source
from parafovea.formats.location import locate
from parafovea.formats.metadata import SourceMetadata
from parafovea.formats.source import readable
from parafovea.geometry.grid import Grid, Vector


@dataclass(frozen=True, slots=True)
class _Header:
    """An array of which the header alone is known."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, index: tuple[slice | int, ...]) -> Any:
        raise NotImplementedError("only the header of this array was read")


def source_grid(
    path: str,
    *,
    metadata: SourceMetadata,
    finer_than: Vector | None = None,
    unit: str | None = None,
    bands: tuple[str, ...] = (),
) -> Grid:
    """Return the grid that `open_source` would give, reading as little as the format allows.

    Parameters
    ----------
    path, metadata, finer_than, unit, bands
        As for `open_source`.

    Raises
    ------
    SourceError
        As `open_source`, as far as a header shows it.
    """
    if locate(path).format == "zarr":
        grid = _image_grid(path, metadata, finer_than, unit)
        if grid is not None:
            return grid
    return open_source(path, metadata=metadata, finer_than=finer_than, unit=unit, bands=bands).grid


def _image_grid(
    path: str, metadata: SourceMetadata, finer_than: Vector | None, unit: str | None
) -> Grid | None:
    """Return the grid of an OME-Zarr image, None where the folder is something else."""
    folder = Path(path)
    with readable(path):
        image = ome_zarr.image_of(_attributes(folder), path)
        if image is None:
            return None
        spacings = ome_zarr.level_spacings(path, image, metadata)
        level = ome_zarr.choose_level(spacings, finer_than, unit)
        header = _header(folder / image.levels[level].path)
        return ome_zarr.open_level(path, image, level, header, metadata=metadata).grid


def _attributes(folder: Path) -> dict[str, Any]:
    """Return the attributes of a group of format version 3 or 2."""
    if (folder / "zarr.json").is_file():
        return dict(_read(folder / "zarr.json").get("attributes") or {})
    return _read(folder / ".zattrs") if (folder / ".zattrs").is_file() else {}


def _header(folder: Path) -> _Header:
    if (folder / "zarr.json").is_file():
        facts = _read(folder / "zarr.json")
        return _Header(tuple(facts["shape"]), np.dtype(facts["data_type"]))
    facts = _read(folder / ".zarray")
    return _Header(tuple(facts["shape"]), np.dtype(facts["dtype"]))


def _read(file: Path) -> dict[str, Any]:
    facts = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(facts, dict):
        raise SourceError(f"{file} is not Zarr metadata: copy the image again")
    return facts
