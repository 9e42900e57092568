"""What the page of the service shows of a finished job, beside the files of its results.

They are made by the worker, as the server opens no scan: a scan and its heatmap for a viewer, tiles
before and after, or the figures of the report.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parafovea.chain.tile_stages import render_tiles
from parafovea.config import Project
from parafovea.kinds.reference import resolve
from parafovea.quality.tiles.measures import tile_measures
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.report.detections.viewer_volumes import write_viewer_volumes
from parafovea.report.tiles.tile_pairs import write_tile_pairs
from parafovea.runtime.runs import readable_storage
from parafovea.stages.detect_nodules import open_scan
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import replacing

#: Stage that is told while they are made.
STAGE = "prepare_viewer"

SCAN, HEATMAP = "scan.nii.gz", "heatmap.nii.gz"

#: Most tiles that are shown, worst first.
MOST_PAIRS = 12

_DOCUMENT = "viewer.json"

_NAME = re.compile(r"(scan|heatmap)\.nii\.gz|(before|after|picture)_[0-9]{1,4}\.png")


def write_viewer_files(project: Project, sample: str, folder: Path) -> None:
    """Write what the page shows of a finished sample.

    Parameters
    ----------
    project : Project
        With the sample alone.
    sample : str
        Name of the sample.
    folder : Path
        Folder to make.

    Raises
    ------
    SourceError
        If its source can no longer be read.
    StoreError
        If a result is missing or damaged, or the disk is full.
    """
    results = SampleResults(Path(project.folder(sample)))
    document: dict[str, Any] = {}
    with readable_storage(folder):
        folder.mkdir(mode=0o700)
        if results.heatmap.is_file():
            document = _scan(project, sample, results, folder)
        elif results.tile_quality.is_file():
            document = _tiles(project, sample, results, folder)
        elif results.figures.is_dir():
            document = _pictures(results, folder)
        with replacing(folder / _DOCUMENT) as partial:
            partial.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _scan(project: Project, sample: str, results: SampleResults, folder: Path) -> dict[str, Any]:
    recipe = project.recipe(sample)
    source = open_scan(
        project.source(sample),
        metadata=project.samples[sample].metadata,
        grid=project.grid(sample).resampled(recipe.spacing),
        channels=recipe.volume_channels,
    )
    steps = write_viewer_volumes(source, results.heatmap, folder / SCAN, folder / HEATMAP)
    return {"scan": SCAN, "heatmap": HEATMAP, "steps": list(reversed(steps))}


def _tiles(project: Project, sample: str, results: SampleResults, folder: Path) -> dict[str, Any]:
    said = render_tiles.arguments(project, {"sample": sample})
    own = tile_measures(said["measures"], classes=said["classes"], bands=said["bands"])
    report = resolve(own.report)(said["classes"])
    files = TileFiles.of(
        said["bands"],
        own.outputs,
        truth=None,
        metadata=said["metadata"],
        ranges=said.get("ranges"),
    )
    pairs = write_tile_pairs(
        results.ledger, results.tile_quality, folder, report=report, files=files, most=MOST_PAIRS
    )
    return {"pairs": [asdict(pair) for pair in pairs]}


def _pictures(results: SampleResults, folder: Path) -> dict[str, Any]:
    """Show the figures of the report."""
    pictures = []
    for number, figure in enumerate(sorted(results.figures.glob("*.png")), start=1):
        name = f"picture_{number}.png"
        shutil.copyfile(figure, folder / name)
        pictures.append({"file": name, "title": figure.stem.replace("_", " ").capitalize()})
    return {"pictures": pictures}


def viewer_document(folder: Path) -> Mapping[str, Any]:
    """Return what there is to show; nothing for jobs of which there is nothing."""
    place = folder / _DOCUMENT
    if not place.is_file():
        return {}
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found


def viewer_file(folder: Path, name: str) -> Path | None:
    """Return the path of a file to show, None if there is none of this name."""
    place = folder / name
    return place if _NAME.fullmatch(name) and place.is_file() and not place.is_symlink() else None
