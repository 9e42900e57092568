"""Stage measure_quality: metrics of a sample's segmentation, judged against limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parafovea.errors import StoreError
from parafovea.formats.source_changes import unchanged
from parafovea.formats.truth import open_truth, open_truth_objects
from parafovea.geometry.grid import AXES
from parafovea.quality import metrics
from parafovea.quality.metrics import Value
from parafovea.quality.quality_files import (
    coverage_metrics,
    memory_metrics,
    quality_json,
    quality_table,
)
from parafovea.quality.segmentation.comparison import compare_with_truth
from parafovea.quality.segmentation.segmentation_metrics import segmentation_paths
from parafovea.quality.segmentation.uncertainty import profile_probabilities, seam_energy
from parafovea.quality.truth_on_grid import SampledTruth, TruthSource
from parafovea.settings.quality import Limit
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import Stored, open_stored, replacing


def measure_quality(
    prediction: Path,
    classes: Path,
    objects: Path,
    quality: Path,
    table: Path,
    *,
    truth: str | None,
    metadata: str = "",
    limits: Mapping[str, Limit | Mapping[str, Any]],
) -> None:
    """Compute the metrics of a sample and write them as JSON and as a table.

    Memory is bounded by a slab of planes.

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
    probabilities, class_store, object_store = map(open_stored, (prediction, classes, objects))
    names = probabilities.channels or ()
    connectivity, instances = _segmentation(object_store, names, objects)
    counted = [names[index] for index in instances]
    paths = segmentation_paths(names, counted)
    ranges = {name: Limit.model_validate(each) for name, each in limits.items()}
    metrics.check_limits(ranges, paths)
    for stored, path in ((class_store, classes), (object_store, objects)):
        if stored.grid != probabilities.grid:
            raise StoreError(
                f"{path} has the grid {stored.grid}, but {prediction} {probabilities.grid}: "
                "run segment_objects again"
            )
    grid = probabilities.grid
    marks = _intrinsic_metrics(probabilities, prediction) | memory_metrics(probabilities.attributes)
    like = probabilities.attributes.get("source")
    labels = open_truth(truth, metadata=metadata, like=like)
    true_objects = open_truth_objects(metadata, like=like)
    with unchanged(*[each.path for each in (labels, true_objects) if each is not None]) as check:
        measured = marks | compare_with_truth(
            class_store,
            object_store,
            truth=None if labels is None else SampledTruth(labels, grid, classes=len(names)),
            truth_objects=None if true_objects is None else SampledTruth(true_objects, grid),
            names=names,
            instances=instances,
            connectivity=connectivity,
        )
        check()
    values = {path: measured.get(path) for path in paths}
    judged = metrics.judge(values, ranges)
    provenance = record(
        "measure_quality",
        **lineage(object_store.attributes),
        postprocess=object_store.attributes["postprocess"],
        blending=probabilities.attributes["blending"],
        execution=probabilities.attributes.get("execution"),
        grid=grid.to_dict(),
        truth=_grid_record(labels),
        truth_objects=_grid_record(true_objects),
    )
    with replacing(quality) as json_path, replacing(table) as tsv_path:
        json_path.write_text(quality_json(values, judged, provenance), encoding="utf-8")
        tsv_path.write_text(quality_table(judged), encoding="utf-8")


def _segmentation(objects: Stored, names: Sequence[str], path: Path) -> tuple[int, tuple[int, ...]]:
    """Return the connectivity of objects and the indices of the classes that have objects."""
    try:
        settings = objects.attributes["postprocess"]
        choices = settings["classes"]
        instances = tuple(i for i, n in enumerate(names) if i and choices[n]["instances"])
        return int(settings["connectivity"]), instances
    except KeyError as error:
        raise StoreError(
            f"{path} has no complete record of the objects of {', '.join(names)} ({error} is "
            "missing): run segment_objects again"
        ) from error


def _intrinsic_metrics(prediction: Stored, path: Path) -> dict[metrics.Path, Value]:
    """Return the metrics that do not need truth."""
    try:
        blending = prediction.attributes["blending"]
        window, starts = blending["window"], blending["starts"]
        scale = blending.get("output_scale", (1, 1, 1))
    except KeyError as error:
        raise StoreError(
            f"{path} has no complete record of its blending ({error} is missing): "
            "run blend_shards again"
        ) from error
    profile = profile_probabilities(prediction)
    energies = {
        axis: seam_energy(profile.steps[i], starts[i], window[i], scale=scale[i])
        for i, axis in enumerate(AXES)
    }
    defined = [energy for energy in energies.values() if energy is not None]
    return {
        **coverage_metrics(prediction.attributes, path),
        # The worst axis, so that a seam across one axis is not averaged out.
        ("seam_energy", metrics.OVERALL): max(defined, default=None),
        **{("seam_energy", axis): energy for axis, energy in energies.items()},
        ("entropy",): profile.entropy,
    }


def _grid_record(source: TruthSource | None) -> dict[str, Any] | None:
    return None if source is None else source.grid.to_dict()
