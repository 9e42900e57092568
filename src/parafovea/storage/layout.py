"""Names and places of all results, how much disk they take, and their removal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from parafovea.errors import StoreError

#: Results of a sample, in its folder below that of all results.
VOLUME = "volume.ome.zarr"
FEATURES = "features.zarr"
CONTEXT = "context.zarr"
VIEWS = "views"
SHARDS = "shards"
PREDICTION = "prediction.ome.zarr"
CLASSES = "classes.ome.zarr"
OBJECTS = "objects.ome.zarr"
OBJECT_TABLE = "objects.tsv"
DETECTIONS = "detections.json"
DETECTION_TABLE = "detections.csv"
HEATMAP = "heatmap.nii.gz"
REFINED = "refined.tif"
TILES = "tiles"
LEDGER = "tiles.tsv"
QUARANTINE = "quarantine.tsv"
QUALITY = "quality.json"
QUALITY_TABLE = "quality.tsv"
TILE_QUALITY = "tile_quality.tsv"
PAGE = "report.html"
FIGURES = "figures"
VISUALIZATION = "visualization.png"
CONFIDENCES = "confidence_distribution.png"
DOCUMENT = "report.pdf"
SCENE = "3d_rendering.html"

#: Results of no single sample, below the folder of all results.
PHANTOMS = "phantoms"
TRAINING = "training"
COHORT = "cohort"
STUDY = "study"
STUDY_FIGURE = "figures/context_study"


def in_sample(*parts: str) -> str:
    """Return a place in a sample's folder, as a pattern below the folder of all results."""
    return "/".join(("{sample}", *parts))


@dataclass(frozen=True, slots=True)
class Removal:
    """One result that was, or would be, removed.

    Parameters
    ----------
    path : Path
        The file, folder or link.
    freed : int
        Bytes on disk; those behind a link stay and do not count.
    """

    path: Path
    freed: int


def is_within(path: str, patterns: Iterable[str]) -> bool:
    """Return whether a path matches one of some patterns, or lies in a folder that does.

    Parameters
    ----------
    path : str
        Relative to a sample's folder.
    patterns : iterable of str
        As a shell has them, relative to the same folder.
    """
    for pattern in patterns:
        depth = pattern.count("/") + 1
        head = "/".join(path.split("/")[:depth])
        if Path(head).match(pattern) and head.count("/") == pattern.count("/"):
            return True
    return False


def matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the results of a sample that match patterns, with what a killed job left of them.

    Parameters
    ----------
    folder : Path
        The sample's folder of results.
    patterns : iterable of str
        As a shell has them, relative to the folder.

    Returns
    -------
    list of Path
        Sorted; a link is named, not followed, and nothing beyond a linked folder is.

    Raises
    ------
    StoreError
        If the sample's folder is itself a link.
    """
    if folder.is_symlink():
        raise StoreError(
            f"{folder} is a link to another folder, which is not touched: work on "
            f"{folder.resolve()} itself"
        )
    found: list[Path] = []
    for pattern in patterns:
        parts = pattern.split("/")
        folders = [folder]
        for part in parts[:-1]:
            folders = [
                each
                for place in folders
                for each in place.glob(part)
                if each.is_dir() and not each.is_symlink()
            ]
        for name in (parts[-1], f".{parts[-1]}.partial-*", f".{parts[-1]}.scratch-*"):
            found += [each for place in folders for each in place.glob(name)]
    return sorted(found)


def remove(results: list[Path], *, dry_run: bool = False) -> Iterator[Removal]:
    """Remove results one by one, and yield each as it is gone.

    Parameters
    ----------
    results : list of Path
        Files, folders and links; of a link only the link itself is removed.
    dry_run : bool
        Remove nothing.
    """
    # loads zarr, which planning does without
    from parafovea.storage.store import discard

    for path in results:
        removal = Removal(path, disk_use(path))
        if not dry_run:
            discard(path)
        yield removal


def disk_use(path: Path) -> int:
    """Return the bytes that a file or a folder takes on disk; links are not followed."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0
    # allocated in blocks of 512 bytes
    used = status.st_blocks * 512
    if not path.is_symlink() and path.is_dir():
        with os.scandir(path) as entries:
            used += sum(disk_use(Path(entry.path)) for entry in entries)
    return used


def bytes_text(count: int) -> str:
    """Return a number of bytes in words, such as "1.4 GB"."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
