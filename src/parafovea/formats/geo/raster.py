"""A GeoTIFF larger than memory, read a window at a time."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from parafovea.errors import GridError, MissingSourceError
from parafovea.formats.bands import OPTICAL, choose_bands
from parafovea.formats.geo.geotiff import (
    crs_name,
    library,
    numbers,
    open_dataset,
    opened,
    pixel_sides,
    read_window,
)
from parafovea.formats.metadata import TileOptions
from parafovea.formats.reflectance import to_reflectance

#: WGS 84: semi-major axis in metres, and first eccentricity squared.
_AXIS, _ECCENTRICITY2 = 6378137.0, 0.0066943799901413165

_NOTHING = TileOptions()


@dataclass(frozen=True)
class Raster:
    """Chosen bands of a large GeoTIFF, read on demand.

    Parameters
    ----------
    path : str
        As the user gave it.
    shape : tuple of int
        (band, y, x).
    bands : tuple of str
        Names of the bands, in the order in which they are read.
    indices : tuple of int
        Where they are in the file, from 0.
    dtype : dtype
        Of the numbers in the file.
    descriptions : tuple of str or None
        The file's description of each of `bands`.
    crs : str or None
        Such as "EPSG:32633", else WKT; None where the file has no place.
    transform : tuple of float
        a, b, c, d, e, f of x = a * column + b * row + c, y = d * column + e * row + f, at the
        corners of pixels, in the unit of the CRS.
    pixel_size_m : tuple of float or None
        Height and width of a pixel in metres; in degrees, those at the centre. None without a CRS.
    nodata : float or None
        Number of pixels without a measurement.
    scale, offset : tuple of float or None
        A number each of `bands`: reflectance = number * scale + offset.
    block : tuple of int
        Rows and columns that the file stores in one piece.
    """

    path: str
    shape: tuple[int, int, int]
    bands: tuple[str, ...]
    indices: tuple[int, ...]
    dtype: np.dtype[Any]
    descriptions: tuple[str | None, ...]
    crs: str | None
    transform: tuple[float, float, float, float, float, float]
    pixel_size_m: tuple[float, float] | None
    nodata: float | None
    scale: tuple[float, ...] | None
    offset: tuple[float, ...] | None
    block: tuple[int, int]
    _open: _Handle = field(repr=False, compare=False)

    def read(self, rows: slice, cols: slice) -> NDArray[np.float32]:
        """Return the reflectance of a window; 0 where a pixel is not `valid`.

        Parameters
        ----------
        rows, cols : slice
            Of step 1, within the image.

        Returns
        -------
        ndarray
            (band, y, x) float32 in [0, 1].

        Raises
        ------
        GridError
            If the window reaches outside of the image.
        SourceError
            If the file is damaged there, or its values cannot be reflectance.
        """
        return self.read_valid(rows, cols)[0]

    def valid(self, rows: slice, cols: slice) -> NDArray[np.bool_]:
        """Return which pixels of a window were measured in all bands, (y, x) bool."""
        stored, valid = self._stored(rows, cols)
        return np.ones(stored.shape[1:], np.bool_) if valid is None else valid

    def read_valid(
        self, rows: slice, cols: slice
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Return what `read` and `valid` return, read once; None where all pixels are valid."""
        stored, valid = self._stored(rows, cols)
        values, _ = to_reflectance(stored, valid, self.path, scale=self.scale, offset=self.offset)
        return values, valid

    def close(self) -> None:
        """Close the file; reading opens it again."""
        self._open.close()

    def _stored(self, rows: slice, cols: slice) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        (top, bottom), (left, right) = (
            self._bounds(part, length)
            for part, length in zip((rows, cols), self.shape[1:], strict=True)
        )
        window = Window(left, top, right - left, bottom - top)
        return self._open.read(self.indices, window, nodata=self.nodata)

    def _bounds(self, part: slice, length: int) -> tuple[int, int]:
        start = 0 if part.start is None else part.start
        stop = length if part.stop is None else part.stop
        if part.step not in (None, 1) or not 0 <= start < stop <= length:
            raise GridError(
                f"window {part} does not lie within the {length} rows or columns of {self.path}: "
                "cut it to the image first"
            )
        return start, stop


class _Handle:
    """An open file that threads share, and that a copy in another process opens again."""

    def __init__(self, path: str, cache: int) -> None:
        self._path = path
        self._cache = cache
        self._dataset: Any = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Handle, (self._path, self._cache)

    def read(
        self, bands: tuple[int, ...], window: Window, *, nodata: float | None
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        with self._lock, library(self._path, cache=self._cache):
            if self._dataset is None:
                self._dataset = open_dataset(self._path)
            return read_window(self._dataset, bands, window, nodata=nodata)

    def close(self) -> None:
        with self._lock:
            if self._dataset is not None:
                self._dataset.close()
                self._dataset = None


def open_raster(
    path: str,
    *,
    bands: Sequence[str] = OPTICAL,
    options: TileOptions = _NOTHING,
    cache: int = 64,
) -> Raster:
    """Open a GeoTIFF without reading its pixels.

    Parameters
    ----------
    path : str
        Of one file, projected or in degrees, north up.
    bands : sequence of str
        Bands to read, in this order; found by the file's descriptions or by `options.bands`.
    options : TileOptions
        The user's description of the file's numbers.
    cache : int
        MiB of decoded blocks that are kept for the next window.

    Returns
    -------
    Raster
        Shape, place and a lazy `read`.

    Raises
    ------
    MissingSourceError
        If there is no such file.
    SourceError
        If it is no GeoTIFF, does not state which bands it holds, or is rotated.
    """
    if not Path(path).exists():
        raise MissingSourceError(
            f"{path} does not exist: correct the path; a relative one counts from the folder in "
            "which the workflow runs"
        )
    with opened(path, cache=cache) as dataset:
        indices = choose_bands(
            path,
            count=dataset.count,
            wanted=bands,
            given=options.bands,
            descriptions=dataset.descriptions,
        )
        meant = numbers(dataset, options)
        a, b, c, d, e, f = tuple(dataset.transform)[:6]
        rows, columns = dataset.block_shapes[indices[0]]
        return Raster(
            path=path,
            shape=(len(indices), int(dataset.height), int(dataset.width)),
            bands=tuple(bands),
            indices=indices,
            dtype=np.dtype(dataset.dtypes[indices[0]]),
            descriptions=tuple(dataset.descriptions[index] for index in indices),
            crs=None if dataset.crs is None else crs_name(dataset.crs),
            transform=(a, b, c, d, e, f),
            pixel_size_m=_pixel_size_m(dataset),
            nodata=meant.nodata,
            scale=_chosen(meant.scale, indices),
            offset=_chosen(meant.offset, indices),
            block=(int(rows), int(columns)),
            _open=_Handle(path, cache),
        )


def metres_per_degree(latitude: float) -> tuple[float, float]:
    """Return the length of one degree of latitude and of one of longitude on WGS 84.

    M = a (1 - e²) / (1 - e² sin² φ)^1.5 along the meridian and N cos φ with
    N = a / sqrt(1 - e² sin² φ)
    along the parallel (Snyder, Map Projections: A Working Manual, USGS Professional Paper 1395,
    equations 4-18 to 4-21), times pi / 180.

    Parameters
    ----------
    latitude : float
        In degrees.

    Returns
    -------
    tuple of float
        Metres a degree of latitude, metres a degree of longitude.
    """
    phi = math.radians(latitude)
    bulge = 1 - _ECCENTRICITY2 * math.sin(phi) ** 2
    meridian = _AXIS * (1 - _ECCENTRICITY2) / bulge**1.5
    parallel = _AXIS * math.cos(phi) / math.sqrt(bulge)
    return math.radians(meridian), math.radians(parallel)


def _pixel_size_m(dataset: Any) -> tuple[float, float] | None:
    if dataset.crs is None:
        return None
    height, width = pixel_sides(dataset)
    if not dataset.crs.is_geographic:
        metres = float(dataset.crs.linear_units_factor[1])
        return height * metres, width * metres
    latitude = float(dataset.transform.f) - height * dataset.height / 2
    per_y, per_x = metres_per_degree(latitude)
    return height * per_y, width * per_x


def _chosen(
    numbers: tuple[float, ...] | None, indices: tuple[int, ...]
) -> tuple[float, ...] | None:
    return None if numbers is None else tuple(numbers[index] for index in indices)
