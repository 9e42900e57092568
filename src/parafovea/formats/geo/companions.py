"""Companion files of a GeoTIFF; no library of the format is imported.

GDAL reads them with the image: a mask, the position, metadata. They count as content of the image.
"""

from __future__ import annotations

from pathlib import Path

#: Suffixes appended to the whole file name: a mask, and GDAL's auxiliary metadata.
APPENDED = (".msk", ".aux.xml")

#: Endings that replace the file's own: world files, MapInfo, and rational polynomials.
REPLACED = (".tfw", ".tifw", ".tiffw", ".wld", ".tab", ".rpb", "_rpc.txt")


def companions(path: Path) -> tuple[Path, ...]:
    """Return the existing companion files of a GeoTIFF.

    Parameters
    ----------
    path : Path
        Path of the GeoTIFF.

    Returns
    -------
    tuple of Path
        Usually empty; in a fixed order. Overviews are not included, since they change no value.
    """
    names = [
        *(f"{path.name}{ending}" for ending in APPENDED),
        *(f"{path.stem}{ending}" for low in REPLACED for ending in (low, low.upper())),
    ]
    return tuple(place for place in map(path.with_name, names) if place.is_file())


def files(path: str) -> tuple[str, ...]:
    """Return the files that belong to a GeoTIFF: itself and its companions."""
    return (path, *map(str, companions(Path(path))))
