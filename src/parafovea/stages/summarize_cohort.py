"""Stage summarize_cohort: tables, figure and index of all samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from parafovea.errors import ConfigError, ParafoveaError
from parafovea.kinds.reference import resolve
from parafovea.postprocess.detection.detection_files import candidates_frame, load_detections
from parafovea.quality.detections.detector_score import DetectionScore, score_cohort
from parafovea.quality.detections.lesions import CaseResult, LesionResult, LesionScore
from parafovea.report.canvas import Drawing, styled
from parafovea.report.charts import draw_metrics
from parafovea.report.cohort import (
    IndexRow,
    cohort_table,
    index_groups,
    join_detections,
    join_tables,
    limit_lines,
    metric_names,
    named,
    summary_line,
)
from parafovea.report.crate_link import PREVIEW, crate_words
from parafovea.report.detections.froc_plot import froc_drawing, write_froc
from parafovea.report.detections.lesion_tables import lesion_rows, write_lesions
from parafovea.report.page import (
    data_uri,
    page_inside,
    page_text,
    relative_address,
    write_page,
)
from parafovea.report.sample_results import read_quality
from parafovea.report.segmentation.sample_view import SampleView
from parafovea.runtime.shipped_files import publication_style
from parafovea.settings.field_types import Strict
from parafovea.storage.layout import SampleResults
from parafovea.storage.provenance import record
from parafovea.storage.store import replacing

logger = logging.getLogger(__name__)


class CohortSample(Strict):
    """A sample of the cohort."""

    task: str = Field(description="Name of its task.")
    kind: str = Field("", description="Kind of its task, by which samples are grouped.")
    folder: Path = Field(description="Its results, including its report.")
    page: str = Field(
        description="Reference to the function that gathers its part of the page, such as "
        "parafovea.report.segmentation.sample_view:cohort_view."
    )
    objects: bool = Field(False, description="Whether it has a table of objects.")
    detections: bool = Field(False, description="Whether it has detections.")
    tiles: bool = Field(False, description="Whether it has a table of tiles.")
    failure: str = Field(
        "", description="Reason why it has no result; nothing of it is read, and its row says so."
    )


@dataclass(frozen=True, slots=True)
class Curve:
    """FROC of a task in the report.

    Parameters
    ----------
    drawing : Drawing
        Its figure.
    points : list of dict
        Its operating points, as `DetectionScore.points`.
    """

    drawing: Drawing
    points: list[dict[Any, Any]]


def summarize_cohort(
    quality: Path,
    objects: Path,
    figure: Path,
    html: Path,
    detections: Path | None = None,
    froc: Path | None = None,
    tiles: Path | None = None,
    style: Path | None = None,
    *,
    samples: Mapping[str, CohortSample | Mapping[str, Any]],
    title: str = "Parafovea report",
    headline: Sequence[str] = (),
    embed: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
) -> None:
    """Write the tables, the figure and the index of all samples.

    The index has a row for each sample with its headline metrics, and leads to the samples' own
    pages by relative addresses, so that a folder of results can be moved. Samples may belong to
    several tasks of any kind and have different metrics. Each task with detections and truth has
    one FROC over all of its scans with truth, or by the rules of PI-CAI one score of its lesions.

    Parameters
    ----------
    quality : Path
        TSV to write, with a line for each sample.
    objects : Path
        TSV to write, with a line for each object of any sample.
    figure : Path
        PNG to write, with the headline metrics over samples.
    html : Path
        Index to write, which needs no other file but those that it links.
    detections : Path, optional
        CSV to write, with a line for each detection of any scan.
    froc : Path, optional
        Folder to write (replaced if it exists), with a subfolder for each task with detections and
        truth: froc.tsv, summary.json, froc.svg and froc.png, or by the rules of PI-CAI lesions.tsv
        and summary.json. Without it, the page has neither.
    tiles : Path, optional
        TSV to write, with a line for each tile of any folder.
    style : Path, optional
        Style file of figures for papers, for the FROC; by default that of the project, or the one
        that comes with parafovea.
    samples : mapping of str to mapping
        The fields of `CohortSample` by name, in the order of the sheet.
    title : str
        Heading of the page.
    headline : sequence of str
        Metrics with a column and a panel; by default those with limits, then common ones.
    embed : bool
        Whether the index holds the pages and small pictures of the samples, as a single file.
    bootstrap, seed : int
        Number of bootstrap samples of scans for the interval of a FROC, and their seed.

    Raises
    ------
    ConfigError
        If there are no samples, or no sample has a metric in `headline`.
    StoreError
        If a sample's result is missing or damaged.
    """
    if not samples:
        raise ConfigError("the cohort has no samples: add a line to config/samples.tsv")
    every = {name: CohortSample.model_validate(each) for name, each in samples.items()}
    rows = [
        _row(name, sample, html, place=f"page-{number}" if embed else "")
        for number, (name, sample) in enumerate(every.items(), start=1)
    ]
    _check_headline(headline, metric_names(row.view for row in rows if row.view is not None))
    chosen = {name: sample for name, sample in every.items() if not sample.failure}
    results = {name: SampleResults(sample.folder) for name, sample in chosen.items()}
    scans = {name: sample.task for name, sample in chosen.items() if sample.detections}
    scores = {}
    if froc is not None:
        scores = _scores(scans, results, bootstrap=bootstrap, seed=seed)
    with replacing(quality) as path:
        cohort_table(rows).to_csv(path, sep="\t", index=False, lineterminator="\n")
    with replacing(objects) as path:
        counted = {(n, s.task): results[n].object_table for n, s in chosen.items() if s.objects}
        join_tables(counted, path)
    if detections is not None:
        with replacing(detections) as path:
            join_detections([results[name].detection_table for name in scans], path)
    if tiles is not None:
        with replacing(tiles) as path:
            tiled = {(n, s.task): results[n].tile_quality for n, s in chosen.items() if s.tiles}
            join_tables(tiled, path)
    curves, lesions = [], []
    if froc is not None:
        cases = _lesion_scores(scans, results)
        drawn_in = style or Path(publication_style())
        curves = _write_scores(scores, cases, froc, seed=seed, style=drawn_in)
        lesions = [(task, lesion_rows(score)) for task, score in cases.items()]
    groups = index_groups(rows, headline)
    with styled(), replacing(figure) as path:
        chart = draw_metrics([group.panels for group in groups], path)
    degraded = [row.sample for row in rows if row.view is not None and row.view.degraded]
    _write_index(
        html,
        title=title,
        rows=rows,
        groups=groups,
        summary=summary_line(rows),
        limits=limit_lines(rows),
        failed=named([row.sample for row in rows if row.state == "stopped"]),
        degraded=named(degraded),
        chart=chart,
        curves=curves,
        lesions=lesions,
        crate=crate_words(there=(html.parent / PREVIEW).is_file()),
        tables={
            path.name: relative_address(path, html)
            for path in (quality, objects, detections, tiles)
            if path is not None
        },
    )


def _write_index(html: Path, *, rows: Sequence[IndexRow], **values: Any) -> None:
    size = ""
    if any(row.content for row in rows):
        text = page_text("cohort.html.jinja", rows=rows, size=size, **values)
        size = f"{len(text.encode()) / 1e6:.1f} MB"
        logger.info("%s holds the pages of all samples: %s", html, size)
    write_page(html, "cohort.html.jinja", rows=rows, size=size, **values)


def _row(name: str, sample: CohortSample, html: Path, *, place: str) -> IndexRow:
    """Return the row of a sample; with a `place`, the index holds its page under this id."""
    results = SampleResults(sample.folder)
    if sample.failure:
        return IndexRow(name, sample.task, sample.kind, None, sample.failure)
    view = _view(name, sample, results)
    thumbnail = ""
    if results.thumbnail.is_file():
        thumbnail = (
            data_uri(results.thumbnail) if place else relative_address(results.thumbnail, html)
        )
    return IndexRow(
        sample=name,
        task=sample.task,
        kind=sample.kind,
        view=view,
        page=f"#{place}" if place else relative_address(results.page, html),
        links={
            words: relative_address(sample.folder / file, html)
            for words, file in view.links.items()
        },
        thumbnail=thumbnail,
        content=page_inside(results.page, html) if place else None,
    )


def _view(name: str, sample: CohortSample, results: SampleResults) -> SampleView:
    page = resolve(sample.page)
    try:
        view: SampleView = page(results, sample=name, task=sample.task)
    except ParafoveaError as error:
        error.add_note(f"in sample {name!r}")
        raise
    return view


def _scores(
    scans: Mapping[str, str],
    results: Mapping[str, SampleResults],
    *,
    bootstrap: int,
    seed: int,
) -> dict[str, DetectionScore]:
    """Return the score of each task with nodules in the truth of its scans."""
    nodules: dict[str, dict[str, list[dict[str, Any]]]] = {}
    candidates = {}
    for name, task in scans.items():
        measured = read_quality(results[name].quality)
        if "nodules" in measured and "case" not in measured:
            nodules.setdefault(task, {})[name] = measured["nodules"]
            candidates[name] = candidates_frame(load_detections(results[name].detections))
    scores = {
        task: score_cohort(candidates, own, bootstrap=bootstrap, seed=seed)
        for task, own in nodules.items()
    }
    return {task: score for task, score in scores.items() if score is not None}


def _lesion_scores(
    scans: Mapping[str, str], results: Mapping[str, SampleResults]
) -> dict[str, LesionScore]:
    """Return the score of each task whose scans are measured by the rules of PI-CAI."""
    cases: dict[str, dict[str, CaseResult]] = {}
    for name, task in scans.items():
        case = read_quality(results[name].quality).get("case")
        if case is not None:
            lesions = tuple(LesionResult(**each) for each in case["lesions"])
            cases.setdefault(task, {})[name] = CaseResult(lesions, case["confidence"])
    return {task: LesionScore(own) for task, own in cases.items()}


def _write_scores(
    scores: Mapping[str, DetectionScore],
    cases: Mapping[str, LesionScore],
    folder: Path,
    *,
    seed: int,
    style: Path,
) -> list[Curve]:
    with replacing(folder) as partial:
        partial.mkdir()
        for task, lesions in cases.items():
            own = partial / task
            own.mkdir()
            made = record("summarize_cohort", task=task, scans=[*lesions.cases])
            write_lesions(lesions, own, made)
        for task, score in scores.items():
            own = partial / task
            own.mkdir()
            scans = list(score.matching.series)
            made = record("summarize_cohort", task=task, scans=scans, seed=seed)
            write_froc(score, own, made, style=style)
    return [
        Curve(
            froc_drawing(folder / task / "froc.png", task, score), score.points.to_dict("records")
        )
        for task, score in scores.items()
    ]


def _check_headline(headline: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in headline if name not in known]
    if unknown:
        raise ConfigError(
            f"headline metric(s) {', '.join(unknown)} are in no sample: "
            f"use some of {', '.join(known) or 'none, since no sample has metrics'}"
        )
