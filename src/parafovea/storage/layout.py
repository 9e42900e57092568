"""The results of each stage on disk: where they lie, how large they are, and their removal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from parafovea.errors import StoreError
from parafovea.storage.store import discard

#: What each stage writes below a sample's folder, as patterns.
STAGES: Mapping[str, tuple[str, ...]] = {
    "resample": ("volume.ome.zarr",),
    "features": ("features.zarr", "views/*/features.zarr"),
    "context": ("context.zarr", "views/*/context.zarr"),
    "infer": ("shards/*.zarr",),
    "blend": ("prediction.ome.zarr",),
    "tiles": ("tiles", "shards/*.tsv", "tiles.tsv", "quarantine.tsv"),
    "postprocess": (
        "refined.tif",
        "classes.ome.zarr",
        "objects.ome.zarr",
        "objects.tsv",
        "heatmap.nii.gz",
        "detections.json",
        "detections.csv",
    ),
    "quality": ("quality.json", "quality.tsv", "tile_quality.tsv"),
    "report": (
        "report.html",
        "figures",
        "visualization.png",
        "confidence_distribution.png",
        "3d_rendering.html",
        "report.pdf",
    ),
}


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


def stage_of(path: str) -> str | None:
    """Return the stage that writes a path, relative to its sample's folder, or into it."""
    for stage, patterns in STAGES.items():
        for pattern in patterns:
            depth = pattern.count("/") + 1
            head = "/".join(path.split("/")[:depth])
            if Path(head).match(pattern) and head.count("/") == pattern.count("/"):
                return stage
    return None


def stage_results(folder: Path, stage: str) -> list[Path]:
    """Return what a stage has written for a sample, with what it left when it was killed.

    Parameters
    ----------
    folder : Path
        The sample's folder of results.
    stage : str
        One of `STAGES`.

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
    for pattern in STAGES[stage]:
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
