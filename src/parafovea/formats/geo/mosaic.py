"""A large GeoTIFF as a single-plane volume with bands."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.formats.geo.geotiff import mosaic_record
from parafovea.formats.geo.raster import Raster, open_raster
from parafovea.formats.ground import require_same_images
from parafovea.formats.location import Location
from parafovea.formats.source import Request, Slices, Source, bounded
from parafovea.formats.source_placement import check_shape
from parafovea.formats.tiles.sidecar import DEFAULT_BIOME, DEFAULT_MONTH
from parafovea.geometry.grid import METRES, Grid

logger = logging.getLogger(__name__)

__all__ = ["REACH", "mosaic_record", "open_raster", "open_volume", "require_same_images"]

#: Distance in pixels over which measured values are repeated into gaps.
REACH = 64


def open_volume(location: Location, request: Request) -> Source:
    """Open a GeoTIFF as a volume (band, 1, y, x), without reading its pixels.

    Parameters
    ----------
    location : Location
        The file; it may be larger than memory.
    request : Request
        The bands to read, and the user's description of the numbers in the file. Its `pixels` are
        the voxel size of a file without coordinates; along z it has no meaning.

    Returns
    -------
    Source
        Reflectance, float32. Where nothing was measured, the nearest measured pixel is repeated, so
        that a gap does not create an edge; 0 beyond a distance of `REACH`. A truth is NaN there.

    Raises
    ------
    SourceError
        If the file cannot be read, or lacks a band.
    """
    path, bands, metadata = location.path, request.bands, request.metadata
    spacing, unit = request.pixels
    raster = open_raster(path, bands=bands, options=metadata.tiles, truth=request.truth)
    _, height, width = check_shape(path, (1, *raster.shape[1:]))
    y, x = spacing[1:]
    if raster.pixel_size_m is not None:
        y, x = (side / METRES[unit] for side in raster.pixel_size_m)
    array = _Plane(raster, repeat=not request.truth)
    return Source(
        path=path,
        array=array,
        grid=Grid((1, height, width), (spacing[0], y, x), unit=unit),
        bands=bands,
        conditions={
            "month": (DEFAULT_MONTH if metadata.month is None else metadata.month,),
            "biome": (DEFAULT_BIOME if metadata.biome is None else metadata.biome,),
        },
        positions=(raster.position(),),
        check=array.check,
    )


class _Plane:
    """The bands of a raster as an array (band, 1, y, x).

    Parameters
    ----------
    raster : Raster
        The image.
    repeat : bool
        Whether measured pixels are repeated into gaps; otherwise they are NaN.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, raster: Raster, *, repeat: bool) -> None:
        self._raster = raster
        self._repeat = repeat
        self.tally = raster.tally()
        self.shape = (1, *raster.shape[1:])

    def check(self) -> None:
        """Raise an error if what was read cannot be right, and log what may be wrong."""
        self.tally.check()
        for note in (*self._raster.notes, *self.tally.notes()):
            logger.warning("%s: %s", self._raster.path, note)

    def __getitem__(self, index: Slices) -> NDArray[Any]:
        """Return the voxels of three slices of step 1, (band, z, y, x)."""
        planes, rows, columns = bounded(index, self.shape)
        found, valid = self._raster.read_counted(rows, columns, self.tally)
        values = found.values
        if valid is not None:
            gap = np.float32(np.nan)
            values = self._filled(rows, columns) if self._repeat else np.where(valid, values, gap)
        return values[:, None][:, planes]

    def _filled(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return a window with gaps filled; pixels do not depend on the choice of window."""
        from scipy.ndimage import distance_transform_edt

        wide = [
            slice(max(0, part.start - REACH), min(length, part.stop + REACH))
            for part, length in zip((rows, columns), self.shape[1:], strict=True)
        ]
        inner = tuple(
            slice(part.start - around.start, part.stop - around.start)
            for part, around in zip((rows, columns), wide, strict=True)
        )
        values, valid = self._raster.read_valid(wide[0], wide[1])
        if valid is None or not valid.any():
            return values[(slice(None), *inner)]
        away, (y, x) = distance_transform_edt(~valid, return_indices=True)
        filled: NDArray[np.float32] = values[(slice(None), y[inner], x[inner])]
        return np.where(away[inner] <= REACH, filled, np.float32(0))
