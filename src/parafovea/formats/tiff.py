"""TIFF stacks: content of a file, position of its voxels, and reading of parts of it.

A file is opened for every read and closed afterwards: the processes of a data loader share no
handle, and a file that is truncated in the meantime is detected.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from parafovea.errors import SourceError
from parafovea.formats.codestreams import check_codestream, unwrapped_lerc
from parafovea.formats.jpegxr import decode_jpegxr
from parafovea.formats.library_logs import no_complaints
from parafovea.formats.location import Location
from parafovea.formats.mapped_voxels import MappedVoxels
from parafovea.formats.source import (
    Array,
    Request,
    Source,
    StoredArray,
    VolumeView,
    pick_channel,
    readable,
)
from parafovea.formats.source_placement import Stated, check_shape, place, stated_by_axis
from parafovea.formats.stored_values import (
    inverted,
    marked_missing,
    of_palette,
    on_a_line,
    stated_missing,
    without_missing,
)
from parafovea.formats.tiff_chain import check_chain
from parafovea.formats.unpacking import check_size, unpacked

logger = logging.getLogger(__name__)

#: Axes of tifffile that may be planes; the first of them that is longer than one is z. Many
#: programs write a stack as a time series or as unnamed pages.
_PLANES = "ZIQT"

#: TIFF compressions whose strips and tiles may need tables stored in the page.
_JPEG = (6, 7, 33007, 34892)

_LERC, _LZMA = 34887, 34925

#: TIFF compressions whose strips and tiles are images with a header: JPEG, JPEG 2000, LERC, PNG,
#: JPEG XR, WebP and JPEG XL.
_JPEGXR = (22610, 34934)
_IMAGES = (
    *(7, 33007, 34892, 33003, 33004, 33005, 34712, _LERC, 34933),
    *(*_JPEGXR, 50001, 34927, 50002, 52546),
)

#: What tifffile logs about pages and voxels that are not there, before it goes on without them. A
#: tag alone that it does not understand may be a private one.
_ABSENT = re.compile(
    "^ERROR (?!.*TiffTag)|zeroed|missing|corrupted file|not match|out of range|expected|no pages|"
    "invalid TiffData|cannot handle|failed to|incompletely|could not read all|estimating"
)


def open_volume(location: Location, request: Request) -> Source:
    """Open one TIFF file of one or many pages.

    Parameters
    ----------
    location : Location
        A plain, ImageJ, OME or BigTIFF file; of a pyramid, the finest level is read.
    request : Request
        User metadata.

    Returns
    -------
    Source
        Memory-mapped if the voxels are contiguous, otherwise decoded by strip or tile.

    Raises
    ------
    SourceError
        If the file is damaged, or is not a single volume.
    """
    path = location.path
    view, stated, ignored, names = _volume(path, request.metadata.channel, labels=request.labels)
    grid = place(path, view.shape, stated, request.metadata)
    named = names if len(names) == view.channels else ("",) * view.channels
    return Source(path, view, grid, channel_names=named, ignored=ignored)


def open_plane(path: str, *, channel: int | None, labels: bool = False) -> VolumeView:
    """Return the image (z, y, x) in a TIFF file, for a stack of such files."""
    return _volume(path, channel, labels=labels)[0]


def _volume(
    path: str, channel: int | None, *, labels: bool
) -> tuple[VolumeView, Stated, int | None, tuple[str, ...]]:
    """Return the volume (z, y, x) in a TIFF file, its position, ignored label and channels."""
    with readable(path):
        check_chain(path)
    with readable(path), no_complaints(path, "tifffile", _ABSENT), tifffile.TiffFile(path) as tiff:
        # pages are used twice, and read once
        tiff.pages.cache = True
        _check_complete(tiff, path)
        if len(tiff.series) != 1:
            raise SourceError(
                f"{path} holds {len(tiff.series)} images of different shapes or kinds: "
                "save the one to use as a file of its own"
            )
        series = tiff.series[0]
        pages = list(series.pages)
        if any(page is None or page.parent is not tiff for page in pages):
            raise SourceError(
                f"{path} is one file of an image that is spread over several: save it as one"
            )
        letters = series.get_axes(squeeze=False)
        shape = tuple(int(n) for n in series.get_shape(squeeze=False))
        _check_planes(path, tiff, letters, shape)
        axes, fixed = _choose_axes(path, letters, shape, channel)
        stored, ignored = _values(path, tiff, _stored(path, tiff, series, shape), labels=labels)
        stated = _stated(path, tiff)
        names = _channel_names(tiff)
    view = VolumeView(stored, path, axes=axes, fixed=fixed)
    check_shape(path, view.shape)
    return view, stated, ignored, names


def _stored(path: str, tiff: Any, series: Any, shape: tuple[int, ...]) -> StoredArray:
    if series.dtype is None:
        raise SourceError(f"{path} has samples of a type that is not supported: write it as uint8")
    dtype = np.dtype(series.dtype)
    if series.dataoffset is not None:
        dtype = dtype.newbyteorder(tiff.byteorder)
        stored = MappedVoxels(path, series.dataoffset, shape=shape, dtype=dtype, order="C")
        if stored.stop > Path(path).stat().st_size:
            raise SourceError(
                f"{path} is truncated: {shape} voxels do not fit in it, copy it again"
            )
        return stored
    numbers = [int(page.index) for page in series.pages]
    paged = PagedTiff(path, dtype, shape, numbers)
    for page in {id(page.keyframe): page.keyframe for page in series.pages}.values():
        piece = math.prod(page.chunks) if paged.reads_parts_of(page) else page.size
        if page.compression != tifffile.COMPRESSION.NONE:
            what = "each strip or tile" if paged.reads_parts_of(page) else f"page {page.index}"
            check_size(path, piece * dtype.itemsize, what)
    return paged


def _choose_axes(
    path: str, letters: str, shape: Sequence[int], channel: int | None
) -> tuple[tuple[int | None, int, int], dict[int, int]]:
    """Return which axes are z, y, x, and the index to read along the others."""
    y, x = letters.rindex("Y"), letters.rindex("X")
    long = [axis for axis, n in enumerate(shape) if n != 1 and axis not in (y, x)]
    planes = sorted(
        (axis for axis in long if letters[axis] in _PLANES),
        key=lambda axis: _PLANES.index(letters[axis]),
    )
    channels = [axis for axis in long if letters[axis] in "CS"]
    rest = [axis for axis in long if axis not in planes[:1] + channels[:1]]
    if rest:
        raise SourceError(
            f"{path} has the shape {tuple(shape)} with the axes {letters}, which is more than "
            "z, y, x and channels: save one volume of it"
        )
    count = shape[channels[0]] if channels else 1
    if not planes and channels and letters[channels[0]] == "C" and channel is None:
        # tifffile.imwrite(..., imagej=True) labels a stack like this if no axes are given.
        raise SourceError(
            f"{path} has {count} channels of one plane: write channel=0 (up to {count - 1}) in "
            "the metadata column of its line in the sample sheet; where they are the planes of a "
            "stack, save it again with the axes ZYX"
        )
    fixed = dict.fromkeys(channels, pick_channel(path, count, channel))
    return (planes[0] if planes else None, y, x), fixed


def _values(
    path: str, tiff: Any, stored: StoredArray, *, labels: bool
) -> tuple[StoredArray, int | None]:
    """Return the values that the numbers in a file represent, and the ignored label, if any.

    Parameters
    ----------
    path : str
        Used in error messages.
    tiff : tifffile.TiffFile
        Open file.
    stored : StoredArray
        Array as stored.
    labels : bool
        Whether they are class indices or object ids, to which no palette is applied.

    Raises
    ------
    SourceError
        If the file states an interpretation that is not supported.
    """
    page = tiff.pages.first
    _check_upright(path, page)
    _check_pages(path, tiff, labels=labels)
    imagej = bool(tiff.is_imagej)
    # A look-up table of ImageJ is for display only, and so is its inverted one (0 = white): the
    # numbers remain as measured. Pages of one bit are masks, which many programs write like this.
    if not labels and not imagej:
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            if page.colormap is None:
                raise SourceError(f"{path} lacks its palette: save it in gray")
            stored = of_palette(stored, np.asarray(page.colormap).T, path)
        elif page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and page.bitspersample != 1:
            stored = inverted(stored, page.bitspersample, path)
    slope, intercept = _line(path, tiff)
    # the tag of GDAL
    nodata = {"missing_value": page.tags.valueof(42113)}
    missing = stated_missing(nodata, np.dtype(stored.dtype), path, line=(slope, intercept))
    if missing is None:
        return on_a_line(stored, slope, intercept, path), None
    if labels:
        return marked_missing(stored, missing)
    return without_missing(stored, missing, slope=slope, intercept=intercept), None


def _check_upright(path: str, page: Any, number: int = 0) -> None:
    """Raise `SourceError` if the first pixel of a page is not at the top left."""
    orientation = int(page.tags.valueof("Orientation", default=1))
    if orientation not in (0, 1):
        where = f" on page {number}" if number else ""
        raise SourceError(
            f"{path} states the orientation {orientation}{where}, so its first pixel is not at the "
            "top left: save it upright, with the orientation 1"
        )


def _check_pages(path: str, tiff: Any, *, labels: bool) -> None:
    """Raise `SourceError` if a page is turned, or has another palette or white than the first."""
    if tiff.is_imagej:
        return
    first = tiff.pages.first
    gray = first.photometric in (
        tifffile.PHOTOMETRIC.PALETTE,
        tifffile.PHOTOMETRIC.MINISWHITE,
        tifffile.PHOTOMETRIC.MINISBLACK,
    )
    for number, each in enumerate(tiff.pages):
        page = each.aspage()
        _check_upright(path, page, number)
        if labels or not gray:
            continue
        palette = page.colormap
        same = palette is first.colormap or np.array_equal(palette, first.colormap)
        if page.photometric != first.photometric or not same:
            raise SourceError(
                f"{path} has a different palette or white on page {number} from page 0: "
                "save all pages in gray"
            )


def _line(path: str, tiff: Any) -> tuple[float, float]:
    """Return slope and intercept from numbers to values, as stated by ImageJ or GDAL."""
    slope, intercept = 1.0, 0.0
    words = tiff.imagej_metadata if tiff.is_imagej else None
    # among the calibration functions of ImageJ, 20 is none and 0 is a straight line
    if words and int(words.get("cf", 20)) != 20:
        if int(words["cf"]) != 0 or "c2" in words:
            raise SourceError(
                f"{path} has an ImageJ calibration that is not a straight line (cf="
                f"{words['cf']}): apply it in ImageJ and save the values as 32-bit"
            )
        intercept, slope = float(words.get("c0", 0.0)), float(words.get("c1", 1.0))
    if tiff.is_gdal:
        items = tifffile.xml2dict(tiff.pages.first.tags.valueof(42112))
        found = (items.get("GDALMetadata") or {}).get("Item", [])
        for item in found if isinstance(found, list) else [found]:
            role = item.get("role") if isinstance(item, dict) else None
            if role not in ("scale", "offset"):
                continue
            number = float(item["value"])
            if number != (role == "scale"):
                raise SourceError(
                    f"{path} states a {role} of {number:g} for GDAL: apply it to the numbers "
                    "(gdal_translate -unscale) and give that file"
                )
    return slope, intercept


def _stated(path: str, tiff: Any) -> Stated:
    """Return the spacing stated in OME or ImageJ metadata; plain resolution tags lack z."""
    if tiff.is_ome and tiff.ome_metadata:
        return _stated_by_ome(tiff.ome_metadata)
    if tiff.is_imagej and tiff.imagej_metadata:
        return _stated_by_imagej(path, tiff)
    return Stated()


def _pixels_of_ome(xml: str) -> dict[str, Any]:
    image = tifffile.xml2dict(xml)["OME"].get("Image", {})
    pixels: dict[str, Any] = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    return pixels


def _channel_names(tiff: Any) -> tuple[str, ...]:
    """Return the names of the channels in OME metadata; empty without any."""
    if not (tiff.is_ome and tiff.ome_metadata):
        return ()
    found = _pixels_of_ome(tiff.ome_metadata).get("Channel", [])
    channels = found if isinstance(found, list) else [found]
    return tuple(str(each.get("Name", "")) for each in channels if isinstance(each, dict))


def _stated_by_ome(xml: str) -> Stated:
    pixels = _pixels_of_ome(xml)
    # The schema's default unit is the micrometre.
    units = [str(pixels.get(f"PhysicalSize{name}Unit", "µm")) for name in "ZYX"]
    return stated_by_axis([_number(pixels.get(f"PhysicalSize{name}")) for name in "ZYX"], units)


def _stated_by_imagej(path: str, tiff: Any) -> Stated:
    # ImageJ writes pixels per unit in the resolution tags, and the spacing of planes in its text;
    # units along y and z if they differ from that along x; origins in pixels.
    words = tiff.imagej_metadata
    unit = str(words.get("unit", "pixel"))
    if unit in ("pixel", "pixels", ""):
        return Stated()
    units = [str(words.get(key, unit)) for key in ("zunit", "yunit", "unit")]
    tags = tiff.pages.first.tags
    y, x = (_inverse(tags.valueof(f"{name}Resolution")) for name in "YX")
    z = _number(words.get("spacing"))
    if z is None and int(words.get("slices", words.get("images", 1))) > 1:
        logger.warning(
            "%s: ImageJ omits a plane distance of 1, so it is taken as 1 %s; if that is "
            "wrong, state the spacing in the metadata column of the sample sheet",
            path,
            units[0],
        )
        z = 1.0
    spacing = (z, y, x)
    places = [float(words.get(f"{axis}origin", 0.0)) for axis in "zyx"]
    origin = [-p * s if p and s is not None else 0.0 for p, s in zip(places, spacing, strict=True)]
    return stated_by_axis(spacing, units, origin)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _inverse(rational: Any) -> float | None:
    if not isinstance(rational, tuple) or 0 in rational:
        return None
    return float(rational[1] / rational[0])


def _check_complete(tiff: Any, path: str) -> None:
    """Raise `SourceError` if pages, or parts of a page, are beyond the end of the file.

    tifffile only logs a broken chain of pages and continues with the pages before the break.

    Parameters
    ----------
    tiff : tifffile.TiffFile
        Open file.
    path : str
        Used in the error message.
    """
    size = Path(path).stat().st_size
    pages = tiff.pages
    absent = sum(page.databytecounts.count(0) for page in pages if page.databytecounts)
    if absent:
        every = sum(len(page.databytecounts) for page in pages)
        raise SourceError(
            f"{path} lacks {absent} of {every} strips or tiles (a sparse file, or a broken copy): "
            "write it again with all of them"
        )
    for number, page in enumerate(pages):
        ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends, default=0) > size:
            raise SourceError(
                f"{path} is truncated: page {number} ends at byte {max(ends)}, the file at byte "
                f"{size}: copy or write it again"
            )
    if _next_page(tiff, pages[len(pages) - 1].offset) != 0:
        raise SourceError(
            f"{path} is truncated: pages are missing after the first {len(pages)}: "
            "copy or write it again"
        )


def _check_planes(path: str, tiff: Any, letters: str, shape: Sequence[int]) -> None:
    """Raise `SourceError` if ImageJ states more planes than were found.

    ImageJ writes stacks of more than 4 GB with an entry for the first plane only; tifffile reads
    such a file as one plane if the others are missing.
    """
    words = tiff.imagej_metadata if tiff.is_imagej else None
    planes = math.prod(n for n, letter in zip(shape, letters, strict=True) if letter not in "YXS")
    stated = int((words or {}).get("images", planes))
    if stated != planes:
        raise SourceError(
            f"{path} is truncated: it states {stated} planes, and {planes} can be read: copy or "
            "write it again"
        )


def _next_page(tiff: Any, offset: int) -> int:
    """Return the offset of the page after the one at `offset`, 0 after the last."""
    layout, handle = tiff.tiff, tiff.filehandle
    handle.seek(offset)
    count = int.from_bytes(handle.read(layout.tagnosize), _order(tiff))
    handle.seek(offset + layout.tagnosize + count * layout.tagsize)
    raw = handle.read(layout.offsetsize)
    # A file that ends before this number is also truncated.
    return int.from_bytes(raw, _order(tiff)) if len(raw) == layout.offsetsize else -1


def _order(tiff: Any) -> Any:
    return "little" if tiff.byteorder == "<" else "big"


class PagedTiff:
    """Compressed or scattered pages, of which only the needed strips or tiles are decoded.

    Parameters
    ----------
    path : str
        The file.
    dtype : dtype
        Data type in native byte order.
    shape : tuple of int
        All axes of the series; the last ones are those of a page.
    pages : sequence of int
        Number of each page within the file, in the order of the leading axes.
    """

    def __init__(
        self, path: str, dtype: np.dtype[Any], shape: tuple[int, ...], pages: Sequence[int]
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._path = path
        self._pages = pages
        # The leading axes are those whose lengths multiply to the number of pages; axes of
        # length one between them and the page belong to them.
        self._leading = next(
            k for k in range(len(shape) - 2, -1, -1) if math.prod(shape[:k]) == len(pages)
        )

    def __getitem__(self, index: tuple[slice | int, ...]) -> Array:
        """Return the elements selected by one slice or integer per axis."""
        leading = self.shape[: self._leading]
        numbers = np.array(self._pages).reshape(leading)[index[: self._leading]]
        with tifffile.TiffFile(self._path) as tiff:
            size = Path(self._path).stat().st_size
            planes = [
                self._read(tiff.pages[int(number)], index[self._leading :], size)
                for number in np.ravel(numbers)
            ]
        return np.stack(planes).reshape(np.shape(numbers) + planes[0].shape)

    def _read(self, page: Any, index: tuple[slice | int, ...], size: int) -> Array:
        shape = self.shape[self._leading :]
        if self.reads_parts_of(page) and all(isinstance(i, slice) for i in index[:2]):
            rows, columns = index[0], index[1]
            pixels = _read_window(page, rows, columns, size)  # type: ignore[arg-type]
            if len(shape) == 2:
                return pixels[:, :, 0]
            return pixels[(slice(None), slice(None), *index[2:])]
        if page.size != math.prod(shape):
            raise ValueError(f"page {page.index} has the shape {page.shape}, not {shape}")
        if page.compression in _JPEGXR:
            raise ValueError("the samples of a pixel of its JPEG XR images do not lie together")
        if page.compression in (*_IMAGES, _LZMA):
            for number in range(len(page.dataoffsets)):
                _segment(page, number, size)
        return np.asarray(page.asarray().reshape(shape)[index])

    def reads_parts_of(self, page: Any) -> bool:
        """Return whether strips or tiles of a page are decoded one by one, not all at once."""
        shape = self.shape[self._leading :]
        if page.shape[:2] != shape[:2] or len(shape) > 3 or page.imagedepth != 1:
            return False
        # the samples of a pixel lie together, or there is one, whose axis a page omits
        together = page.shape == shape and page.keyframe.planarconfig == 1
        return (page.ndim == 2 and math.prod(shape[2:]) == 1) or together


def _read_window(page: Any, rows: slice, columns: slice, size: int) -> Array:
    """Return rows, columns and samples of a page, decoding only needed strips or tiles."""
    samples = math.prod(page.shape[2:])
    out = np.empty((rows.stop - rows.start, columns.stop - columns.start, samples), page.dtype)
    height, width = page.chunks[:2]
    across = -(-page.shape[1] // width)
    for row in range(rows.start // height, -(-rows.stop // height)):
        for column in range(columns.start // width, -(-columns.stop // width)):
            segment = _decode(page, row * across + column, size)
            y, x = row * height, column * width
            top, left = max(rows.start, y), max(columns.start, x)
            bottom = min(rows.stop, y + segment.shape[0])
            right = min(columns.stop, x + segment.shape[1])
            there = (
                slice(top - rows.start, bottom - rows.start),
                slice(left - columns.start, right - columns.start),
            )
            out[there] = segment[top - y : bottom - y, left - x : right - x]
    return out


def _segment(page: Any, number: int, size: int) -> bytes:
    """Return the bytes of a strip or tile, checked as far as they state what they are."""
    offset, count = page.dataoffsets[number], page.databytecounts[number]
    if count == 0 or offset + count > size:
        raise EOFError(f"strip or tile {number} of page {page.index} is missing")
    page.parent.filehandle.seek(offset)
    data = bytes(page.parent.filehandle.read(count))
    size_of_pixels = page.dtype.itemsize * math.prod(page.chunks)
    if page.compression == _LZMA:
        # imagecodecs stops before the checksum
        unpacked("lzma", data, size_of_pixels, exact=False)
    if page.compression in _IMAGES:
        height, width = page.chunks[:2]
        if page.compression == _LERC:
            data = unwrapped_lerc(data, size_of_pixels)
        header = check_codestream(data, height, width, samples=page.samplesperpixel)
        # of a JPEG image, a part of the header may be in the page
        if header is None and page.compression not in _JPEG:
            raise ValueError(f"strip or tile {number} of page {page.index} has no known header")
    return data


def _decode(page: Any, number: int, size: int) -> Array:
    words: dict[str, Any] = {}
    if page.compression in _JPEG:
        words = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    # reading the tables moves the pointer of the file
    data = _segment(page, number, size)
    if page.compression in _JPEGXR:
        return _of_page(decode_jpegxr(data), page, number)
    decoded, _, shape = page.decode(data, number, **words)
    return np.asarray(decoded)[0, : shape[1], : shape[2]]


def _of_page(image: Array, page: Any, number: int) -> Array:
    """Return an image as the rows, columns and samples of a strip or tile of a page."""
    height, width = page.chunks[:2]
    rows = height if page.is_tiled else min(height, page.shape[0] - number * height)
    pixels = image.reshape(*image.shape[:2], -1)
    samples = math.prod(page.shape[2:])
    if pixels.shape[0] < rows or pixels.shape[1:] != (width, samples) or image.dtype != page.dtype:
        raise ValueError(
            f"strip or tile {number} of page {page.index} is {image.dtype} {image.shape}, not "
            f"{page.dtype} {(rows, width, samples)}"
        )
    return pixels
