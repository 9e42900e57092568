"""Scoring of candidate masks against lesion masks, with result files."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import ParafoveaError, SourceError, TableError
from parafovea.formats.location import locate, stem
from parafovea.formats.opening import open_source
from parafovea.formats.source import Source
from parafovea.geometry.scan_space import ScanSpace
from parafovea.quality.detections.lesions import (
    LEAST_OVERLAP,
    CaseResult,
    LesionScore,
    detection_map,
    score_case,
)
from parafovea.quality.detections.scan_ids import listed, match_note, same_ids
from parafovea.report.detections.lesion_tables import lesion_summary, lesion_table
from parafovea.storage.layout import HEATMAP
from parafovea.storage.provenance import record
from parafovea.storage.store import replacing

#: Suffixes after the scan name in the two kinds of files, as in PI-CAI.
OF_CANDIDATES = ("_detection_map", "_heatmap")
OF_LESIONS = ("_label", "_lesions")


def score_lesion_masks(
    candidates: Path,
    lesions: Path,
    *,
    threshold: float | None = None,
    least_overlap: float = LEAST_OVERLAP,
    output: Path | None = None,
) -> tuple[LesionScore, tuple[str, ...]]:
    """Score candidates by the PI-CAI rules.

    Parameters
    ----------
    candidates : Path
        Folder with one volume per scan: detection maps, in which each component has one confidence,
        or heatmaps with a `threshold`. Or a folder of results, with one folder per scan. Names may
        end in `OF_CANDIDATES`.
    lesions : Path
        Folder with masks of the same scans, on the same voxels; 0 is background. Names may end in
        `OF_LESIONS`; may be the same folder as `candidates`.
    threshold : float, optional
        Extracts candidates from a heatmap: components at or above it, with their maximum.
    least_overlap : float
        Minimum intersection over union at which a candidate matches a lesion.
    output : Path, optional
        Folder for summary.json and lesions.tsv.

    Returns
    -------
    tuple
        The score, and notes on scans whose names differ between the two folders.

    Raises
    ------
    SourceError
        If a volume cannot be read, or a map and its mask differ in voxels or position.
    TableError
        If a scan is in only one of the folders.
    """
    maps = _volumes(candidates, OF_CANDIDATES, OF_LESIONS)
    masks = _volumes(lesions, OF_LESIONS, OF_CANDIDATES)
    matched = same_ids(maps, masks)
    notes = (match_note(str(candidates), matched),) if matched else ()
    maps = {matched.get(name, name): path for name, path in maps.items()}
    for here, others, where in ((maps, masks, lesions), (masks, maps, candidates)):
        missing = sorted(set(here) - set(others))
        if missing:
            raise TableError(
                f"{where} lacks {len(missing)} of {len(here)} scans, {listed(missing)}: give a "
                "volume for each, or the same name to both of its volumes"
            )
    if not maps:
        raise TableError(f"{candidates} has no volumes: give a folder of detection maps")
    cases = {
        name: _case(maps[name], masks[name], threshold, least_overlap) for name in sorted(maps)
    }
    score = LesionScore(cases)
    if output is not None:
        facts: dict[str, Any] = {"threshold": threshold, "least_overlap": least_overlap}
        _write(score, output, {**facts, "notes": list(notes)} if notes else facts)
    return score, notes


def _volumes(folder: Path, endings: tuple[str, ...], others: tuple[str, ...]) -> dict[str, str]:
    """Return the volumes of one kind in a folder, by scan name."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder: give a folder with a volume for each scan")
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        volume = path / HEATMAP if (path / HEATMAP).is_file() else path
        name = stem(str(path))
        if path.name.startswith(".") or name.endswith(others):
            continue
        try:
            locate(str(volume))
        except ParafoveaError:
            # a table or page next to the volumes; scans without a volume are reported later
            continue
        name = next((name.removesuffix(end) for end in endings if name.endswith(end)), name)
        if name in found:
            raise SourceError(f"{found[name]} and {volume} are both of {name!r}: keep one of them")
        found[name] = str(volume)
    return found


def _case(candidates: str, lesions: str, threshold: float | None, least: float) -> CaseResult:
    found, truth = open_source(candidates), open_source(lesions)
    _check_same_place(found, truth)
    values, mask = (source.read(source.grid.box) for source in (found, truth))
    if threshold is not None:
        values = detection_map(values, threshold)
    try:
        return score_case(values, mask, least_overlap=least)
    except ParafoveaError as error:
        error.add_note(f"in {candidates} and {lesions}")
        raise


def _check_same_place(found: Source, truth: Source) -> None:
    """Raise `SourceError` if two volumes differ in voxels or position."""
    if found.grid.shape != truth.grid.shape:
        raise SourceError(
            f"{found.path} has {found.grid.shape} voxels (z, y, x), but {truth.path} has "
            f"{truth.grid.shape}: resample one of them to the other"
        )
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(found.grid.shape) - 1)
    here, there = (ScanSpace(s.grid, s.affine).world_of_voxel(corners) for s in (found, truth))
    apart = float(np.linalg.norm(here - there, axis=1).max())
    if apart > 0.5 * min(found.grid.converted("millimeter").spacing):
        raise SourceError(
            f"{found.path} and {truth.path} lie up to {apart:.4g} mm apart: resample one of them "
            "to the other"
        )


def _write(score: LesionScore, output: Path, facts: dict[str, Any]) -> None:
    text = lesion_summary(score, record("evaluate_lesions", **facts))
    with ExitStack() as stack:
        partial = stack.enter_context(replacing(output / "lesions.tsv"))
        lesion_table(score).to_csv(partial, sep="\t", index=False, float_format="%.6g")
        partial = stack.enter_context(replacing(output / "summary.json"))
        partial.write_text(text, encoding="utf-8", newline="\n")
