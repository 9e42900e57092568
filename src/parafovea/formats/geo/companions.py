"""Companion files of an image; no library of the format is imported.

GDAL reads them with the image: a mask, the position, metadata, the sources of a VRT. They count as
content of the image.
"""

from __future__ import annotations

from pathlib import Path

from parafovea.formats.band_folder import band_files
from parafovea.formats.geo.vrt import vrt_sources

#: Suffixes appended to the whole file name: a mask, and GDAL's auxiliary metadata.
APPENDED = (".msk", ".aux.xml")

#: Endings that replace the file's own: world files, MapInfo, and rational polynomials.
REPLACED = (".tfw", ".tifw", ".tiffw", ".j2w", ".jp2w", ".wld", ".tab", ".rpb", "_rpc.txt")


def companions(path: Path) -> tuple[Path, ...]:
    """Return the existing companion files of an image.

    Parameters
    ----------
    path : Path
        Path of a GeoTIFF, JP2 or VRT file.

    Returns
    -------
    tuple of Path
        Usually empty; in a fixed order. Overviews are not included, since they change no value.

    Raises
    ------
    SourceError
        If a VRT reads files that are not read here.
    """
    names = [
        *(f"{path.name}{ending}" for low in APPENDED for ending in (low, low.upper())),
        *(f"{path.stem}{ending}" for low in REPLACED for ending in (low, low.upper())),
    ]
    found = tuple(place for place in map(path.with_name, names) if place.is_file())
    if path.suffix.lower() != ".vrt":
        return found
    sources = vrt_sources(path)
    inner = (beside for source in sources for beside in (source, *companions(source)))
    return tuple(dict.fromkeys((*found, *inner)))


def files(path: str) -> tuple[str, ...]:
    """Return the files of an image: a file and its companions, or those of a folder of bands."""
    place = Path(path)
    parts = band_files(place).values() if place.is_dir() else (place,)
    return tuple(str(each) for part in parts for each in (part, *companions(part)))
