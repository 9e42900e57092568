"""Names and locations of results, their disk usage and their removal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from parafovea.errors import StoreError

#: Ending of the results that are pyramids of levels.
PYRAMID = ".ome.zarr"

#: Results of a sample, relative to its folder.
VOLUME = "volume.ome.zarr"
IMAGE = "image.ome.zarr"
FEATURES = "features.zarr"
CONTEXT = "context.zarr"
VIEWS = "views"
SHARDS = "shards"
BLOCKS = "blocks"
PREDICTION = "prediction.ome.zarr"
CLASSES = "classes.ome.zarr"
OBJECTS = "objects.ome.zarr"
OBJECT_TABLE = "objects.tsv"
DETECTIONS = "detections.json"
DETECTION_TABLE = "detections.csv"
HEATMAP = "heatmap.nii.gz"
SEGMENTATION_OBJECT = "segmentation.dcm"
MEASUREMENT_REPORT = "measurements.dcm"
REFINED = "refined.tif"
TILES = "tiles"
LEDGER = "tiles.tsv"
QUARANTINE = "quarantine.tsv"
QUALITY = "quality.json"
QUALITY_TABLE = "quality.tsv"
TILE_QUALITY = "tile_quality.tsv"
PAGE = "report.html"
THUMBNAIL = "thumbnail.jpg"
FIGURES = "figures"
VISUALIZATION = "visualization.png"
CONFIDENCES = "confidence_distribution.png"
DOCUMENT = "report.pdf"
SCENE = "3d_rendering.html"

#: Record of what made a folder, inside it, and folder with the records of the files beside it.
RECORD = ".made.json"
RECORDS = ".made"

#: Results of all samples together, relative to the results folder.
PHANTOMS = "phantoms"
TRAINING = "training"
COHORT = "cohort"
STUDY = "study"
PAPER_FIGURES = "figures"
DOCUMENTED_FIGURES = f"{PAPER_FIGURES}/docs"
RESULT_FIGURES = f"{PAPER_FIGURES}/results"
CRATE = f"{COHORT}/crate"


def record_place(output: str, *, folder: bool) -> str:
    """Return the path of the record of a job, given its first output.

    In a folder it lies inside, and so goes where the folder goes; that of a file lies beside.
    """
    if folder:
        return f"{output}/{RECORD}"
    parent, joint, name = output.rpartition("/")
    return f"{parent}{joint}{RECORDS}/{name}.json"


def in_sample(*parts: str) -> str:
    """Return a path in a sample's folder as a pattern relative to the results folder."""
    return "/".join(("{sample}", *parts))


@dataclass(frozen=True, slots=True)
class SampleResults:
    """Paths of a sample's results.

    Parameters
    ----------
    folder : Path
        `results/{sample}`.
    """

    folder: Path

    @property
    def volume(self) -> Path:
        """The normalized image, (z, y, x) or (band, z, y, x)."""
        return self.folder / VOLUME

    def features(self, augmentation: str = "") -> Path:
        """Return the store of the features of the volume, or of an augmented view."""
        return self._view(augmentation) / FEATURES

    def context(self, augmentation: str = "") -> Path:
        """Return the store of the context features of the volume, or of an augmented view."""
        return self._view(augmentation) / CONTEXT

    def _view(self, augmentation: str) -> Path:
        return self.folder / VIEWS / augmentation if augmentation else self.folder

    def shard(self, number: int) -> Path:
        """Return the store of a shard's sums; shards are counted from 1."""
        return self.folder / SHARDS / f"{number}.zarr"

    @property
    def prediction(self) -> Path:
        """Probabilities, (class, z, y, x)."""
        return self.folder / PREDICTION

    @property
    def image(self) -> Path:
        """The volume with the classes and objects as its labels, as links to their stores."""
        return self.folder / IMAGE

    @property
    def classes(self) -> Path:
        """Class index of each voxel, (z, y, x)."""
        return self.folder / CLASSES

    @property
    def objects(self) -> Path:
        """Object id of each voxel, (z, y, x)."""
        return self.folder / OBJECTS

    @property
    def object_table(self) -> Path:
        """One line for each object."""
        return self.folder / OBJECT_TABLE

    @property
    def detections(self) -> Path:
        """The detections of a scan, as JSON."""
        return self.folder / DETECTIONS

    @property
    def detection_table(self) -> Path:
        """One line for each detection."""
        return self.folder / DETECTION_TABLE

    @property
    def heatmap(self) -> Path:
        """The heatmap on the scan's grid."""
        return self.folder / HEATMAP

    @property
    def segmentation_object(self) -> Path:
        """The regions of detections or classes, as a DICOM segmentation."""
        return self.folder / SEGMENTATION_OBJECT

    @property
    def measurement_report(self) -> Path:
        """Their measurements, as a DICOM structured report."""
        return self.folder / MEASUREMENT_REPORT

    @property
    def refined(self) -> Path:
        """The refined mosaic."""
        return self.folder / REFINED

    @property
    def tiles(self) -> Path:
        """Folder of the predicted tiles."""
        return self.folder / TILES

    def tile_share(self, number: int) -> Path:
        """Return the table of a share of the tiles; shares are counted from 1."""
        return self.folder / SHARDS / f"{number}.tsv"

    @property
    def ledger(self) -> Path:
        """One line for each finished tile."""
        return self.folder / LEDGER

    @property
    def quarantine(self) -> Path:
        """One line for each invalid tile."""
        return self.folder / QUARANTINE

    @property
    def quality(self) -> Path:
        """Nested metrics with their provenance."""
        return self.folder / QUALITY

    @property
    def quality_table(self) -> Path:
        """One line for each metric, with its limits."""
        return self.folder / QUALITY_TABLE

    @property
    def tile_quality(self) -> Path:
        """One line for each finished tile, with its own metrics."""
        return self.folder / TILE_QUALITY

    @property
    def page(self) -> Path:
        """The sample's report."""
        return self.folder / PAGE

    @property
    def thumbnail(self) -> Path:
        """Small picture for the page of all samples."""
        return self.folder / THUMBNAIL

    @property
    def figures(self) -> Path:
        """Folder of the report's figures."""
        return self.folder / FIGURES

    @property
    def overlays(self) -> Path:
        """Planes overlaid with the classes."""
        return self.figures / "overlays.png"

    @property
    def probabilities(self) -> Path:
        """Maps of the class probabilities."""
        return self.figures / "probabilities.png"

    @property
    def sizes(self) -> Path:
        """Distribution of the object sizes."""
        return self.figures / "sizes.png"

    @property
    def visualization(self) -> Path:
        """Slices through the most confident detections."""
        return self.folder / VISUALIZATION

    @property
    def confidences(self) -> Path:
        """Distribution of the detections' confidences."""
        return self.folder / CONFIDENCES

    @property
    def scene(self) -> Path:
        """HTML page with the detections in 3D."""
        return self.folder / SCENE

    @property
    def document(self) -> Path:
        """PDF report of the detections."""
        return self.folder / DOCUMENT


@dataclass(frozen=True, slots=True)
class Removal:
    """One result that was, or would be, removed.

    Parameters
    ----------
    path : Path
        The file, folder or link.
    freed : int
        Bytes on disk; the target of a link stays and is not counted.
    """

    path: Path
    freed: int


def is_within(path: str, patterns: Iterable[str]) -> bool:
    """Return whether a path, or a folder that it lies in, matches one of the patterns.

    Parameters
    ----------
    path : str
        Relative to a sample's folder.
    patterns : iterable of str
        Glob patterns relative to the same folder.
    """
    for pattern in patterns:
        depth = pattern.count("/") + 1
        head = "/".join(path.split("/")[:depth])
        if Path(head).match(pattern) and head.count("/") == pattern.count("/"):
            return True
    return False


def matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the results of a sample that match patterns, including leftovers of killed jobs.

    Parameters
    ----------
    folder : Path
        The sample's folder of results.
    patterns : iterable of str
        Glob patterns relative to the folder.

    Returns
    -------
    list of Path
        Sorted; links are listed but not followed.

    Raises
    ------
    StoreError
        If the sample's folder is itself a link.
    """
    if folder.is_symlink():
        raise StoreError(
            f"{folder} is a link, and linked folders are not modified: use {folder.resolve()}"
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
    """Remove results, yielding each after its removal.

    Parameters
    ----------
    results : list of Path
        Files, folders and links; the target of a link stays.
    dry_run : bool
        Only report what would be removed.
    """
    # loads zarr, which planning does not need
    from parafovea.storage.store import discard

    for path in results:
        removal = Removal(path, disk_use(path))
        if not dry_run:
            discard(path)
        yield removal


def disk_use(path: Path) -> int:
    """Return the disk usage of a file or folder in bytes; links are not followed."""
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
    """Return a number of bytes as text, such as "1.4 GB"."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
