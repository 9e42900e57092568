"""Put all samples into one table, one figure and one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parafovea.errors import ConfigError, ParafoveaError
from parafovea.report.canvas import open_drawing, styled
from parafovea.report.charts import draw_metrics
from parafovea.report.cohort import (
    cohort_table,
    failures,
    headline_metrics,
    join_tables,
    metric_names,
    metric_points,
    summary_line,
)
from parafovea.report.page import write_page
from parafovea.report.sample import SampleResults
from parafovea.report.view import SampleView, view_sample
from parafovea.store import replacing

#: Pictures of a sample's report that the page holds.
FIGURES = ("overlays.png", "probabilities.png", "sizes.png")


@dataclass(frozen=True, slots=True)
class CohortSample:
    """A sample of the cohort.

    Parameters
    ----------
    task : str
        Name of its task.
    folder : Path
        Its results, its report's figures included.
    """

    task: str
    folder: Path


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
    """

    table: Path
    objects: Path
    figure: Path
    html: Path


def summarize_cohort(
    samples: Mapping[str, CohortSample],
    outputs: CohortOutputs,
    *,
    title: str = "Parafovea report",
    headline: Sequence[str] = (),
    embedded: int = 20,
) -> None:
    """Write the tables, the figure and the page of all samples.

    Samples may be of several tasks and have different metrics.

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
    tables = {(n, s.task): SampleResults(s.folder).object_table for n, s in samples.items()}
    with replacing(outputs.table) as path:
        cohort_table(views).to_csv(path, sep="\t", index=False, lineterminator="\n")
    with replacing(outputs.objects) as path:
        join_tables(tables, path)
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
        # What matters most comes first, the rest in the tables' order.
        metrics=tuple(dict.fromkeys((*drawn, *metric_names(views)))),
        chart=open_drawing(outputs.figure),
    )


def _view(name: str, sample: CohortSample) -> SampleView:
    results = SampleResults(sample.folder)
    try:
        drawings = [open_drawing(results.figures / file) for file in FIGURES]
        return view_sample(results, drawings, sample=name, task=sample.task)
    except ParafoveaError as error:
        error.add_note(f"in sample {name!r}")
        raise


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
