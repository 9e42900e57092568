"""Stage measure_detections: quality of the detections of a scan, checked against limits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from parafovea.errors import SourceError, StoreError
from parafovea.formats.location import TABLE_SUFFIXES
from parafovea.formats.metadata import parse_metadata
from parafovea.formats.source import Source
from parafovea.formats.source_changes import unchanged
from parafovea.formats.truth import followed, open_truth, open_truth_objects
from parafovea.geometry.grid import Box
from parafovea.geometry.scan_space import ScanSpace
from parafovea.postprocess.detection.detection_files import (
    Detections,
    candidates_frame,
    load_detections,
)
from parafovea.quality import metrics
from parafovea.quality.detections.detection_metrics import DETECTION_PATHS
from parafovea.quality.detections.mask_findings import mask_findings
from parafovea.quality.detections.scan_score import (
    ScanScore,
    check_inside,
    scan_findings,
    score_scan,
)
from parafovea.quality.detections.tables import COORDINATES
from parafovea.quality.metrics import Value
from parafovea.quality.quality_files import (
    coverage_metrics,
    memory_metrics,
    quality_json,
    quality_table,
    skipped_share,
)
from parafovea.settings.quality import QualitySettings
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import Stored, open_stored, replacing

#: Number of voxels of a mask read at once.
_SLAB = 2**24


def measure_detections(
    detections: Path,
    prediction: Path,
    quality: Path,
    table: Path,
    *,
    source: str,
    truth: str | None,
    metadata: str = "",
    limits: Mapping[str, Any],
) -> None:
    """Measure the detections of a scan and write the metrics as JSON and as a table.

    Parameters
    ----------
    detections : Path
        JSON file of `detect_nodules`.
    prediction : Path
        Store with the heatmap and its provenance.
    quality : Path
        JSON to write: nested metrics (`metrics`), the checked limits (`limits`), whether all are
        met (`passed`) and provenance (`provenance`), as written by `measure_quality`; with truth
        also the `nodules`, the `hits` (detection and nodule, with the distance between their
        centres) and the ids of the `false_positives`.
    table : Path
        TSV to write, with the columns metric, value, minimum, maximum, passed; undefined values
        are empty.
    source : str
        The scan as in the sample sheet, used in messages.
    truth : str or None
        A table of nodules (.csv, .tsv or .txt) in the format of LUNA16, of one or more scans; see
        `scan_findings`, also for scans without nodules. Or a mask on any grid: if it has several
        values, each is a nodule; if it has one, each connected component is.
    metadata : str
        The sheet's `metadata` of the sample: `series` is the name of the scan in a table; `objects`
        is a mask whose values are nodules, and replaces a mask in `truth`.
    limits : mapping
        Acceptable range by metric name, as `quality.limits` of the config.

    Raises
    ------
    ConfigError
        If a limit is on a metric that does not exist.
    SourceError
        If the truth cannot be read or is outside of the scan.
    StoreError
        If a result of an earlier stage is missing or incomplete.
    TableError
        If the table is invalid, or does not contain the scan.
    """
    ranges = QualitySettings.model_validate({"limits": limits}).limits
    metrics.check_limits(ranges, DETECTION_PATHS)
    document, stored = load_detections(detections), open_stored(prediction)
    made = stored.attributes
    values: dict[metrics.Path, Value] = _counts(document)
    values |= coverage_metrics(made, prediction) | memory_metrics(made)
    values[("coverage", "skipped_windows")] = skipped_share(made)
    score, facts = None, None
    if truth is not None:
        scan = _scan(stored, prediction)
        series = parse_metadata(metadata, folder=Path()).series or str(made["source"]["series"])
        try:
            findings, facts = _findings(truth, scan, series, metadata=metadata, like=made["source"])
        except Exception as error:
            error.add_note(f"for the truth of {source}")
            raise
        score = score_scan(candidates_frame(document), findings)
        values |= score.values
    every = {path: values.get(path) for path in DETECTION_PATHS}
    judged = metrics.judge(every, ranges)
    provenance = record(
        "measure_detections",
        **lineage(made),
        blending=made["blending"],
        execution=made.get("execution"),
        grid=stored.grid.to_dict(),
        truth=facts,
    )
    text = quality_json(every, judged, provenance, **_outcome(score))
    with ExitStack() as stack:
        for path, content in ((quality, text), (table, quality_table(judged))):
            partial = stack.enter_context(replacing(path))
            partial.write_text(content, encoding="utf-8", newline="\n")


def _counts(document: Detections) -> dict[metrics.Path, Value]:
    found = document.detections
    counts: dict[metrics.Path, Value] = {("detections", metrics.OVERALL): len(found)}
    if found and all(each.triage is not None for each in found):
        risks = [each.triage.risk_category for each in found if each.triage is not None]
        counts |= {("detections", r): risks.count(r) for r in ("high", "intermediate", "low")}
    return counts


def _outcome(score: ScanScore | None) -> dict[str, Any]:
    if score is None:
        return {}
    return {
        "nodules": list(score.nodules),
        "hits": list(score.hits),
        "false_positives": list(score.false_positives),
    }


def _scan(stored: Stored, prediction: Path) -> ScanSpace:
    try:
        source = stored.attributes["source"]
        source["series"]
        return ScanSpace.from_record(source)
    except KeyError as error:
        raise StoreError(
            f"{prediction} has no complete record of its source ({error} is missing): run "
            "resample_volume again"
        ) from error


def _findings(
    truth: str, scan: ScanSpace, series: str, *, metadata: str, like: Mapping[str, Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the nodules of the scan, and a record of their source."""
    if truth.lower().endswith(TABLE_SUFFIXES):
        path = Path(truth)
        findings = scan_findings(path, series)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        facts: dict[str, Any] = {"table": path.name, "series": series, "sha256": digest}
    else:
        objects = open_truth_objects(metadata)
        mask = objects or open_truth(truth, metadata=metadata)
        if mask is None:
            raise SourceError(f"{truth} is not a truth: give a table or a mask")
        mask = followed(mask, like)
        with unchanged(mask.path) as check:
            findings = _of_mask(mask, scan, labelled=True if objects else None)
            check()
        facts = {"mask": Path(mask.path).name, "grid": mask.grid.to_dict()}
    index = scan.voxel_of_world(findings[list(COORDINATES)].to_numpy(float).reshape(-1, 3))
    # a nodule may begin in the scan and have its centre half a voxel outside
    inside = ((index >= -1) & (index <= np.asarray(scan.grid.shape))).all(axis=1)
    check_inside(truth, findings, np.asarray(inside))
    return findings, facts


def _of_mask(mask: Source, scan: ScanSpace, *, labelled: bool | None) -> pd.DataFrame:
    values = _whole_numbers(mask)
    affine = mask.affine
    if affine is None:
        # the mask is in the world of the scan's grid
        corner, step = np.zeros(3), np.eye(3)
        places = scan.world_of_grid(np.stack([corner, *step]), mask.grid)
        lps = np.eye(4)
        lps[:3, 3] = places[0]
        lps[:3, :3] = (places[1:] - places[0])[::-1].T
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    if labelled is None:
        labelled = len(np.unique(values[values != 0])) > 1
    return mask_findings(values, affine, labelled=labelled)


def _whole_numbers(mask: Source) -> np.ndarray[Any, Any]:
    """Return the voxels of a mask as integers, since some programs write masks as floats."""
    shape = mask.grid.shape
    planes = max(1, _SLAB // (shape[1] * shape[2]))
    parts = []
    for box in Box.whole(shape).tiles((planes, *shape[1:])):
        part = mask.read(box)
        if np.issubdtype(part.dtype, np.floating):
            whole = np.rint(part)
            if not np.array_equal(whole, part):
                raise SourceError(
                    f"{mask.path} holds fractions: a mask has whole numbers, 0 for background"
                )
            part = whole.astype(np.int32)
        parts.append(part)
    return np.concatenate(parts)
