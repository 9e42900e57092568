"""GeoTIFF files as rasterio opens them: their header, and where they lie."""

from __future__ import annotations

import contextlib
import json
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from parafovea.errors import SourceError
from parafovea.formats.metadata import TileOptions
from parafovea.formats.reflectance import measured
from parafovea.formats.source import readable

#: Tag of a refined mosaic: JSON of what made it.
RECORD = "PARAFOVEA"

#: What rasterio raises; not all of GDAL's errors become its own.
FAILURES = (RasterioError, CPLE_BaseError)

# The filters of warnings belong to the process, and tiles are read in threads.
_FILTERS = threading.Lock()


@contextlib.contextmanager
def library(path: str, *, cache: int = 64) -> Iterator[None]:
    """Set GDAL up for one file; what goes wrong inside is one `SourceError`.

    Parameters
    ----------
    path : str
        For messages.
    cache : int
        MiB of decoded blocks that GDAL keeps.
    """
    with (
        readable(path, *FAILURES),
        # rasterio takes the cache in bytes, where GDAL itself takes MiB.
        # The file alone: no listing of a folder of thousands, and nothing that lies beside it.
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_CACHEMAX=cache << 20),
    ):
        yield


@contextlib.contextmanager
def opened(path: str, *, content: bytes | None = None, cache: int = 64) -> Iterator[Any]:
    """Open a GeoTIFF for a while.

    Parameters
    ----------
    path : str
        Read as a GeoTIFF whatever it contains: other formats of GDAL can name further files.
    content : bytes, optional
        Of the file, where they are in memory: then it is not opened again.
    cache : int
        MiB of decoded blocks that GDAL keeps.

    Raises
    ------
    SourceError
        If the file is damaged or no GeoTIFF.
    """
    with library(path, cache=cache):
        if content is None:
            with contextlib.closing(open_dataset(path)) as dataset:
                yield dataset
            return
        with (
            MemoryFile(content, filename=Path(path).name) as memory,
            _named(path, memory.name),
            contextlib.closing(open_dataset(memory.name)) as dataset,
        ):
            yield dataset


@contextlib.contextmanager
def _named(path: str, name: str) -> Iterator[None]:
    """Let errors name the file, and not the name that its bytes in memory have."""
    try:
        yield
    except SourceError as error:
        if name not in str(error):
            raise
        raise type(error)(str(error).replace(name, path)) from error
    except FAILURES as error:
        raise RasterioError(str(error).replace(name, path)) from error


def open_dataset(path: str) -> Any:
    """Return an open dataset of rasterio, without its warning about files that have no place."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, driver="GTiff")


@dataclass(frozen=True, slots=True)
class Numbers:
    """How the numbers of a file's bands become reflectance.

    Parameters
    ----------
    scale, offset : tuple of float or None
        A number each band of the file: reflectance = number * scale + offset. None where neither
        the user nor the file states it.
    nodata : float or None
        Marks pixels without a measurement.
    """

    scale: tuple[float, ...] | None
    offset: tuple[float, ...] | None
    nodata: float | None


def numbers(dataset: Any, options: TileOptions) -> Numbers:
    """Return how user or file describe a file's numbers; the user's description wins."""
    nodata = dataset.nodata if options.nodata is None else options.nodata
    if options.scale is not None and options.offset is not None:
        count = dataset.count
        return Numbers((options.scale,) * count, (options.offset,) * count, nodata)
    scales, offsets = tuple(dataset.scales), tuple(dataset.offsets)
    if all(scale == 1 for scale in scales) and not any(offsets):
        return Numbers(None, None, nodata)
    if not np.isfinite([*scales, *offsets]).all() or 0 in scales:
        raise SourceError(
            f"{dataset.name} states the scales {scales} and offsets {offsets}, which are invalid: "
            "write scale= and offset= in the metadata column of the sample sheet"
        )
    return Numbers(scales, offsets, nodata)


def read_window(
    dataset: Any, bands: tuple[int, ...], window: Window | None, *, nodata: float | None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return the numbers of a window and which of its pixels were measured.

    Parameters
    ----------
    dataset
        Open dataset of rasterio.
    bands : tuple of int
        Indices, from 0, of the bands to read, in this order.
    window : Window or None
        None for the whole image.
    nodata : float or None
        Marks a missing value; a mask inside the file counts beside it.

    Returns
    -------
    stored : ndarray
        (band, y, x), of the file's type.
    valid : ndarray or None
        (y, x) bool; None where all pixels were measured in all bands.
    """
    indexes = [band + 1 for band in bands]
    stored: NDArray[Any] = dataset.read(indexes, window=window)
    valid = measured(stored, nodata)
    if any(MaskFlags.per_dataset in dataset.mask_flag_enums[band] for band in bands):
        inside = (dataset.read_masks(indexes, window=window) > 0).all(axis=0)
        valid = inside if valid is None else valid & inside
        valid = None if valid.all() else valid
    return stored, valid


def pixel_sides(dataset: Any) -> tuple[float, float]:
    """Return the height and the width of a pixel, in the unit of the CRS.

    Raises
    ------
    SourceError
        If rows do not run south or columns do not run east.
    """
    transform = dataset.transform
    turned = abs(transform.b) + abs(transform.d)
    if turned > 1e-9 * (abs(transform.a) + abs(transform.e)):
        raise SourceError(
            f"{dataset.name} is rotated against its coordinate system (transform "
            f"{tuple(transform)[:6]}): warp it to north up first, for example with gdalwarp"
        )
    if transform.a <= 0 or transform.e >= 0:
        raise SourceError(
            f"{dataset.name} does not run from north to south and west to east (transform "
            f"{tuple(transform)[:6]}): warp it to north up first, for example with gdalwarp"
        )
    return -float(transform.e), float(transform.a)


def crs_name(crs: Any) -> str:
    """Return a CRS as `EPSG:32633` where it is one of these, else as WKT."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code is not None else str(crs.to_wkt())


def mosaic_record(path: Path) -> dict[str, Any]:
    """Return what made a refined mosaic, as the file states it; empty where it does not.

    Parameters
    ----------
    path : Path
        Of a GeoTIFF.

    Raises
    ------
    SourceError
        If it is damaged or no GeoTIFF.
    """
    with opened(str(path)) as dataset:
        text = dataset.tags().get(RECORD, "{}")
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
