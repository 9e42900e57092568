"""Resolution of a sample's source: a volume, a folder of tiles, or another sample's result.

The workflow does this for every sample when it plans jobs: a folder is searched up to the first
tile, and no file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parafovea.config.schema import Settings
from parafovea.config.sheet import Sample
from parafovea.errors import SourceError
from parafovea.formats.channel_files import SEPARATOR
from parafovea.formats.location import files_named, holds_bands, holds_tiles
from parafovea.formats.registry import TILE_SUFFIXES, ZARR_METADATA
from parafovea.kinds.kind import Kind, LayoutName, kind_named
from parafovea.storage import layout

#: Phantoms that are folders of tiles; other kinds are volumes.
TILE_PHANTOM = re.compile(
    r"(?P<kind>landscape|scene)_seed(?P<seed>\d+)(?P<part>(?:_(?:truth|classes|sar))?)"
)


@dataclass(frozen=True, slots=True)
class Result:
    """Main result of a sample, as the source of another sample.

    Parameters
    ----------
    path : str
        File or folder to read.
    file : str
        File that exists once `path` is complete; `path` itself unless it is a folder of tiles.
    """

    path: str
    file: str


def referred(path: str | None) -> str | None:
    """Return the name of the sample that a path refers to, None for an ordinary path.

    Parameters
    ----------
    path : str or None
        A source or a truth, as in the sheet.
    """
    if path is None or not path.startswith("@") or SEPARATOR in path:
        return None
    return path[1:].strip()


def references(sample: Sample) -> tuple[str, ...]:
    """Return the names of the samples that a sample refers to, its source's first."""
    found = (referred(sample.source), referred(sample.truth))
    return tuple(dict.fromkeys(name for name in found if name is not None))


def kind_of(sample: Sample, settings: Settings) -> Kind | None:
    """Return the kind of a sample's task, None if there is no such task."""
    task = settings.tasks.get(sample.task)
    return None if task is None else kind_named(task.kind)


def source_layout(sample: Sample, samples: Mapping[str, Sample], settings: Settings) -> LayoutName:
    """Return the layout of a sample; all other code relies on this decision.

    Parameters
    ----------
    sample : Sample
        Line of the sheet.
    samples : mapping of str to Sample
        All samples by name, without circular references.
    settings : Settings
        The config.
    """
    other = referred(sample.source)
    if other is not None:
        return source_layout(samples[other], samples, settings)
    images = images_are_tiles(sample, settings)
    is_tiles = is_tile_folder(sample.source, images=images, results=settings.results)
    if not is_tiles and not Path(sample.source).exists():
        # of a source that is gone, its results tell
        is_tiles = Path(settings.results, sample.name, layout.LEDGER).is_file()
    return "tiles" if is_tiles else "volume"


def images_are_tiles(sample: Sample, settings: Settings) -> bool:
    """Return whether a sample's task takes a folder of images as tiles."""
    kind = kind_of(sample, settings)
    return kind is not None and kind.images_are_tiles


def is_tile_folder(path: str, *, images: bool = False, results: str) -> bool:
    """Return whether a path is a folder of tiles.

    A folder with NPZ files is one. If images are tiles, so is a folder of GeoTIFF tiles, and one
    without any known file, so that the message is about tiles; a folder with one file per band is
    one image. Otherwise, TIFF files are slices of a volume.

    Parameters
    ----------
    path : str
        Path of a source, which need not exist.
    images : bool
        Whether a folder of images holds tiles.
    results : str
        Results folder; phantoms in it are recognized by name.
    """
    if path.startswith(f"{results}/phantoms/"):
        return TILE_PHANTOM.fullmatch(path.rstrip("/").rpartition("/")[2]) is not None
    folder = Path(path)
    if not folder.is_dir() or any((folder / name).is_file() for name in ZARR_METADATA):
        return False
    if images and holds_bands(path):
        return False
    return images or holds_tiles(path)


def tile_folder_problem(path: str) -> str | None:
    """Return the problem of a folder that should hold tiles, None if it has a tile.

    Parameters
    ----------
    path : str
        Path of an existing folder.
    """
    if next(files_named(path, TILE_SUFFIXES), None) is not None:
        return None
    # The stage's own message; its reader is loaded only here.
    from parafovea.formats.tiles.tile_folder import list_tiles

    try:
        list_tiles(Path(path))
    except SourceError as error:
        return str(error)
    return None


def result_of(sample: Sample, samples: Mapping[str, Sample], settings: Settings) -> Result:
    """Return the main result of a sample.

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
    # tiles are complete once their ledger exists
    return Result(f"{folder}/{name}", f"{folder}/{layout.LEDGER if form == 'tiles' else name}")


def resolved(path: str, samples: Mapping[str, Sample], settings: Settings) -> str:
    """Return the path to read for a source or a truth of the sheet."""
    other = referred(path)
    return path if other is None else result_of(samples[other], samples, settings).path
