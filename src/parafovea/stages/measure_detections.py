"""Stage measure_detections: quality of the detections of a scan, checked against limits."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from parafovea.errors import SourceError, StoreError
from parafovea.formats.location import TABLE_SUFFIXES
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.source import Source
from parafovea.formats.source_changes import unchanged
from parafovea.formats.truth import cut_like, followed, open_truth, open_truth_objects, turned_like
from parafovea.geometry.resample import resample_box
from parafovea.geometry.scan_space import LPS_TO_RAS, ScanSpace
from parafovea.postprocess.detection.detection_files import (
    Detections,
    candidates_frame,
    load_detections,
)
from parafovea.postprocess.detection.heatmap import open_heatmap
from parafovea.quality import metrics
from parafovea.quality.detections.detection_metrics import PATHS_BY_RULE
from parafovea.quality.detections.lesion_scan import LesionScan, score_lesions
from parafovea.quality.detections.lesions import CaseResult
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
from parafovea.settings.quality import QualitySettings, ScoringSettings
from parafovea.storage.provenance import lineage, record
from parafovea.storage.store import Stored, open_stored, replacing

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

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
    scoring: Mapping[str, Any] | None = None,
    threshold: float = 0.5,
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
        also the `rule`, the `nodules`, the `hits` (detection and nodule, with the distance between
        their centres) and the ids of the `false_positives`; by the rule picai also the `case`, the
        confidence of the scan and the outcome of each lesion and candidate.
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
    scoring : mapping
        Fields of `ScoringSettings`, by default LUNA16's rule.
    threshold : float
        Value of the heatmap from which on a voxel belongs to the region of a detection.

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
    rule = ScoringSettings.model_validate(scoring or {})
    paths = PATHS_BY_RULE[rule.rule]
    metrics.check_limits(ranges, paths)
    document, stored = load_detections(detections), open_stored(prediction)
    made = stored.attributes
    values: dict[metrics.Path, Value] = _counts(document)
    values |= coverage_metrics(made, prediction) | memory_metrics(made)
    values[("coverage", "skipped_windows")] = skipped_share(made)
    outcome: dict[str, Any] = {}
    facts = None
    if truth is not None:
        scan, candidates = _scan(stored, prediction), candidates_frame(document)
        try:
            if rule.needs_masks:
                mask = _opened_mask(truth, metadata, like=made["source"])
                scored = _lesions(mask, scan, candidates, prediction, threshold, rule)
                score, outcome = scored.score, {"case": _case_record(scored.case)}
                facts = _mask_facts(mask)
            else:
                series = parse_metadata(metadata, folder=Path()).series
                score, facts = _nodules(
                    truth,
                    scan,
                    candidates,
                    series=series or str(made["source"]["series"]),
                    metadata=metadata,
                    like=made["source"],
                )
        except Exception as error:
            error.add_note(f"for the truth of {source}")
            raise
        values |= score.values
        outcome = {"rule": rule.rule, **_outcome(score), **outcome}
    every = {path: values.get(path) for path in paths}
    judged = metrics.judge(every, ranges)
    provenance = record(
        "measure_detections",
        **lineage(made),
        blending=made["blending"],
        execution=made.get("execution"),
        grid=stored.grid.to_dict(),
        truth=facts,
        scoring=rule.model_dump(mode="json"),
    )
    text = quality_json(every, judged, provenance, **outcome)
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


def _outcome(score: ScanScore) -> dict[str, Any]:
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


def _nodules(
    truth: str,
    scan: ScanSpace,
    candidates: pd.DataFrame,
    *,
    series: str,
    metadata: str,
    like: Mapping[str, Any],
) -> tuple[ScanScore, dict[str, Any]]:
    """Score a scan by the rules of LUNA16; return also a record of the truth."""
    known = None
    if truth.lower().endswith(TABLE_SUFFIXES):
        path = Path(truth)
        findings = _within_region(scan_findings(path, series), scan, like)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        facts: dict[str, Any] = {"table": path.name, "series": series, "sha256": digest}
    else:
        mask = _opened_mask(truth, metadata, like=like)
        labels = _labels(mask)
        affine = _affine(mask, scan)
        several = len(np.unique(labels.values[labels.values != 0])) > 1
        named = parse_metadata(metadata, folder=Path()).objects is not None
        findings = mask_findings(labels.values, affine, labelled=named or several)
        known = _known(labels, _places(candidates, affine))
        facts = _mask_facts(mask)
    index = scan.voxel_of_world(findings[list(COORDINATES)].to_numpy(float).reshape(-1, 3))
    # a nodule may begin in the scan and have its centre half a voxel outside
    inside = ((index >= -1) & (index <= np.asarray(scan.grid.shape))).all(axis=1)
    check_inside(truth, findings, np.asarray(inside))
    return score_scan(candidates, findings, known=known), facts


def _within_region(
    findings: pd.DataFrame, scan: ScanSpace, like: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the findings whose centres lie in the part of the scan that is the sample."""
    region = like.get("region")
    if region is None:
        return findings
    index = scan.voxel_of_world(findings[list(COORDINATES)].to_numpy(float).reshape(-1, 3))
    start, stop = np.array(region, float).T
    inside = ((index >= start - 0.5) & (index < stop - 0.5)).all(axis=1)
    return findings[np.asarray(inside)].reset_index(drop=True)


def _lesions(
    mask: Source,
    scan: ScanSpace,
    candidates: pd.DataFrame,
    prediction: Path,
    threshold: float,
    rule: ScoringSettings,
) -> LesionScan:
    """Score a scan by the rules of PI-CAI, on the voxels of its mask."""
    record = {"grid": scan.grid.to_dict(), "affine": scan.affine}
    mask = turned_like(mask, record)
    labels = _labels(mask)
    affine = _affine(mask, scan)
    heat = open_heatmap(prediction)
    grid = mask.grid.converted(heat.grid.unit)
    above = np.empty(grid.shape, bool)
    for box in grid.box.tiles(_slab(grid.shape)):
        found = resample_box(heat.read, heat.grid, grid, box, antialias=False)
        above[box.slices] = found >= threshold
    return score_lesions(
        above,
        labels.values,
        candidates,
        _places(candidates, affine),
        affine=affine,
        min_overlap=rule.min_overlap,
        unlabelled=labels.unlabelled,
    )


def _case_record(case: CaseResult) -> dict[str, Any]:
    return {
        "confidence": case.confidence,
        "lesions": [
            {"is_lesion": each.is_lesion, "confidence": each.confidence, "overlap": each.overlap}
            for each in case.lesions
        ],
    }


def _opened_mask(truth: str, metadata: str, *, like: Mapping[str, Any]) -> Source:
    """Open the mask of a scan's findings, which follows the words that move its scan."""
    mask = open_truth_objects(metadata) or open_truth(truth, metadata=metadata)
    if mask is None:
        raise SourceError(f"{truth} is not a truth: give a table or a mask")
    if like.get("region") is not None:
        return cut_like(turned_like(mask, like), like)
    return followed(mask, like)


def _mask_facts(mask: Source) -> dict[str, Any]:
    return {"mask": Path(mask.path).name, "grid": mask.grid.to_dict()}


def _affine(mask: Source, scan: ScanSpace) -> Array:
    """Return the affine of a mask to RAS; without one, it is in the world of the scan's grid."""
    if mask.affine is not None:
        return np.asarray(mask.affine, float)
    corner, step = np.zeros(3), np.eye(3)
    places = scan.world_of_grid(np.stack([corner, *step]), mask.grid)
    lps = np.eye(4)
    lps[:3, 3] = places[0]
    lps[:3, :3] = (places[1:] - places[0])[::-1].T
    return LPS_TO_RAS @ lps


def _places(candidates: pd.DataFrame, affine: Array) -> Array:
    """Return the centres of candidates along z, y, x, in voxels of a mask with an affine."""
    world = candidates[list(COORDINATES)].to_numpy(float).reshape(-1, 3)
    matrix = LPS_TO_RAS @ affine
    return np.asarray(np.linalg.solve(matrix[:3, :3], (world - matrix[:3, 3]).T).T[:, ::-1])


@dataclass(frozen=True)
class _Labels:
    """The whole numbers of a mask, (z, y, x), 0 in the background, and what nobody labelled."""

    values: Array
    unlabelled: Array | None


def _known(labels: _Labels, places: Array) -> Array:
    """Return whether the voxel at each place, (n, 3) along z, y, x, was labelled."""
    shape = np.array(labels.values.shape)
    inside = np.asarray(((places >= -0.5) & (places <= shape - 0.5)).all(axis=1))
    if labels.unlabelled is not None:
        nearest = np.clip(np.rint(places).astype(int), 0, shape - 1)
        inside &= ~labels.unlabelled[tuple(nearest.T)]
    if not inside.all():
        logger.warning(
            "%d of %d detections lie where the truth is not labelled, and count neither way",
            int((~inside).sum()),
            len(inside),
        )
    return inside


def _slab(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return max(1, _SLAB // (shape[1] * shape[2])), shape[1], shape[2]


def _labels(mask: Source) -> _Labels:
    """Return the voxels of a mask as integers, since some programs write masks as floats."""
    grid, whole = mask.grid, mask.array.dtype
    if np.issubdtype(whole, np.floating):
        whole = np.dtype(np.int32)
    values = np.empty(grid.shape, whole)
    unlabelled = None if mask.ignored is None else np.empty(grid.shape, bool)
    with unchanged(mask.path) as check:
        for box in grid.box.tiles(_slab(grid.shape)):
            part = mask.read(box)
            if unlabelled is not None:
                missing = part == mask.ignored
                unlabelled[box.slices] = missing
                part = np.where(missing, part.dtype.type(0), part)
            if mask.background is not None:
                part = np.where(part == mask.background, part.dtype.type(0), part)
            if np.issubdtype(part.dtype, np.floating) and not np.array_equal(np.rint(part), part):
                raise SourceError(
                    f"{mask.path} holds fractions: a mask has whole numbers, 0 for background"
                )
            values[box.slices] = part
        check()
    return _Labels(values, unlabelled)
