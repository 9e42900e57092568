"""The files beside a GeoTIFF that say more of it; no library of the format is imported.

GDAL reads them with the image: a mask, the place, metadata. They count as the image's own content.
"""

from __future__ import annotations

from pathlib import Path

#: What is put behind the whole name of the file: a mask, and what GDAL knows beside the file.
APPENDED = (".msk", ".aux.xml")

#: What takes the place of the ending: world files, MapInfo, and rational polynomials.
REPLACED = (".tfw", ".tifw", ".tiffw", ".wld", ".tab", ".rpb", "_rpc.txt")


def companions(path: Path) -> tuple[Path, ...]:
    """Return the files that are there beside a GeoTIFF and belong to it.

    Parameters
    ----------
    path : Path
        Of the GeoTIFF.

    Returns
    -------
    tuple of Path
        Mostly none; in a fixed order. Overviews are not among them: they change no value.
    """
    names = [
        *(f"{path.name}{ending}" for ending in APPENDED),
        *(f"{path.stem}{ending}" for low in REPLACED for ending in (low, low.upper())),
    ]
    return tuple(place for place in map(path.with_name, names) if place.is_file())


def files(path: str) -> tuple[str, ...]:
    """Return the files that belong to a GeoTIFF: itself and what lies beside it."""
    return (path, *map(str, companions(Path(path))))
