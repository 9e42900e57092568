"""Put all samples into one table, one figure and one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from parafovea.errors import ConfigError, ParafoveaError
from parafovea.postprocess.detection.detection_files import candidates_frame, load_detections
from parafovea.quality.detections.detector_score import DetectionScore, score_cohort
from parafovea.quality.tiles.metric_names import TileKind
from parafovea.report.canvas import Drawing, open_drawing, styled
from parafovea.report.charts import draw_metrics
from parafovea.report.cohort import (
    cohort_table,
    failures,
    headline_metrics,
    join_detections,
    join_tables,
    metric_names,
    metric_points,
    other_metrics,
    summary_line,
)
from parafovea.report.detections.froc_plot import froc_drawing, write_froc
from parafovea.report.detections.scan_view import view_detections
from parafovea.report.page import write_page
from parafovea.report.sample_results import SampleResults, read_quality
from parafovea.report.segmentation.sample_view import SampleView, view_sample
from parafovea.report.tiles.folder_view import view_tiles
from parafovea.storage.provenance import record
from parafovea.storage.store import replacing

#: Pictures of a sample's report that the page holds.
FIGURES = ("overlays.png", "probabilities.png", "sizes.png")

#: The same of a sample that is a folder of tiles, by kind.
TILE_FIGURES: Mapping[TileKind, tuple[str, ...]] = {
    "refinement": ("tiles.png", "ndvi.png", "map.png"),
    "segmentation": ("tiles.png", "confusion.png", "map.png"),
}


@dataclass(frozen=True, slots=True)
class CohortSample:
    """A sample of the cohort.

    Parameters
    ----------
    task : str
        Name of its task.
    folder : Path
        Its results, its report's figures included.
    kind : str
        Of its task.
    tiles : bool
        Whether it is a folder of tiles; a refinement or a segmentation may be one.
    """

    task: str
    folder: Path
    kind: TileKind | Literal["detection"] = "segmentation"
    tiles: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """The FROC of a task on the page.

    Parameters
    ----------
    drawing : Drawing
        Its picture.
    points : list of dict
        Its operating points, as `DetectionScore.points`.
    """

    drawing: Drawing
    points: list[dict[Any, Any]]


@dataclass(frozen=True, slots=True)
class CohortOutputs:
    """What `summarize_cohort` writes.

    Parameters
    ----------
    table : Path
        TSV, a line for each sample.
    objects : Path
        TSV, a line for each object of any sample.
    figure : Path
        PNG, the headline metrics over samples.
    html : Path
        The page with everything.
    detections : Path, optional
        CSV, a line for each detection of any scan.
    tiles : Path, optional
        TSV, a line for each tile of any folder.
    froc : Path, optional
        Folder with a folder for each task with detections and truth: froc.tsv, summary.json,
        froc.svg and froc.png; replaced whole. Without it the page has no curve.
    """

    table: Path
    objects: Path
    figure: Path
    html: Path
    detections: Path | None = None
    froc: Path | None = None
    tiles: Path | None = None


def summarize_cohort(
    samples: Mapping[str, CohortSample],
    outputs: CohortOutputs,
    *,
    title: str = "Parafovea report",
    headline: Sequence[str] = (),
    embedded: int = 20,
    bootstrap: int = 1000,
    seed: int = 0,
) -> None:
    """Write the tables, the figure and the page of all samples.

    Samples may be of several tasks, of any kind, and have different metrics. For each task with
    detections and truth there is one FROC over all of its scans that have truth.

    Parameters
    ----------
    samples : mapping of str to CohortSample
        By name, in the order of the sheet.
    outputs : CohortOutputs
        Where to write.
    title : str
        Heading of the page.
    headline : sequence of str
        Metrics to draw; by default those with limits, then well-known ones.
    embedded : int
        Samples whose pictures the page holds, those that miss limits before others; it says so
        where it leaves some out.
    bootstrap, seed : int
        Draws of scans for the interval of a FROC, and their seed.

    Raises
    ------
    ConfigError
        If there is no sample, or no sample has a metric that `headline` names.
    StoreError
        If a sample's result is missing or damaged.
    """
    if not samples:
        raise ConfigError("the cohort has no samples: add a line to config/samples.tsv")
    views = [_view(name, sample) for name, sample in samples.items()]
    _check_headline(headline, metric_names(views))
    shown = _embedded(views, embedded)
    results = {name: SampleResults(sample.folder) for name, sample in samples.items()}
    found = [name for name, sample in samples.items() if sample.kind == "detection"]
    tables = {
        (name, sample.task): results[name].object_table
        for name, sample in samples.items()
        if name not in found and not sample.tiles
    }
    tiled = {(n, s.task): results[n].tile_quality for n, s in samples.items() if s.tiles}
    scores = _scores(samples, bootstrap=bootstrap, seed=seed) if outputs.froc is not None else {}
    with replacing(outputs.table) as path:
        cohort_table(views).to_csv(path, sep="\t", index=False, lineterminator="\n")
    with replacing(outputs.objects) as path:
        join_tables(tables, path)
    if outputs.detections is not None:
        with replacing(outputs.detections) as path:
            join_detections([results[name].detection_table for name in found], path)
    if outputs.tiles is not None:
        with replacing(outputs.tiles) as path:
            join_tables(tiled, path)
    curves = [] if outputs.froc is None else _write_scores(scores, outputs.froc, seed=seed)
    drawn = tuple(headline) or headline_metrics(views)
    with styled(), replacing(outputs.figure) as path:
        draw_metrics(metric_points(views), drawn, path)
    write_page(
        outputs.html,
        "cohort.html.jinja",
        title=title,
        views=views,
        shown=shown,
        summary=summary_line(views),
        failures=failures(views),
        metrics=drawn,
        others=other_metrics(views, drawn),
        chart=open_drawing(outputs.figure),
        curves=curves,
    )


def _view(name: str, sample: CohortSample) -> SampleView:
    results = SampleResults(sample.folder)
    try:
        if sample.kind == "detection":
            return view_detections(
                results.prediction,
                results.detections,
                results.quality,
                results.quality_table,
                [open_drawing(path) for path in results.detection_drawings],
                sample=name,
                task=sample.task,
            )
        if sample.tiles:
            files = TILE_FIGURES[sample.kind]
            drawings = [open_drawing(results.figures / file) for file in files]
            return view_tiles(results, drawings, kind=sample.kind, sample=name, task=sample.task)
        drawings = [open_drawing(results.figures / file) for file in FIGURES]
        return view_sample(results, drawings, sample=name, task=sample.task)
    except ParafoveaError as error:
        error.add_note(f"in sample {name!r}")
        raise


def _scores(
    samples: Mapping[str, CohortSample], *, bootstrap: int, seed: int
) -> dict[str, DetectionScore]:
    """Return the score of each task whose scans have truth with nodules in it."""
    nodules: dict[str, dict[str, list[dict[str, Any]]]] = {}
    candidates = {}
    for name, sample in samples.items():
        if sample.kind != "detection":
            continue
        results = SampleResults(sample.folder)
        measured = read_quality(results.quality)
        if "nodules" in measured:
            nodules.setdefault(sample.task, {})[name] = measured["nodules"]
            candidates[name] = candidates_frame(load_detections(results.detections))
    scores = {
        task: score_cohort(candidates, own, bootstrap=bootstrap, seed=seed)
        for task, own in nodules.items()
    }
    return {task: score for task, score in scores.items() if score is not None}


def _write_scores(scores: Mapping[str, DetectionScore], folder: Path, *, seed: int) -> list[Curve]:
    with replacing(folder) as partial:
        partial.mkdir()
        for task, score in scores.items():
            own = partial / task
            own.mkdir()
            scans = list(score.matching.series)
            write_froc(score, own, record("summarize_cohort", task=task, scans=scans, seed=seed))
    return [
        Curve(
            froc_drawing(folder / task / "froc.png", task, score), score.points.to_dict("records")
        )
        for task, score in scores.items()
    ]


def _embedded(views: Sequence[SampleView], count: int) -> frozenset[str]:
    # Sorting keeps the order of equals: samples that miss limits first, then as in the sheet.
    by_need = sorted(views, key=lambda view: view.verdict.status != "failed")
    return frozenset(view.sample for view in by_need[:count])


def _check_headline(headline: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in headline if name not in known]
    if unknown:
        raise ConfigError(
            f"headline metric(s) {', '.join(unknown)} are in no sample: "
            f"use some of {', '.join(known) or 'none, since no sample has metrics'}"
        )
