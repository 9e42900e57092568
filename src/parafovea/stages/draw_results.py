"""Stage draw_results: figures for papers of all samples that have a truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from parafovea.postprocess.detection.detection_files import candidates_frame, load_detections
from parafovea.quality.detections.detector_score import score_cohort
from parafovea.quality.tiles.tile_quality import read_tile_quality
from parafovea.report.detections.froc_plot import DIGITS, draw_froc_by_diameter
from parafovea.report.overlap_figure import draw_overlaps
from parafovea.report.sample_results import read_quality
from parafovea.report.tiles.month_figure import DEGRADED, MEASURES, draw_months
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import replacing

SUFFIXES = (".svg", ".pdf", ".png")

#: Metric of a segmentation over all of its classes, and class that is not drawn.
_OVERALL, _BACKGROUND = "overall", "background"

#: Columns of a table of tiles that a figure by month needs.
_COMPARED = tuple(
    f"{part}.{each.name}" for each in MEASURES for part in ("accuracy_input", "accuracy")
)


def draw_results(
    figures: Path, style: Path, *, samples: Mapping[str, Mapping[str, Any]], seed: int = 0
) -> None:
    """Draw what was measured against truths, each figure with the table that it shows.

    Parameters
    ----------
    figures : Path
        Folder to write (replaced if it exists). NAME.svg, .pdf, .png and .tsv: `iou_TASK` of
        the classes of a segmentation by sample, `froc_TASK` of the detections of all scans (its
        tables are `froc_TASK_candidates.tsv` and `froc_TASK_nodules.tsv`), `months_SAMPLE` of
        refined tiles by month; samples that refine the same tiles are in one figure.
    style : Path
        Style file of figures for papers.
    samples : mapping of str to mapping
        By name: the `task`, the `folder` of its results, and `tiles`: the source and the truth of
        a folder of tiles, None for a volume.
    seed : int
        Random seed of the bootstrap of a FROC.

    Raises
    ------
    StoreError
        If a result is damaged.
    ConfigError
        If the style is invalid.
    """
    volumes = {name: each for name, each in samples.items() if each["tiles"] is None}
    folders = {name: each for name, each in samples.items() if each["tiles"] is not None}
    with replacing(figures) as partial:
        partial.mkdir()
        measured = {
            name: read_quality(SampleResults(Path(each["folder"])).quality)
            for name, each in volumes.items()
        }
        for task in dict.fromkeys(each["task"] for each in volumes.values()):
            own = {name: measured[name] for name, each in volumes.items() if each["task"] == task}
            _draw_overlaps(own, partial / f"iou_{task}", style)
            _draw_froc(own, samples, partial / f"froc_{task}", style, seed=seed)
        groups: dict[str, list[str]] = {}
        for name, each in folders.items():
            groups.setdefault(str(each["tiles"]), []).append(name)
        for names in groups.values():
            _draw_months(names, samples, partial / f"months_{names[0]}", style)


def _files(path: Path) -> dict[Path, str]:
    return {path.with_name(f"{path.name}{suffix}"): suffix for suffix in SUFFIXES}


def _table(path: Path, table: pd.DataFrame, *, index: bool = False) -> None:
    table.to_csv(
        path.with_name(f"{path.name}.tsv"),
        sep="\t",
        index=index,
        float_format=DIGITS,
        lineterminator="\n",
    )


def _draw_overlaps(measured: Mapping[str, Mapping[str, Any]], path: Path, style: Path) -> None:
    rows = [
        (sample, name, value)
        for sample, quality in measured.items()
        for name, value in quality.get("metrics", {}).get("iou", {}).items()
        if name not in (_OVERALL, _BACKGROUND) and value is not None
    ]
    if rows:
        table = pd.DataFrame(rows, columns=["label", "class", "iou"])
        _table(path, table)
        draw_overlaps(table, _files(path), style=style)


def _draw_froc(
    measured: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, Mapping[str, Any]],
    path: Path,
    style: Path,
    *,
    seed: int,
) -> None:
    # by the rules of PI-CAI a scan is a case, which has no FROC
    nodules = {
        name: quality["nodules"]
        for name, quality in measured.items()
        if "nodules" in quality and "case" not in quality
    }
    places = {name: SampleResults(Path(samples[name]["folder"])).detections for name in nodules}
    candidates = {name: candidates_frame(load_detections(file)) for name, file in places.items()}
    score = score_cohort(candidates, nodules, seed=seed) if nodules else None
    if score is None:
        return
    matching = score.matching
    columns = ["seriesuid", "coordX", "coordY", "coordZ"]
    _table(
        path.with_name(f"{path.name}_candidates"),
        matching.candidates[[*columns, "probability", "outcome"]],
    )
    _table(
        path.with_name(f"{path.name}_nodules"),
        matching.findings[[*columns, "diameter_mm", "hit", "probability"]],
    )
    draw_froc_by_diameter(score, _files(path), style=style)


def _draw_months(
    names: list[str], samples: Mapping[str, Mapping[str, Any]], path: Path, style: Path
) -> None:
    tables = {}
    for name in names:
        found = read_tile_quality(SampleResults(Path(samples[name]["folder"])).tile_quality)
        # tiles that are segmented, or without a truth, have no such columns
        if {"month", *_COMPARED} <= {*found.columns} and found["accuracy.psnr"].notna().any():
            tables[name] = found
    if not tables:
        return
    first = next(iter(tables.values()))
    columns = {"month": first["month"].astype(int)}
    for measure in MEASURES:
        columns[f"{measure.name}.{DEGRADED}"] = first[f"accuracy_input.{measure.name}"]
        for name, found in tables.items():
            columns[f"{measure.name}.{name}"] = found[f"accuracy.{measure.name}"]
    table = pd.DataFrame(columns).sort_index()
    _table(path, table, index=True)
    tasks = {name: f"refined by {samples[name]['task']} ({name})" for name in tables}
    draw_months(table, _files(path), style=style, labels=tasks)
