"""Files that a GDAL virtual dataset (.vrt) reads, and a check that it reads nothing else.

A VRT can open any file, URL or database that GDAL knows, and run Python code. Only those are read
that mosaic or stack images of their own folder.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats.source import readable

#: Endings of sources, and the first bytes of such files.
SUFFIXES = (".tif", ".tiff", ".jp2")
SIGNATURES = (
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
)

#: Maximum size of a VRT in bytes; mosaics of thousands of files have a few MiB.
LARGEST = 2**24

#: Elements that place, scale or name what is in the sources. Others compute values (pixel
#: functions, warping) or open files in other ways.
ELEMENTS = frozenset(
    (
        *("VRTDataset", "SRS", "GeoTransform", "GCPList", "GCP", "Metadata", "MDI"),
        *("BlockXSize", "BlockYSize", "OverviewList", "MaskBand", "VRTRasterBand"),
        *("Description", "UnitType", "Offset", "Scale", "NoDataValue", "HideNoDataValue"),
        *("ColorInterp", "SimpleSource", "ComplexSource", "SourceFilename", "SourceBand"),
        *("SourceProperties", "SrcRect", "DstRect", "ScaleOffset", "ScaleRatio", "NODATA"),
        *("UseMaskBand", "LUT", "Histograms", "HistItem", "HistMin", "HistMax", "BucketCount"),
        *("IncludeOutOfRange", "Approximate", "HistCounts"),
    )
)


def vrt_sources(path: Path) -> tuple[Path, ...]:
    """Return the images that a VRT reads, in the order of their first use.

    Parameters
    ----------
    path : Path
        Path of the VRT.

    Raises
    ------
    SourceError
        If it is not a VRT, reads a file outside of its folder or of another format, does more
        than to place, scale and stack its sources, or leaves gaps that would read as 0.
    """
    root = _parsed(path)
    _check_gaps(path, root)
    found: dict[Path, None] = {}
    for element in root.iter():
        kind = element.get("subClass")
        if element.tag not in ELEMENTS or kind not in (None, "VRTSourcedRasterBand"):
            what = element.tag if kind is None else f"{element.tag} of the class {kind}"
            raise SourceError(
                f"{path} has the element {what}, which does more than to place and stack images, "
                f"and is not read: write the result, with gdal_translate {path.name} "
                f"{path.stem}.tif"
            )
        if element.tag == "SourceFilename":
            found[_source(path, element)] = None
    return tuple(found)


def _parsed(path: Path) -> ElementTree.Element:
    if path.stat().st_size > LARGEST:
        raise SourceError(
            f"{path} is larger than {LARGEST >> 20} MiB: write the image, with gdal_translate "
            f"{path.name} {path.stem}.tif"
        )
    content = path.read_bytes()
    if b"<!" in content.replace(b"<!--", b""):
        raise SourceError(f"{path} declares XML entities, which a VRT does not need: remove them")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314  (without declarations of entities)
    except ElementTree.ParseError as error:
        raise SourceError(f"{path} is not XML ({error}): write it again") from error
    if root.tag != "VRTDataset":
        raise SourceError(f"{path} is not a virtual dataset, but {root.tag}: write it again")
    return root


def _check_gaps(path: Path, root: ElementTree.Element) -> None:
    """Raise `SourceError` if a band is not covered by its sources, and states no nodata number."""
    if root.find("MaskBand") is not None:
        return
    with readable(str(path)):
        height, width = (int(root.get(name, "")) for name in ("rasterYSize", "rasterXSize"))
        for band in root.iter("VRTRasterBand"):
            places = [source.find("DstRect") for source in band if source.tag.endswith("Source")]
            if band.find("NoDataValue") is not None or None in places:
                continue
            boxes = [
                [float(place.get(name, "")) for name in ("yOff", "xOff", "ySize", "xSize")]
                for place in places
                if place is not None
            ]
            if not _is_covered(np.array(boxes).reshape(-1, 4), height, width):
                raise SourceError(
                    f"{path} leaves gaps between its sources, which would read as 0, and states no "
                    "nodata number: write it again, with gdalbuildvrt -vrtnodata"
                )


def _is_covered(boxes: NDArray[np.float64], height: int, width: int) -> bool:
    """Return whether boxes, (n, 4) top, left, height and width, cover an image."""
    tops, lefts = boxes[:, :2].T
    bottoms, rights = (boxes[:, :2] + boxes[:, 2:]).T
    rows, columns = (
        np.unique(np.clip(np.concatenate([starts, ends, [0, length]]), 0, length))
        for starts, ends, length in ((tops, bottoms, height), (lefts, rights, width))
    )
    covered = np.zeros((len(rows) - 1, len(columns) - 1), np.bool_)
    for top, left, bottom, right in zip(tops, lefts, bottoms, rights, strict=True):
        down = slice(*np.searchsorted(rows, (top, bottom)))
        covered[down, slice(*np.searchsorted(columns, (left, right)))] = True
    return bool(covered.all())


def _source(path: Path, element: ElementTree.Element) -> Path:
    name = element.text or ""
    base = path.parent if element.get("relativeToVRT") == "1" else Path()
    place = base / name
    if "://" in name or name.startswith("/vsi") or not name.lower().endswith(SUFFIXES):
        raise SourceError(
            f"{path} reads {name!r}, which is not a GeoTIFF or JP2 file: copy the file, or write "
            f"the result, with gdal_translate {path.name} {path.stem}.tif"
        )
    if not place.resolve().is_relative_to(path.parent.resolve()):
        raise SourceError(
            f"{path} reads {name!r}, which lies outside of its folder: put the files beside it, "
            f"or write the result, with gdal_translate {path.name} {path.stem}.tif"
        )
    try:
        with place.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise SourceError(
            f"{path} reads {name!r}, which cannot be opened ({error.strerror}): copy it again"
        ) from error
    if not start.startswith(SIGNATURES):
        raise SourceError(
            f"{path} reads {name!r}, which is not a GeoTIFF or JP2 file by its first bytes: copy "
            "it again"
        )
    return place
