"""Stage measure_quality: metrics of a sample's segmentation, judged against limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.errors import StoreError
from parafovea.geometry.grid import AXES
from parafovea.quality import metrics
from parafovea.quality.metrics import Value
from parafovea.quality.quality_files import (
    coverage_metrics,
    memory_metrics,
    quality_json,
    quality_table,
)
from parafovea.quality.segmentation.comparison import agreement_metrics
from parafovea.quality.segmentation.part_counts import PartCounts, unite_parts
from parafovea.quality.segmentation.segmentation_metrics import segmentation_paths
from parafovea.quality.segmentation.segmented_sample import SegmentedSample
from parafovea.quality.segmentation.uncertainty import ProbabilityProfile, seam_energy
from parafovea.quality.truth_on_grid import TruthSource
from parafovea.settings.quality import Limit
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import Stored, replacing


def measure_quality(
    prediction: Path,
    classes: Path,
    objects: Path,
    quality: Path,
    table: Path,
    *,
    parts: Sequence[Path] = (),
    truth: str | None,
    metadata: str = "",
    limits: Mapping[str, Limit | Mapping[str, Any]],
) -> None:
    """Compute the metrics of a sample and write them as JSON and as a table.

    Memory is bounded by the blocks in which the results are read, and by the tables.

    Parameters
    ----------
    prediction : Path
        Store of the class probabilities, with the `blending` record.
    classes, objects : Path
        Stores that `segment_objects` wrote.
    quality : Path
        JSON to write: nested `metrics`, judged `limits`, whether all limits are met (`passed`), and
        `provenance`. Undefined values are null.
    table : Path
        TSV to write: columns metric, value, minimum, maximum, passed; undefined values are empty.
    parts : sequence of Path
        What `measure_quality_block` counted in the blocks of the sample. Without any, everything is
        counted here.
    truth : str or None
        Path of the true class indices, as in the sample sheet.
    metadata : str
        The sheet's `metadata` of the sample. It may name true object ids; without them, true
        objects are the connected components of the true classes.
    limits : mapping of str to mapping
        Acceptable range by metric name: the fields of `Limit`.

    Raises
    ------
    ConfigError
        If a limit is set for an unknown metric.
    SourceError
        If the truth cannot be read, covers another region, or holds values that are not labels.
    StoreError
        If a result of an earlier stage is missing or incomplete.
    """
    sample = SegmentedSample.open(prediction, classes, objects, truth=truth, metadata=metadata)
    probabilities, names, instances = sample.prediction, sample.names, sample.instances
    paths = segmentation_paths(names, [names[index] for index in instances])
    ranges = {name: Limit.model_validate(each) for name, each in limits.items()}
    metrics.check_limits(ranges, paths)
    measured = _coverage(probabilities, prediction)
    grid = probabilities.grid
    found = (
        unite_parts(map(PartCounts.load, parts), grid.box, parts[0].parent)
        if parts
        else unite_parts([sample.count(grid.box)], grid.box, quality.parent)
    )
    measured |= _intrinsic_metrics(probabilities, found.probabilities.profile(len(names)))
    if found.truth is not None:
        measured |= agreement_metrics(found.truth, names, instances)
    values = {path: measured.get(path) for path in paths}
    judged = metrics.judge(values, ranges)
    provenance = record(
        "measure_quality",
        **lineage(sample.objects.attributes),
        postprocess=sample.objects.attributes["postprocess"],
        blending=probabilities.attributes["blending"],
        execution=probabilities.attributes.get("execution"),
        grid=grid.to_dict(),
        truth=_grid_record(sample.truth),
        truth_objects=_grid_record(sample.true_objects),
    )
    with replacing(quality) as json_path, replacing(table) as tsv_path:
        json_path.write_text(quality_json(values, judged, provenance), encoding="utf-8")
        tsv_path.write_text(quality_table(judged), encoding="utf-8")


def _coverage(prediction: Stored, path: Path) -> dict[metrics.Path, Value]:
    """Return the metrics in the record of a prediction."""
    attributes = prediction.attributes
    missing = {"window", "starts"} - attributes.get("blending", {}).keys()
    if missing:
        raise StoreError(
            f"{path} has no complete record of its blending ({', '.join(sorted(missing))} missing):"
            " run blend_shards again"
        )
    return coverage_metrics(attributes, path) | memory_metrics(attributes)


def _intrinsic_metrics(
    prediction: Stored, profile: ProbabilityProfile
) -> dict[metrics.Path, Value]:
    """Return the metrics of the probabilities, which do not need truth."""
    blending = prediction.attributes["blending"]
    window, starts = blending["window"], blending["starts"]
    scale = blending.get("output_scale", (1, 1, 1))
    energies = {
        axis: seam_energy(profile.steps[i], starts[i], window[i], scale=scale[i])
        for i, axis in enumerate(AXES)
    }
    defined = [energy for energy in energies.values() if energy is not None]
    return {
        # The worst axis, so that a seam across one axis is not averaged out.
        ("seam_energy", metrics.OVERALL): max(defined, default=None),
        **{("seam_energy", axis): energy for axis, energy in energies.items()},
        ("entropy",): profile.entropy,
    }


def _grid_record(source: TruthSource | None) -> dict[str, Any] | None:
    return None if source is None else source.grid.to_dict()
