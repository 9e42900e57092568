"""Block-wise writing of cloud-optimized GeoTIFF."""

from __future__ import annotations

import errno
import glob
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioIOError
from rasterio.transform import Affine
from rasterio.windows import Window

from parafovea.formats.reflectance import DN_SCALE
from parafovea.storage.store import beside, discard, replacing

#: Rows and columns of a block in the finished file.
BLOCK = 512

#: Bytes of blocks that GDAL caches while writing.
CACHE = 64 << 20

Block = tuple[int, int, NDArray[Any]]


def write_cog(
    path: Path,
    blocks: Iterable[Block],
    *,
    shape: tuple[int, int, int],
    crs: str | None,
    transform: Sequence[float],
    nodata: float | None = None,
    dtype: np.typing.DTypeLike = np.float32,
    descriptions: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write an image as a cloud-optimized GeoTIFF, atomically.

    Blocks are written to an uncompressed file next to the result, which GDAL then converts,
    adding overviews. Memory is bounded by one block and GDAL's cache; disk usage is twice the
    image. The same blocks give the same bytes.

    Parameters
    ----------
    path : Path
        Path of the result; its folder is created if missing.
    blocks : iterable of (row, column, array)
        Arrays (band, y, x), each with the position of its first pixel. Together they cover every
        pixel once, in any order.
    shape : tuple of int
        (band, y, x) of the whole image.
    crs : str or None
        Such as "EPSG:32633", or WKT.
    transform : sequence of float
        a, b, c, d, e, f of x = a * column + b * row + c, y = d * column + e * row + f, at pixel
        corners, in the unit of the CRS.
    nodata : float, optional
        Replaces NaN.
    dtype : dtype
        Data type of the file. For uint16, blocks are reflectance in [0, 1], stored as digital
        numbers with a scale of 1e-4 and, if `nodata` is 0, a minimum of 1. For other types, blocks
        are stored as is.
    descriptions : sequence of str
        Names of the bands.
    tags : mapping, optional
        Stored in the file's metadata.

    Raises
    ------
    ValueError
        If blocks exceed the image, leave a gap, or contain NaN and there is no `nodata`.
    OSError
        If the disk is full.
    """
    dtype = np.dtype(dtype)
    count, height, width = shape
    size = count * height * width * dtype.itemsize
    profile = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": dtype,
        "crs": crs,
        "transform": Affine(*transform),
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "BIGTIFF": "IF_SAFER",
    }
    environment = rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
    plain = beside(path, "plain")
    with replacing(path) as partial, environment:
        try:
            with rasterio.open(plain, "w", **profile) as image:
                if descriptions:
                    image.descriptions = tuple(descriptions)
                if dtype == np.uint16:
                    image.scales, image.offsets = (DN_SCALE,) * count, (0.0,) * count
                image.update_tags(**(tags or {}))
                _write_blocks(image, blocks, shape, dtype, nodata)
            if plain.stat().st_size < size:  # GDAL reports no failure on closing a file
                raise _disk_error(plain, size)
            _optimize(plain, partial, "AVERAGE" if _is_measured(dtype) else "NEAREST")
            _check_complete(plain, partial)
        except (RasterioIOError, CPLE_BaseError) as error:
            raise _disk_error(plain, size) from error
        finally:
            discard(plain)
            for left in path.parent.glob(f"{glob.escape(partial.name)}.*"):
                discard(left)


def _write_blocks(
    image: Any,
    blocks: Iterable[Block],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    nodata: float | None,
) -> None:
    written = 0
    for row, column, values in blocks:
        _check_inside(row, column, values, shape)
        window = Window(column, row, values.shape[2], values.shape[1])
        image.write(_as_stored(values, dtype, nodata), window=window)
        written += values.shape[1] * values.shape[2]
    if written != shape[1] * shape[2]:
        raise ValueError(
            f"blocks have {written} pixels of {shape[1] * shape[2]}: they must cover the image once"
        )


def _optimize(plain: Path, path: Path, resampling: str) -> None:
    rasterio.shutil.copy(
        plain,
        path,
        driver="COG",
        BLOCKSIZE=BLOCK,
        COMPRESS="DEFLATE",
        PREDICTOR="YES",
        OVERVIEWS="AUTO",
        OVERVIEW_RESAMPLING=resampling,
        BIGTIFF="IF_SAFER",
        NUM_THREADS=1,
    )


def _is_measured(dtype: np.dtype[Any]) -> bool:
    return np.issubdtype(dtype, np.floating) or dtype == np.uint16


def _check_inside(row: int, column: int, values: NDArray[Any], shape: tuple[int, int, int]) -> None:
    fits = values.ndim == 3 and values.shape[0] == shape[0]
    if not fits or not (
        0 <= row <= shape[1] - values.shape[1] and 0 <= column <= shape[2] - values.shape[2]
    ):
        raise ValueError(
            f"block {values.shape} at row {row}, column {column} is not within {shape}"
        )


def _as_stored(values: NDArray[Any], dtype: np.dtype[Any], nodata: float | None) -> NDArray[Any]:
    missing = (
        np.isnan(values)
        if np.issubdtype(values.dtype, np.floating)
        else np.zeros(values.shape, np.bool_)
    )
    if missing.any() and nodata is None:
        raise ValueError("a block contains NaN, but no nodata value is given")
    if dtype == np.uint16:
        lowest = 1 if nodata == 0 else 0
        numbers = np.rint(np.where(missing, 0, values) / DN_SCALE)
        values = np.clip(numbers, lowest, np.rint(1 / DN_SCALE))
    return np.where(missing, nodata if nodata is not None else 0, values).astype(dtype)


def _check_complete(plain: Path, path: Path) -> None:
    """Read the result back, since GDAL reports no error for a file that was not fully written."""
    with rasterio.open(plain) as before, rasterio.open(path) as after:
        for window in _windows(before.height, before.width):
            same = np.array_equal(
                before.read(window=window),
                after.read(window=window),
                equal_nan=np.issubdtype(np.dtype(before.dtypes[0]), np.floating),
            )
            if not same:
                raise RasterioIOError(f"{path} does not contain what was written to it")
        levels = len(after.overviews(1))
    for level in range(levels):
        with rasterio.open(path, overview_level=level) as overview:
            for window in _windows(overview.height, overview.width):
                overview.read(window=window)


def _windows(height: int, width: int) -> Iterator[Window]:
    step = 2 * BLOCK
    for row in range(0, height, step):
        for column in range(0, width, step):
            yield Window(column, row, min(step, width - column), min(step, height - row))


def _disk_error(path: Path, size: int) -> OSError:
    """Return the operating system's error if GDAL only reports that writing failed."""
    full = shutil.disk_usage(path.parent).free < size
    number = errno.ENOSPC if full else errno.EIO
    return OSError(number, f"{os.strerror(number)}, {size} bytes were to be written", str(path))
