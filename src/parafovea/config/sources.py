"""What a sample's source is: a volume, a folder of tiles, or the result of another sample.

The workflow asks this for every sample when it plans its jobs: a folder is looked at until the
first tile, and no file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parafovea.config.schema import Settings
from parafovea.config.sheet import Sample
from parafovea.errors import SourceError
from parafovea.formats.location import files_named, holds_tiles
from parafovea.formats.registry import TILE_SUFFIXES, ZARR_METADATA
from parafovea.kinds.kind import Kind, LayoutName, kind_named
from parafovea.storage import layout

#: Phantoms that are folders of tiles; those of other kinds are volumes.
TILE_PHANTOM = re.compile(
    r"(?P<kind>landscape|scene)_seed(?P<seed>\d+)(?P<part>(?:_(?:truth|classes|sar))?)"
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a sample is made for, as the source of another sample.

    Parameters
    ----------
    path : str
        What is read: a file or a folder.
    file : str
        What is there only once all of `path` is; the same, unless it is a folder of tiles.
    """

    path: str
    file: str


def referred(path: str | None) -> str | None:
    """Return the name of the sample whose result is meant, None for a path of its own.

    Parameters
    ----------
    path : str or None
        A source or a truth, as in the sheet.
    """
    return path[1:].strip() if path is not None and path.startswith("@") else None


def references(sample: Sample) -> tuple[str, ...]:
    """Return the names of the samples whose results a sample needs, its source's first."""
    found = (referred(sample.source), referred(sample.truth))
    return tuple(dict.fromkeys(name for name in found if name is not None))


def kind_of(sample: Sample, settings: Settings) -> Kind | None:
    """Return what the kind of a sample's task is, None where there is no such task."""
    task = settings.tasks.get(sample.task)
    return None if task is None else kind_named(task.kind)


def source_layout(sample: Sample, samples: Mapping[str, Sample], settings: Settings) -> LayoutName:
    """Return whether a sample is a volume or a folder of tiles: the one place that decides it.

    Parameters
    ----------
    sample : Sample
        Line of the sheet.
    samples : mapping of str to Sample
        All samples, by name; those that the source refers to are among them, in no circle.
    settings : Settings
        The config.
    """
    other = referred(sample.source)
    if other is not None:
        return source_layout(samples[other], samples, settings)
    images = images_are_tiles(sample, settings)
    is_tiles = is_tile_folder(sample.source, images=images, results=settings.results)
    return "tiles" if is_tiles else "volume"


def images_are_tiles(sample: Sample, settings: Settings) -> bool:
    """Return whether a folder of images is one of tiles, by the kind of a sample's task."""
    kind = kind_of(sample, settings)
    return kind is not None and kind.images_are_tiles


def is_tile_folder(path: str, *, images: bool = False, results: str) -> bool:
    """Return whether a path names a folder of tiles.

    That is a folder with NPZ files; where images are tiles, also one of GeoTIFF tiles, and one in
    which nothing is found at all, for a message about tiles. Folders of TIFF files are slices of a
    volume elsewhere.

    Parameters
    ----------
    path : str
        Of a source; nothing needs to be there.
    images : bool
        Whether a folder of images is one of tiles.
    results : str
        Folder of results; its phantoms are told by their names.
    """
    if path.startswith(f"{results}/phantoms/"):
        return TILE_PHANTOM.fullmatch(path.rstrip("/").rpartition("/")[2]) is not None
    folder = Path(path)
    if not folder.is_dir() or any((folder / name).is_file() for name in ZARR_METADATA):
        return False
    return images or holds_tiles(path)


def tile_folder_problem(path: str) -> str | None:
    """Return what is wrong with a folder that should hold tiles, None where a tile is there.

    Parameters
    ----------
    path : str
        Of a folder that is there.
    """
    if next(files_named(path, TILE_SUFFIXES), None) is not None:
        return None
    # What the stage would say; its reader is loaded only for the message.
    from parafovea.formats.tiles.tile_folder import list_tiles

    try:
        list_tiles(Path(path))
    except SourceError as error:
        return str(error)
    return None


def result_of(sample: Sample, samples: Mapping[str, Sample], settings: Settings) -> Result:
    """Return what a sample is made for.

    Parameters
    ----------
    sample, samples, settings
        As for `source_layout`.
    """
    folder, form = f"{settings.results}/{sample.name}", source_layout(sample, samples, settings)
    kind = kind_of(sample, settings)
    if kind is None:
        raise KeyError(sample.task)
    name = kind.results[form]
    # tiles are whole once their ledger is there
    return Result(f"{folder}/{name}", f"{folder}/{layout.LEDGER if form == 'tiles' else name}")


def resolved(path: str, samples: Mapping[str, Sample], settings: Settings) -> str:
    """Return the path that is read for a source or a truth of the sheet."""
    other = referred(path)
    return path if other is None else result_of(samples[other], samples, settings).path
