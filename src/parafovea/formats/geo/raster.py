"""A GeoTIFF larger than memory, read window by window."""

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

from parafovea.errors import GridError, MissingSourceError, SourceError
from parafovea.formats.bands import OPTICAL, names_all
from parafovea.formats.geo.block_checksums import BlockChecksums
from parafovea.formats.geo.dataset import open_dataset
from parafovea.formats.geo.geotiff import (
    band_indices,
    crs_name,
    doubts,
    library,
    mask_bands,
    numbers,
    opened,
    pixel_sides,
    read_window,
    require_place,
)
from parafovea.formats.ground import ground_sides
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.quantity_bands import Conversion, conversions
from parafovea.formats.reflectance import (
    Reflectance,
    ScaleTally,
    is_reflectance,
    to_reflectance,
)
from parafovea.formats.tiles.tile import Position

_NOTHING = TileOptions()

#: Rows and columns of the windows that are inspected to detect how a truth is stored.
SAMPLE = 256


@dataclass(frozen=True)
class Raster:
    """Chosen bands of a large GeoTIFF, read on demand.

    Parameters
    ----------
    path : str
        Path as given by the user.
    shape : tuple of int
        (band, y, x).
    bands : tuple of str
        Names of the bands, in reading order.
    indices : tuple of int
        Their indices in the file, from 0.
    dtype : dtype
        Data type of the numbers in the file.
    descriptions : tuple of str or None
        Description of each of `bands` in the file.
    crs : str or None
        Such as "EPSG:32633", or WKT; None if the file has no position.
    transform : tuple of float
        a, b, c, d, e, f of x = a * column + b * row + c, y = d * column + e * row + f, at pixel
        corners, in the unit of the CRS.
    pixel_size_m : tuple of float or None
        Height and width of a pixel in metres on the ground, at the centre. None without a CRS.
    nodata : tuple of tuple of float
        For each of `bands`, the numbers that mark pixels without a measurement.
    masks : tuple of int
        Indices in the file, from 0, of bands that are 0 where nothing was measured.
    scale, offset : tuple of float or None
        One number per band of `bands`: reflectance = number * scale + offset.
    conversions : tuple of Conversion or None
        One per band of `bands`, for those that are no reflectance; empty if all are.
    block : tuple of int
        Rows and columns of a block stored in the file.
    notes : tuple of str
        What may be wrong with the file but need not be; phrases without its name.
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
    nodata: tuple[tuple[float, ...], ...]
    masks: tuple[int, ...]
    scale: tuple[float, ...] | None
    offset: tuple[float, ...] | None
    conversions: tuple[Conversion | None, ...]
    block: tuple[int, int]
    notes: tuple[str, ...]
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
        """Return the results of `read` and `valid` in one read; None if all pixels are valid."""
        found, valid = self.read_counted(rows, cols)
        return found.values, valid

    def read_counted(
        self, rows: slice, cols: slice, tally: ScaleTally | None = None
    ) -> tuple[Reflectance, NDArray[np.bool_] | None]:
        """Return the reflectance of a window with its clipped values, and its valid pixels.

        Parameters
        ----------
        rows, cols : slice
            As for `read`.
        tally : ScaleTally, optional
            Tally to which the window is added.
        """
        stored, valid = self._stored(rows, cols)
        found = to_reflectance(
            stored,
            valid,
            self.path,
            scale=self.scale,
            offset=self.offset,
            conversions=self.conversions,
        )
        if tally is not None:
            tally.add(stored, valid, found)
        return found, valid

    def position(self, row: int = 0, column: int = 0) -> Position | None:
        """Return the position of a pixel's upper left corner; None without a CRS."""
        if self.crs is None:
            return None
        a, _, c, _, e, f = self.transform
        return Position(self.crs, x=c + a * column, y=f + e * row, pixel_size=(a * -e) ** 0.5)

    def tally(self) -> ScaleTally:
        """Return a tally for windows of this image, to check its scale as a whole."""
        return ScaleTally(self.path, self.scale, self.offset, conversions=self.conversions)

    def close(self) -> None:
        """Close the file; it is reopened on the next read."""
        self._open.close()

    def _stored(self, rows: slice, cols: slice) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        (top, bottom), (left, right) = (
            self._bounds(part, length)
            for part, length in zip((rows, cols), self.shape[1:], strict=True)
        )
        window = Window(left, top, right - left, bottom - top)
        return self._open.read(self.indices, window, nodata=self.nodata, masks=self.masks)

    def _bounds(self, part: slice, length: int) -> tuple[int, int]:
        start = 0 if part.start is None else part.start
        stop = length if part.stop is None else part.stop
        if part.step not in (None, 1) or not 0 <= start < stop <= length:
            raise GridError(
                f"window {part} is not within the {length} rows or columns of {self.path}: "
                "cut it to the image first"
            )
        return start, stop


class _Handle:
    """An open file shared by threads, and reopened by copies in other processes."""

    def __init__(self, path: str, cache: int) -> None:
        self._path = path
        self._cache = cache
        self._dataset: Any = None
        self._checksums = BlockChecksums()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Handle, (self._path, self._cache)

    def read(
        self,
        bands: tuple[int, ...],
        window: Window,
        *,
        nodata: tuple[tuple[float, ...], ...],
        masks: tuple[int, ...],
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        with self._lock, library(self._path, cache=self._cache):
            if self._dataset is None:
                self._dataset = open_dataset(self._path)
            return read_window(
                self._dataset,
                bands,
                window,
                nodata=nodata,
                masks=masks,
                checksums=self._checksums,
            )

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
    truth: bool = False,
    cache: int = 64,
) -> Raster:
    """Open a GeoTIFF without reading its pixels.

    Parameters
    ----------
    path : str
        Path of one file, projected or in degrees, north up.
    bands : sequence of str
        Bands to read, in reading order, found by the file's descriptions or `options.bands`.
    options : TileOptions
        User's description of the file's numbers.
    truth : bool
        Whether this is a truth and the options describe its source: its own names of bands, scale
        and nodata number then take precedence, and a truth in reflectance needs no scale.
    cache : int
        Size of the cache of decoded blocks in MiB.

    Returns
    -------
    Raster
        Shape, position and a lazy `read`.

    Raises
    ------
    MissingSourceError
        If the file does not exist.
    SourceError
        If it is not a GeoTIFF, does not name its bands, is rotated, or states its position by
        control points only.
    """
    if not Path(path).exists():
        raise MissingSourceError(
            f"{path} does not exist: correct the path; a relative path starts from the folder in "
            "which the workflow runs"
        )
    with opened(path, cache=cache) as dataset:
        require_place(dataset, path)
        if truth and names_all(dataset.descriptions, bands):
            options = options.model_copy(update={"bands": None})
        indices = band_indices(dataset, path, wanted=bands, given=options.bands)
        meant = numbers(dataset, _own(dataset, indices, options) if truth else options).of(indices)
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
            masks=mask_bands(dataset, options.bands),
            scale=meant.scale,
            offset=meant.offset,
            conversions=conversions(
                path,
                bands,
                **options.quantities,
                metadata={},
                units=tuple(dataset.units[index] for index in indices),
            ),
            block=(int(rows), int(columns)),
            notes=doubts(dataset, options),
            _open=_Handle(path, cache),
        )


def _pixel_size_m(dataset: Any) -> tuple[float, float] | None:
    if dataset.crs is None:
        return None
    height, width = pixel_sides(dataset)
    x = float(dataset.transform.c) + width * dataset.width / 2
    y = float(dataset.transform.f) - height * dataset.height / 2
    if dataset.crs.is_geographic and abs(y) > 90 / math.degrees(dataset.crs.units_factor[1]):
        raise SourceError(
            f"{dataset.name} lies at the latitude {y:g} by its coordinate system "
            f"{crs_name(dataset.crs)[:60]}: correct that, for example with gdal_edit -a_srs"
        )
    return ground_sides(dataset.crs, x, y, height, width)


def _own(dataset: Any, indices: tuple[int, ...], options: TileOptions) -> TileOptions:
    """Return the options for a truth: its own scale and nodata, or else those of its source."""
    stated = options.stated_by(
        nodata=any(number is not None for number in dataset.nodatavals),
        scale=numbers(dataset, _NOTHING).scale is not None,
    )
    if stated.scale is None:
        return stated
    own = stated.unscaled()
    missing = numbers(dataset, own).of(indices).nodata
    known = (
        is_reflectance(stored, valid)
        for stored, valid in (
            read_window(
                dataset,
                indices,
                window,
                nodata=missing,
                masks=mask_bands(dataset, options.bands),
            )
            for window in _samples(dataset)
        )
    )
    says = [each for each in known if each is not None]
    return own if says and all(says) else stated


def _samples(dataset: Any) -> list[Window]:
    """Return nine windows, distributed over an image."""
    height, width = (min(SAMPLE, side) for side in (dataset.height, dataset.width))
    return [
        Window((dataset.width - width) * j // 2, (dataset.height - height) * i // 2, width, height)
        for i in range(3)
        for j in range(3)
    ]
