"""Content of a segmented sample's report, gathered from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from parafovea.geometry.grid import Grid
from parafovea.geometry.sphere import equivalent_diameter
from parafovea.report.canvas import Drawing
from parafovea.report.page import relative_address
from parafovea.report.provenance_rows import degraded_reasons, provenance_rows
from parafovea.report.sample_results import (
    Metric,
    Verdict,
    read_metrics,
    read_objects,
    read_quality,
    verdict,
)
from parafovea.report.units import grid_facts, length_text, volume_text
from parafovea.storage.class_colours import class_colours
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import open_stored

#: Maximum number of objects listed on a page.
LISTED = 20


@dataclass(frozen=True, slots=True)
class SegmentationResults:
    """Paths of a segmentation's results.

    Parameters
    ----------
    volume, prediction, classes, objects : Path
        Stores of `resample_volume`, `blend_shards` and `segment_objects`.
    object_table : Path
        Table of `segment_objects`.
    quality, quality_table : Path
        JSON and table of `measure_quality`.
    """

    volume: Path
    prediction: Path
    classes: Path
    objects: Path
    object_table: Path
    quality: Path
    quality_table: Path


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """An object as a row of the report: texts with units, and what they are sorted by.

    Parameters
    ----------
    id : int
        Id in the files.
    name, colour : str
        Its class.
    voxels, volume, diameter, centroid : str
        Texts.
    size : float
        Volume in the cubic unit of the grid.
    centroid_z : float
        In the unit of the grid.
    """

    id: int
    name: str
    colour: str
    voxels: str
    volume: str
    diameter: str
    centroid: str
    size: float
    centroid_z: float


@dataclass(frozen=True, slots=True)
class ClassCount:
    """A class with its colour and its number of objects; None if it has no objects of its own."""

    name: str
    colour: str
    objects: int | None


@dataclass(frozen=True)
class SampleView:
    """Content of a sample's report.

    Parameters
    ----------
    sample, task, title : str
        Names; `task` may be empty. Like all texts here, untrusted.
    degraded : tuple of str
        Reasons why the result is degraded, if it is.
    facts : dict
        Short facts by name.
    verdict : Verdict
        Numbers of limits met and missed.
    metrics : tuple of Metric
        Metrics in the quality table's order.
    classes : tuple of ClassCount
        Classes without the background.
    objects : tuple of ObjectRow
        The largest objects.
    object_count : int
        Number of all objects.
    provenance : dict
        Rows of names and texts for each file.
    drawings : tuple of Drawing
        Figures to embed.
    summary : str
        Summary sentence, if any.
    links : mapping of str to str
        Further documents by name, relative to the sample's folder.
    tables : mapping of str to str
        Addresses of its tables by file name, relative to the page.
    """

    sample: str
    task: str
    title: str
    degraded: tuple[str, ...]
    facts: dict[str, str]
    verdict: Verdict
    metrics: tuple[Metric, ...]
    classes: tuple[ClassCount, ...]
    objects: tuple[ObjectRow, ...]
    object_count: int
    provenance: dict[str, tuple[tuple[str, str], ...]]
    drawings: tuple[Drawing, ...]
    summary: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> str:
        """Name of what `object_count` counts."""
        return "Objects"

    def metric(self, name: str) -> Metric | None:
        """Return a metric by name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)


def cohort_view(results: SampleResults, *, sample: str, task: str) -> SampleView:
    """Gather a segmented volume's content of the cohort report.

    Parameters
    ----------
    results : SampleResults
        Its results.
    sample, task
        See `view_sample`.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    return view_sample(results, (), sample=sample, task=task)


def view_sample(
    results: SegmentationResults | SampleResults,
    drawings: Sequence[Drawing],
    *,
    sample: str,
    task: str = "",
    title: str | None = None,
    page: Path | None = None,
) -> SampleView:
    """Gather the content of a sample's report without reading voxels.

    Parameters
    ----------
    results : SegmentationResults or SampleResults
        Paths of its results.
    drawings : sequence of Drawing
        Its figures.
    sample : str
        Name of the sample.
    task : str
        Name of its task, if the page should show it.
    title : str, optional
        Heading; the sample's name by default.
    page : Path, optional
        The page, from which tables are linked.

    Returns
    -------
    SampleView
        Texts and numbers, not escaped for HTML.

    Raises
    ------
    StoreError
        If a file is missing or damaged.
    """
    stores = {
        "Prediction": open_stored(results.prediction),
        "Volume": open_stored(results.volume),
        "Classes": open_stored(results.classes),
        "Objects": open_stored(results.objects),
    }
    grid = stores["Prediction"].grid
    classes = class_names(stores["Prediction"].channels)
    records: dict[str, Mapping[str, Any]] = {name: s.attributes for name, s in stores.items()}
    measured = read_quality(results.quality).get("provenance", {})
    records["Quality"] = measured if isinstance(measured, Mapping) else {"provenance": measured}
    objects = read_objects(results.object_table)
    metrics = read_metrics(results.quality_table)
    return SampleView(
        sample=sample,
        task=task,
        title=title or sample,
        degraded=degraded_reasons(records),
        facts={**grid_facts(grid), **model_facts(stores["Prediction"].attributes)},
        verdict=verdict(metrics),
        metrics=metrics,
        classes=_counts(objects, classes, records["Objects"]),
        objects=_largest(objects, classes, grid),
        object_count=len(objects),
        provenance={name: provenance_rows(record) for name, record in records.items() if record},
        drawings=tuple(drawings),
        tables=table_addresses(page, results.object_table, results.quality_table),
    )


def table_addresses(page: Path | None, *tables: Path) -> dict[str, str]:
    """Return the addresses of tables by file name, relative to a page; none without a page."""
    return {} if page is None else {path.name: relative_address(path, page) for path in tables}


def class_names(channels: Sequence[str] | None) -> tuple[str, ...]:
    """Return the class names of a prediction; without channels, a single unnamed class."""
    return tuple(channels) if channels else ("prediction",)


def model_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the model and the version in a record, if any."""
    facts = {}
    model = record.get("model")
    if isinstance(model, Mapping) and "name" in model:
        weights = str(model.get("sha256") or model.get("weights_sha256") or "")
        facts["Model"] = f"{model['name']} ({weights[:8]})" if weights else str(model["name"])
    if "version" in record:
        facts["Parafovea"] = str(record["version"])
    return facts


def _counts(
    objects: pd.DataFrame, classes: Sequence[str], record: Mapping[str, Any]
) -> tuple[ClassCount, ...]:
    counts = objects["class"].value_counts()
    colours = class_colours(len(classes))
    choices = record.get("postprocess", {}).get("classes", {})
    return tuple(
        ClassCount(
            name,
            colour,
            int(counts.get(name, 0)) if choices.get(name, {}).get("instances", True) else None,
        )
        for name, colour in list(zip(classes, colours, strict=True))[1:]
    )


def _largest(objects: pd.DataFrame, classes: Sequence[str], grid: Grid) -> tuple[ObjectRow, ...]:
    colours = dict(zip(classes, class_colours(len(classes)), strict=True))
    # Equal volumes are ordered by id, so that the order is unique.
    top = objects.sort_values(["volume", "id"], ascending=[False, True]).head(LISTED)
    return tuple(
        ObjectRow(
            id=int(row["id"]),
            name=str(row["class"]),
            colour=colours.get(str(row["class"]), class_colours(1)[0]),
            voxels=f"{int(row['voxels']):,}",
            volume=volume_text(float(row["volume"]), grid.unit),
            diameter=length_text(equivalent_diameter(float(row["volume"])), grid.unit),
            centroid=", ".join(
                length_text(float(row[f"centroid_{axis}"]), grid.unit) for axis in "zyx"
            ),
            size=float(row["volume"]),
            centroid_z=float(row["centroid_z"]),
        )
        for row in top.to_dict("records")
    )
