"""Files and folders of a sample, which its jobs depend on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from parafovea.config.schema import Settings
from parafovea.config.sheet import Sample
from parafovea.config.sources import (
    images_are_tiles,
    is_tile_folder,
    referred,
    result_of,
    source_layout,
    tile_folder_problem,
)
from parafovea.errors import ParafoveaError, SourceError
from parafovea.formats.channel_files import paths_of
from parafovea.formats.location import holds_bands, source_files, truth_files
from parafovea.formats.metadata.column import parse_metadata, sidecar_path

#: Paths by what they are of a sample: `source`, `truth`, `objects` and `metadata`.
FilesOf = dict[str, list[str]]


def sample_files(sample: Sample, samples: Mapping[str, Sample], settings: Settings) -> FilesOf:
    """Return the files and folders that a sample consists of.

    Parameters
    ----------
    sample : Sample
        The sample.
    samples : mapping of str to Sample
        All samples, by name.
    settings : Settings
        The config; phantoms and results of other samples need not exist.

    Returns
    -------
    dict
        Paths by `source`, `truth`, `objects` and `metadata`; empty if the sheet names none.

    Raises
    ------
    ParafoveaError
        If the metadata is invalid or a file is missing.
    """
    here = Path()
    sidecar = sidecar_path(sample.metadata, folder=here)
    objects = parse_metadata(sample.metadata, folder=here).objects
    return {
        "source": source_paths(sample.source, sample, samples, settings),
        "truth": source_paths(sample.truth, sample, samples, settings, table=True),
        "objects": source_paths(objects, sample, samples, settings),
        "metadata": [] if sidecar is None else [str(sidecar)],
    }


def stated_files(sample: Sample, samples: Mapping[str, Sample], settings: Settings) -> FilesOf:
    """Return the files of a sample, some of which are missing, as far as the sheet states them.

    Parameters
    ----------
    sample, samples, settings
        As for `sample_files`.

    Returns
    -------
    dict
        As of `sample_files`, with the path in the sheet for what is missing.
    """
    sidecar = sidecar_path(sample.metadata, folder=Path())
    objects = None
    with contextlib.suppress(ParafoveaError):
        objects = parse_metadata(sample.metadata, folder=Path()).objects
    found: FilesOf = {"metadata": [] if sidecar is None else [str(sidecar)]}
    for what, path in (("source", sample.source), ("truth", sample.truth), ("objects", objects)):
        try:
            found[what] = source_paths(path, sample, samples, settings, table=what == "truth")
        except ParafoveaError:
            found[what] = [] if path is None else [*paths_of(path)]
    return found


def source_paths(
    path: str | None,
    sample: Sample,
    samples: Mapping[str, Sample],
    settings: Settings,
    *,
    table: bool = False,
) -> list[str]:
    """Return the files or the folder that a path of a sample refers to; nothing for None.

    Parameters
    ----------
    path : str or None
        A source, truth or objects, as in the sheet.
    sample, samples, settings
        As for `sample_files`.
    table : bool
        Whether it may be a table of findings.

    Raises
    ------
    SourceError
        If nothing exists there, or nothing that can be read.
    """
    if path is None:
        return []
    several = paths_of(path)
    if len(several) > 1:
        found = (source_paths(each, sample, samples, settings, table=table) for each in several)
        return list(dict.fromkeys(name for names in found for name in names))
    other = referred(path)
    if other is not None:
        return [result_of(samples[other], samples, settings).file]
    if is_phantom(path, settings.results):
        return [path]
    if _holds_tiles(path, sample, samples, settings):
        problem = tile_folder_problem(path)
        if problem is not None:
            raise SourceError(problem)
        return [path]
    bands = images_are_tiles(sample, settings)
    return truth_files(path, bands=bands) if table else source_files(path, bands=bands)


def _holds_tiles(
    path: str, sample: Sample, samples: Mapping[str, Sample], settings: Settings
) -> bool:
    """Return whether a folder holds tiles, as any folder of a sample of tiles does."""
    images = images_are_tiles(sample, settings)
    if is_tile_folder(path, images=images, results=settings.results):
        return True
    if images and holds_bands(path):
        return False
    return Path(path).is_dir() and source_layout(sample, samples, settings) == "tiles"


def is_phantom(path: str, results: str) -> bool:
    """Return whether a path is that of a phantom, which the workflow makes."""
    return path.startswith(f"{results}/phantoms/")
