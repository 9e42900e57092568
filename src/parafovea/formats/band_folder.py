"""Folders with one file per band, recognized by the names of the files; no file is opened.

Products of Sentinel-2 and data sets made of them are stored like this: `B02.tif`, `B8A.tif`,
`T33UUP_20240701T101559_B02_10m.jp2`. So are the polarizations of a radar: `VV.tif`,
`iw-vh.rtc.tiff`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from parafovea.formats.bands import canonical
from parafovea.settings.quantities import RADAR

#: Endings of the files of bands.
SUFFIXES = (".tif", ".tiff", ".jp2")

#: Bands that every such folder of an optical image has: the visible ones at 10 m.
VISIBLE = frozenset(("B02", "B03", "B04"))

#: Files beside the bands of a product of Sentinel-2: pictures, masks, and what was retrieved.
EXTRAS = frozenset(("TCI", "PVI", "AOT", "WVP", "SCL", "CLD", "SNW", "DEM", "QA10", "QA20", "QA60"))

_BAND = re.compile(rf"B(?:0?[1-9]|1[0-2]|8A)|{'|'.join(RADAR)}", re.IGNORECASE)
_RESOLUTION = re.compile(r"[126]0m", re.IGNORECASE)


def band_files(folder: str | Path) -> Mapping[str, Path]:
    """Return the file of each band of a folder with one file per band.

    Parameters
    ----------
    folder : str or Path
        Any path.

    Returns
    -------
    mapping of str to Path
        By the usual name of the band, sorted. Empty if the folder is not of this kind: all of its
        images have names that differ in a band of Sentinel-2 alone (and its resolution), no band
        occurs twice, and the visible bands are among them; or they differ in the polarization of a
        radar, of which there are several.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return {}
    return {band: Path(folder) / name for band, name in sorted(bands_of(names).items())}


def band_folders(folder: str | Path) -> Iterator[tuple[str, Path]]:
    """Yield the folders with one file per band in a folder, with a name for each, sorted.

    Parameters
    ----------
    folder : str or Path
        Any folder. A place may also be a folder of dates, each of which has a file per band; its
        name is then that of both, joined by "_".
    """
    for name, place in _folders(folder):
        if band_files(place):
            yield name, place
            continue
        for inner, deeper in _folders(place):
            if band_files(deeper):
                yield f"{name}_{inner}", deeper


def _folders(folder: str | Path) -> list[tuple[str, Path]]:
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
    return [(name, Path(folder) / name) for name in sorted(names)]


def bands_of(names: Iterable[str]) -> dict[str, str]:
    """Return the file of each band by its name, of the names in a folder; see `band_files`."""
    images = [name for name in names if name.lower().endswith((*SUFFIXES, ".npz", ".vrt"))]
    found: dict[str, str] = {}
    places = set()
    for name in images:
        words = re.split(r"[_\-. ]+", name.rpartition(".")[0])
        kept = [word for word in words if not _RESOLUTION.fullmatch(word)]
        marked = [word for word in kept if _BAND.fullmatch(word)]
        if not marked and any(word.upper() in EXTRAS for word in kept):
            continue
        if len(marked) != 1 or not name.lower().endswith(SUFFIXES):
            return {}
        band = canonical(marked[0])
        if band in found:
            return {}
        found[band] = name
        places.add(tuple(word for word in kept if word != marked[0]))
    is_radar = len(found) > 1 and found.keys() <= set(RADAR)
    return found if len(places) == 1 and (is_radar or found.keys() >= VISIBLE) else {}
