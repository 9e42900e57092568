"""A large GeoTIFF as a volume of one plane with bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.grid import METRES, Grid, Vector
from parafovea.readers.raster import Raster, open_raster
from parafovea.readers.source import Slices, Source, bounded
from parafovea.readers.tile_options import TileOptions
from parafovea.tiles import DEFAULT_BIOME, DEFAULT_MONTH


def open_mosaic(
    path: str,
    *,
    bands: Sequence[str],
    options: TileOptions,
    spacing: Vector,
    unit: str,
    month: int | None = None,
    biome: int | None = None,
) -> Source:
    """Open a GeoTIFF as a volume (band, 1, y, x), without reading its pixels.

    Parameters
    ----------
    path : str
        Of the file; it may be larger than memory.
    bands : sequence of str
        Bands to read.
    options : TileOptions
        What the user says of the numbers in the file.
    spacing : tuple of float
        Voxel size along z, y, x where the file has no place; along z it has no meaning.
    unit : str
        Of `spacing`.
    month, biome : int, optional
        What is known of the mosaic; June and biome 0 by default.

    Returns
    -------
    Source
        Reflectances float32, 0 where nothing was measured.

    Raises
    ------
    SourceError
        If the file cannot be read, or lacks a band.
    """
    raster = open_raster(path, bands=bands, options=options)
    _, height, width = raster.shape
    y, x = spacing[1:]
    if raster.pixel_size_m is not None:
        y, x = (side / METRES[unit] for side in raster.pixel_size_m)
    return Source(
        path=path,
        array=_Plane(raster),
        grid=Grid((1, height, width), (spacing[0], y, x), unit=unit),
        bands=tuple(bands),
        conditions={
            "month": (DEFAULT_MONTH if month is None else month,),
            "biome": (DEFAULT_BIOME if biome is None else biome,),
        },
    )


class _Plane:
    """The bands of a raster as an array (band, 1, y, x)."""

    dtype = np.dtype(np.float32)

    def __init__(self, raster: Raster) -> None:
        self._raster = raster
        self.shape = (1, *raster.shape[1:])

    def __getitem__(self, index: Slices) -> NDArray[Any]:
        """Return the voxels of three slices of step 1, (band, z, y, x)."""
        planes, rows, columns = bounded(index, self.shape)
        values = self._raster.read(rows, columns)[:, None]
        return values[:, planes]
