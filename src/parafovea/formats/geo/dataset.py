"""Opening images with rasterio: GeoTIFF, JP2, VRT, and folders with one file per band."""

from __future__ import annotations

import threading
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Interleaving, MaskFlags
from rasterio.errors import NotGeoreferencedWarning

from parafovea.errors import SourceError
from parafovea.formats.band_folder import band_files
from parafovea.formats.codestreams import check_jp2_end
from parafovea.formats.geo.band_files import BandFiles
from parafovea.formats.geo.vrt import vrt_sources
from parafovea.formats.unpacking import check_size

#: GDAL drivers by file ending, besides GeoTIFF's. A file is never read by another driver, since
#: some refer to further files.
DRIVERS = {".jp2": "JP2OpenJPEG", ".vrt": "VRT"}

# Warning filters are global to the process, and tiles are read in threads.
_FILTERS = threading.Lock()


def open_dataset(path: str) -> Any:
    """Return an open rasterio dataset, without the warning for files without a position.

    Parameters
    ----------
    path : str
        A file, or a folder with one file per band. A VRT in GDAL's memory is not checked: see
        `require_passed_gaps`.

    Raises
    ------
    SourceError
        If it holds several images, of which only the first would be read, refers to files that
        are not read, or a block of it would unpack to more than the limit.
    """
    place = Path(path)
    if place.is_dir():
        files = band_files(place)
        if not files:
            raise SourceError(
                f"{path} is a folder without a file for each band, such as B02.tif: give a file"
            )
        return BandFiles(path, files, open_dataset)
    driver = DRIVERS.get(place.suffix.lower(), "GTiff")
    in_memory = path.startswith("/vsimem/")
    if driver == "VRT" and not in_memory:
        vrt_sources(place)
    if not in_memory:
        check_whole(path)
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path, driver=driver)
    if not in_memory:
        require_passed_gaps(dataset, path)
    _check_blocks(dataset, path)
    count = len(dataset.subdatasets)
    if count > 1:
        dataset.close()
        raise SourceError(
            f"{path} holds {count} images (pages) of their own, not one with several bands: write "
            f"the one to read as a file, for example with gdal_translate GTIFF_DIR:1:{place.name} "
            f"{place.stem}_1{place.suffix}, or, if each is a band, put all into one file with "
            "gdalbuildvrt -separate and gdal_translate"
        )
    return dataset


def require_passed_gaps(dataset: Any, path: str) -> None:
    """Raise `SourceError` if a VRT does not pass on the gaps of its sources, or one is invalid.

    Parameters
    ----------
    dataset
        Open rasterio dataset of any driver, which may be in GDAL's memory.
    path : str
        Its file on disk.
    """
    if dataset.driver != "VRT":
        return
    lost = None in dataset.nodatavals and MaskFlags.all_valid in dataset.mask_flag_enums[0]
    for source in vrt_sources(Path(path)):
        _check_source(path, source, lost=lost)


def check_whole(path: str, content: bytes | None = None) -> None:
    """Raise `SourceError` if a JP2 file is cut short; others are not checked.

    Parameters
    ----------
    path : str
        Path of the file.
    content : bytes, optional
        Its content, if that is in memory.
    """
    if not path.lower().endswith(".jp2"):
        return
    try:
        with Path(path).open("rb") if content is None else BytesIO(content) as file:
            check_jp2_end(file)
    except ValueError as error:
        raise SourceError(f"{path}: {error}; copy or download it again") from error


def _check_blocks(dataset: Any, path: str) -> None:
    """Close a dataset and raise `SourceError` if a block would unpack to more than the limit."""
    # GDAL decodes the bands of a block together if they are interleaved
    together = 1 if dataset.interleaving == Interleaving.band else dataset.count
    sizes = [
        rows * columns * np.dtype(kind).itemsize * together
        for (rows, columns), kind in zip(dataset.block_shapes, dataset.dtypes, strict=True)
    ]
    try:
        check_size(path, max(sizes, default=0), "a strip or tile")
    except SourceError:
        dataset.close()
        raise


def _check_source(path: str, source: Path, *, lost: bool) -> None:
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        part = rasterio.open(source, driver=DRIVERS.get(source.suffix.lower(), "GTiff"))
    _check_blocks(part, str(source))
    check_whole(str(source))
    with part:
        if not lost or all(MaskFlags.all_valid in flags for flags in part.mask_flag_enums):
            return
    raise SourceError(
        f"{path} does not pass on the gaps of {source}, which has a mask or a nodata number: write "
        "it again with gdalbuildvrt, which does, or with gdalbuildvrt -srcnodata and -vrtnodata"
    )
