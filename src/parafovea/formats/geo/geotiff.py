"""GeoTIFF files read with rasterio: header, masks, and position."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from parafovea.errors import SourceError
from parafovea.formats.bands import choose_bands, is_mask, is_named, may_be_mask, overridden
from parafovea.formats.geo.band_files import BandFiles
from parafovea.formats.geo.block_checksums import BlockChecksums, block_ranges, share_blocks
from parafovea.formats.geo.dataset import check_whole, open_dataset, require_passed_gaps
from parafovea.formats.ground import coincide
from parafovea.formats.library_logs import no_complaints
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.reflectance import measured
from parafovea.formats.source import readable

#: Tag of a refined mosaic: JSON with its provenance.
RECORD = "PARAFOVEA"

#: What GDAL logs about pixels that are not there, before it goes on without them.
_ABSENT = re.compile("premature end|truncated|read error|not enough data", re.IGNORECASE)


@contextlib.contextmanager
def library(path: str, *, cache: int = 64) -> Iterator[None]:
    """Configure GDAL for one file, and convert its errors to `SourceError`.

    Parameters
    ----------
    path : str
        Used in error messages.
    cache : int
        Size of GDAL's cache of decoded blocks in MiB.
    """
    with (
        readable(path),
        no_complaints(path, "rasterio", _ABSENT),
        # rasterio takes the cache size in bytes, GDAL itself in MiB.
        # Companion files are looked up by name, without listing a folder of thousands.
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE", GDAL_CACHEMAX=cache << 20),
    ):
        yield


@contextlib.contextmanager
def opened(
    path: str, *, content: Mapping[str, bytes] | None = None, cache: int = 64
) -> Iterator[Any]:
    """Open an image as a context manager.

    Parameters
    ----------
    path : str
        A GeoTIFF, JP2 or VRT file, or a folder with one file per band.
    content : mapping of str to bytes, optional
        File and companions (`parafovea.formats.geo.companions`), by path relative to the file's
        folder, if they are already in memory; the files are then not opened again.
    cache : int
        Size of GDAL's cache of decoded blocks in MiB.

    Raises
    ------
    SourceError
        If the file is damaged or of another format.
    """
    with library(path, cache=cache):
        if content is None:
            with contextlib.closing(open_dataset(path)) as dataset:
                yield dataset
            return
        check_whole(path, content[Path(path).name])
        with contextlib.ExitStack() as stack:
            folder = uuid.uuid4().hex
            for name, some in content.items():
                if name != Path(path).name:
                    stack.enter_context(MemoryFile(some, dirname=folder, filename=name))
            memory = stack.enter_context(
                MemoryFile(content[Path(path).name], dirname=folder, filename=Path(path).name)
            )
            stack.enter_context(_named(path, memory.name))
            dataset = stack.enter_context(contextlib.closing(open_dataset(memory.name)))
            require_passed_gaps(dataset, path)
            yield dataset


@contextlib.contextmanager
def _named(path: str, name: str) -> Iterator[None]:
    """Make errors name the file instead of its in-memory name."""
    try:
        yield
    except SourceError as error:
        if name not in str(error):
            raise
        raise type(error)(str(error).replace(name, path)) from error
    except (RasterioError, CPLE_BaseError) as error:
        # not all of GDAL's errors are converted to rasterio's own
        raise RasterioError(str(error).replace(name, path)) from error


@dataclass(frozen=True, slots=True)
class Numbers:
    """Conversion of the numbers in a file's bands to reflectance.

    Parameters
    ----------
    scale, offset : tuple of float or None
        One number per band of the file: reflectance = number * scale + offset. None if neither
        the user nor the file states it.
    nodata : tuple of tuple of float
        For each band of the file, the numbers that mark pixels without a measurement.
    """

    scale: tuple[float, ...] | None
    offset: tuple[float, ...] | None
    nodata: tuple[tuple[float, ...], ...]

    def of(self, bands: Sequence[int]) -> Numbers:
        """Return the conversion of selected bands, by index from 0."""
        scale, offset = (
            None if each is None else tuple(each[band] for band in bands)
            for each in (self.scale, self.offset)
        )
        return Numbers(scale, offset, tuple(self.nodata[band] for band in bands))


def numbers(dataset: Any, options: TileOptions) -> Numbers:
    """Return the conversion of a file's numbers; the user's options override the file."""
    nodata = tuple(map(options.missing, dataset.nodatavals))
    if options.scale is not None and options.offset is not None:
        count = dataset.count
        return Numbers((options.scale,) * count, (options.offset,) * count, nodata)
    scales, offsets = tuple(dataset.scales), tuple(dataset.offsets)
    if all(scale == 1 for scale in scales) and not any(offsets):
        return Numbers(None, None, nodata)
    if not np.isfinite([*scales, *offsets]).all() or 0 in scales:
        raise SourceError(
            f"{dataset.name} has the scales {scales} and offsets {offsets}, which are invalid: "
            "write scale= and offset= in the metadata column of the sample sheet"
        )
    return Numbers(scales, offsets, nodata)


def band_indices(
    dataset: Any,
    path: str,
    *,
    wanted: Sequence[str],
    given: Sequence[str] | None,
    refused: type[SourceError] = SourceError,
) -> tuple[int, ...]:
    """Return the index, from 0, of each wanted band; an alpha band needs no name.

    Parameters
    ----------
    dataset
        Open rasterio dataset.
    path : str
        Used in error messages.
    wanted, given, refused
        As for `parafovea.formats.bands.choose_bands`.
    """
    if dataset.count == 1 < len(wanted):
        place = Path(path)
        raise refused(
            f"{path} has one band, but the model reads {', '.join(wanted)}: put all bands "
            "into one file, with gdalbuildvrt -separate all.vrt and the files in this order, "
            f"then gdal_translate all.vrt NAME{place.suffix}, and name them with "
            f"bands={','.join(wanted)} in the metadata column of the sample sheet; or put the "
            "files of each place, named after their bands (B02.tif), into a folder of its own"
        )
    chosen = choose_bands(
        path,
        count=dataset.count,
        wanted=wanted,
        given=_with_alpha(dataset, given),
        descriptions=dataset.descriptions,
        refused=refused,
    )
    if isinstance(dataset, BandFiles):
        dataset.require_same_pixels(chosen)
    return chosen


def _with_alpha(dataset: Any, given: Sequence[str] | None) -> list[str] | None:
    """Return the user's names of all bands, with one for each alpha band that they leave out."""
    if given is None:
        return None
    names, alpha = list(given), _alpha_bands(dataset)
    if len(names) == dataset.count - len(alpha):
        for index in alpha:
            names.insert(index, "alpha")
    return names


def _stated_names(dataset: Any) -> list[str | None]:
    """Return the description of each band, or else the colour that the file calls it.

    GDAL calls the bands of any 8-bit image red, green and blue, so that their colours say nothing.
    """
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    return [
        text or (meaning.name if meaning in colours and np.dtype(dtype).itemsize > 1 else None)
        for text, meaning, dtype in zip(
            dataset.descriptions, dataset.colorinterp, dataset.dtypes, strict=True
        )
    ]


def doubts(dataset: Any, options: TileOptions) -> tuple[str, ...]:
    """Return what may be wrong with a file but need not be; phrases without its name.

    Parameters
    ----------
    dataset
        Open rasterio dataset.
    options : TileOptions
        User's description of the numbers.
    """
    found = []
    names = overridden(_with_alpha(dataset, options.bands), _stated_names(dataset))
    if names:
        found.append(names)
    other = options.contradicted(dataset.tags().get("PROCESSING_BASELINE"))
    if other:
        found.append(other)
    unread = [name for name in dataset.descriptions if may_be_mask(name)]
    if unread and options.bands is None:
        found.append(
            f"the band {unread[0]!r} may say which pixels were measured, but is not read: if it is "
            "0 where nothing was, name all bands with bands=, and this one dataMask"
        )
    if _is_rescaled(dataset, options):
        found.append(
            f"scale {options.scale:g} and offset {options.offset:g} of the metadata column replace "
            f"those in the file ({dataset.scales[0]:g} and {dataset.offsets[0]:g} for its first "
            "band); if the file is right, leave baseline=, scale= and offset= out"
        )
    if dataset.crs is None and not dataset.transform.is_identity:
        found.append(
            "the file states where its pixels lie, but not in which coordinate system: add it, "
            "for example with gdal_edit -a_srs EPSG:CODE"
        )
    return tuple(found)


def _is_rescaled(dataset: Any, options: TileOptions) -> bool:
    """Return whether the user's scale and offset replace others that the file states."""
    if options.scale is None or options.offset is None:
        return False
    stated = np.array([dataset.scales, dataset.offsets])
    own = stated[:, (stated[0] != 1) | (stated[1] != 0)]
    meant = np.array([[options.scale], [options.offset]])
    return not np.allclose(own, meant, rtol=1e-6, atol=1e-9)


def read_window(
    dataset: Any,
    bands: tuple[int, ...],
    window: Window | None,
    *,
    nodata: Sequence[tuple[float, ...]],
    masks: Sequence[int] = (),
    checksums: BlockChecksums | None = None,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return the numbers of a window and which of its pixels were measured.

    Parameters
    ----------
    dataset
        Open rasterio dataset.
    bands : tuple of int
        Indices, from 0, of the bands to read, in reading order.
    window : Window or None
        None for the whole image.
    nodata : sequence of tuple of float
        For each of `bands`, the numbers that mark a missing value. Masks inside the file or next
        to it also count, and so do alpha bands, and blocks that a sparse file does not have.
    masks : sequence of int
        Indices, from 0, of bands that are 0 where nothing was measured; see `mask_bands`.
    checksums : BlockChecksums, optional
        Those that were compared before, which are not compared again.

    Returns
    -------
    stored : ndarray
        (band, y, x), in the file's data type.
    valid : ndarray or None
        (y, x) bool; None if all pixels were measured in all bands.

    Raises
    ------
    SourceError
        If the checksum of a block does not match.
    """
    checksums = BlockChecksums() if checksums is None else checksums
    for part, chosen in _files(dataset, bands):
        checksums.compare(part, chosen, window)
    checksums.compare(dataset, [*_alpha_bands(dataset), *masks], window)
    stored: NDArray[Any] = dataset.read([band + 1 for band in bands], window=window)
    return stored, measured(stored, nodata=nodata, masks=_masks(dataset, bands, window, masks))


def _masks(
    dataset: Any, bands: Sequence[int], window: Window | None, masks: Sequence[int]
) -> Iterator[NDArray[Any]]:
    """Yield the masks of the bands, (y, x) each, other than their nodata numbers."""
    for band in bands:
        flags = dataset.mask_flag_enums[band]
        shared = MaskFlags.per_dataset in flags
        # no flag: a mask of this band alone. Nodata numbers are handled by `measured`,
        # except if a pixel is missing only where all bands have theirs, which is a mask.
        if MaskFlags.alpha not in flags and (shared or not flags):
            yield dataset.read_masks(band + 1, window=window)
        if shared and not isinstance(dataset, BandFiles):
            break
    for part, chosen in _files(dataset, bands):
        if part.driver == "GTiff":
            yield from _present(part, chosen, window)
    # GDAL treats an alpha band as a mask only if it is the second or fourth
    for band in sorted({*_alpha_bands(dataset), *masks}):
        if band not in bands:
            yield dataset.read(band + 1, window=window)


def _files(dataset: Any, bands: Sequence[int]) -> list[tuple[Any, Sequence[int]]]:
    """Return the files of bands, each an open dataset with the indices of its bands."""
    if isinstance(dataset, BandFiles):
        return [(dataset.part(band), (0,)) for band in bands]
    return [(dataset, bands)]


def _present(
    dataset: Any, bands: Sequence[int], window: Window | None
) -> Iterator[NDArray[np.bool_]]:
    """Yield which pixels are in blocks that the file has, (y, x), for bands that lack a block.

    GDAL reads a block that was never written as 0, or as nodata.
    """
    rows, columns = (0, dataset.height), (0, dataset.width)
    if window is not None:
        rows = window.row_off, window.row_off + window.height
        columns = window.col_off, window.col_off + window.width
    for band in bands[:1] if share_blocks(dataset) else bands:
        height, width = dataset.block_shapes[band]
        down, across = block_ranges(dataset, band, window)
        there = np.array([[_has_block(dataset, band, x, y) for x in across] for y in down])
        if not there.all():
            of_row = np.arange(*rows) // height - down.start
            of_column = np.arange(*columns) // width - across.start
            yield there[np.ix_(of_row, of_column)]


def _has_block(dataset: Any, band: int, x: int, y: int) -> bool:
    return dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band + 1) is not None


def mask_bands(dataset: Any, given: Sequence[str] | None) -> tuple[int, ...]:
    """Return the indices, from 0, of bands that are masks by their names.

    Parameters
    ----------
    dataset
        Open rasterio dataset.
    given : sequence of str, optional
        User-supplied names of its bands, instead of the descriptions.
    """
    names = _with_alpha(dataset, given)
    if names is None or len(names) != dataset.count:
        names = dataset.descriptions
    return tuple(index for index, name in enumerate(names) if is_mask(name))


def _alpha_bands(dataset: Any) -> list[int]:
    """Return the indices, from 0, of alpha bands.

    By default, GDAL labels the fourth band of an 8-bit file as alpha; a band that is named as a
    spectral band is not treated as alpha.
    """
    return [
        index
        for index, (meaning, name) in enumerate(
            zip(dataset.colorinterp, dataset.descriptions, strict=True)
        )
        if meaning == ColorInterp.alpha and not is_named(name)
    ]


def require_place(dataset: Any, path: str) -> None:
    """Raise `SourceError` if the position is only stated by points, polynomials or arrays.

    Results have a transform, so that this position would be lost.
    """
    if not dataset.transform.is_identity:
        return
    points, _ = dataset.gcps
    ways = [
        (f"{len(points)} ground control points", "", bool(points)),
        ("rational polynomials (RPC)", "-rpc ", dataset.rpcs is not None),
        ("arrays of coordinates", "-geoloc ", bool(dataset.tags(ns="GEOLOCATION"))),
    ]
    name = Path(path)
    for how, option in ((how, option) for how, option, stated in ways if stated):
        raise SourceError(
            f"{path} is georeferenced by {how}, which a result cannot keep: warp it first, with "
            f"gdalwarp {option}-t_srs EPSG:CODE {name.name} {name.stem}_warped{name.suffix}"
        )


def pixel_sides(dataset: Any) -> tuple[float, float]:
    """Return the height and the width of a pixel, in the unit of the CRS.

    Raises
    ------
    SourceError
        If rows do not run south or columns do not run east.
    """
    transform = dataset.transform
    if transform.is_identity:
        raise SourceError(
            f"{dataset.name} states a coordinate system, but not where it lies in it: add the "
            "position, for example with gdal_edit -a_ullr, or remove the coordinate system"
        )
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
    """Return a CRS as `EPSG:32633` if it has an EPSG code, otherwise as WKT.

    The code that GDAL proposes may be that of a similar one, with another origin or datum.
    """
    code = crs.to_epsg()
    if code is not None and coincide(crs, CRS.from_epsg(code)):
        return f"EPSG:{code}"
    return str(crs.to_wkt())


def mosaic_record(path: Path) -> dict[str, Any]:
    """Return the provenance of a refined mosaic as stored in the file; empty if it has none.

    Parameters
    ----------
    path : Path
        Path of a GeoTIFF.

    Raises
    ------
    SourceError
        If it is damaged or not a GeoTIFF.
    """
    with opened(str(path)) as dataset:
        text = dataset.tags().get(RECORD, "{}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
