"""Score of the detections of one scan against its nodules."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from parafovea.errors import SourceError, TableError
from parafovea.quality import metrics
from parafovea.quality.detections.froc import froc_curve
from parafovea.quality.detections.matching import Matching, match_candidates
from parafovea.quality.detections.scan_ids import match_note, same_ids
from parafovea.quality.detections.tables import COORDINATES, read_findings
from parafovea.quality.metrics import Value

_LOG = logging.getLogger(__name__)

#: Diameter in millimetres of a place that was not labelled.
_SPOT = 1e-3

#: Decimals of millimetres in the files.
_DIGITS = 4


@dataclass(frozen=True)
class ScanScore:
    """Outcome of the nodules and detections of a scan.

    Parameters
    ----------
    values : mapping of path to float, int or None
        Metrics that need truth; None if undefined, such as the sensitivity of a scan without
        nodules.
    nodules : tuple of dict
        Findings in the order of the truth, JSON-serializable: id (from 0), coordinates (x, y, z in
        mm, LPS), diameter_mm, found, and origin (line of a table, label of a mask).
    hits : tuple of dict
        detection and nodule (ids) and distance_mm between their centres, by nodule.
    false_positives : tuple of int
        Ids of the detections that hit no nodule.
    """

    values: Mapping[metrics.Path, Value]
    nodules: tuple[dict[str, Any], ...]
    hits: tuple[dict[str, Any], ...]
    false_positives: tuple[int, ...]


def scan_findings(path: Path, series: str) -> pd.DataFrame:
    """Return the findings of one scan from a table of many.

    Parameters
    ----------
    path : Path
        Table for `read_findings`. A line with a series and otherwise empty columns means that the
        scan has no findings; a scan that is not in the table has no known truth.
    series : str
        Series of the scan. If the table writes it differently, as 7 for 007 or with the ending of a
        file, the one id with the same meaning is used, and logged.

    Returns
    -------
    DataFrame
        seriesuid, coordX, coordY, coordZ, diameter_mm, line; possibly no row.

    Raises
    ------
    TableError
        If the table cannot be read, does not have the series, or is contradictory about it.
    """
    table = read_findings(path, blank=True)
    own = table[table["seriesuid"] == series]
    if len(own) == 0 and (matched := same_ids([series], table["seriesuid"])):
        _LOG.warning("%s: %s", path, match_note("the scan", matched))
        own = table[table["seriesuid"] == matched[series]]
    if len(own) == 0:
        known = list(dict.fromkeys(table["seriesuid"]))
        some = ", ".join(known[:3]) + (f" and {len(known) - 3} more" if len(known) > 3 else "")
        raise TableError(
            f"{path} does not have the series {series!r} of the scan (it has {some or 'none'}): "
            "set series= to the name in the table in the metadata column of the sample sheet, "
            "or, if the scan has no nodules, add a line with its series and empty columns to the "
            "table"
        )
    empty = own["diameter_mm"].isna()
    if empty.any() and not empty.all():
        raise TableError(
            f"{path}:{own.loc[empty, 'line'].iloc[0]}: the line says that series {series!r} has no "
            f"findings, but line {own.loc[~empty, 'line'].iloc[0]} has one: keep one of the two"
        )
    return own[~empty].reset_index(drop=True)


def check_inside(path: str, findings: pd.DataFrame, inside: np.ndarray[Any, Any]) -> None:
    """Raise `SourceError` if a finding lies outside its scan.

    Parameters
    ----------
    path : str
        Path of the truth, for the message.
    findings : DataFrame
        coordX, coordY, coordZ.
    inside : (n,) bool
        Whether each lies in the scan.
    """
    if inside.all():
        return
    place = ", ".join(f"{v:.1f}" for v in findings.loc[~inside, list(COORDINATES)].iloc[0])
    count = int((~inside).sum())
    raise SourceError(
        f"{path}: {count} of {len(findings)} nodules lie outside the scan, such as the one at "
        f"x, y, z = {place} mm: give positions in the DICOM patient system (LPS; in NIfTI's RAS, x "
        "and y have the opposite sign), and the truth of this scan"
    )


def score_scan(
    candidates: pd.DataFrame,
    findings: pd.DataFrame,
    *,
    known: np.ndarray[Any, Any] | None = None,
) -> ScanScore:
    """Match the detections of a scan to its nodules by the LUNA16 rules.

    Parameters
    ----------
    candidates : DataFrame
        coordX, coordY, coordZ, diameter_mm, probability, in the order of the detection ids.
    findings : DataFrame
        coordX, coordY, coordZ, diameter_mm; possibly no row. Integer columns line and label are
        passed on.
    known : (n,) bool, optional
        Whether the place of each candidate was labelled. One that was not is no false positive.

    Returns
    -------
    ScanScore
        A nodule is found if a detection's distance to its centre is below its radius; further
        detections on the same nodule are ignored. Errors of the diameter (mean absolute and mean
        signed, positive: too large) are those of the detections that hit.
    """
    marks = candidates.assign(seriesuid="scan")
    judged_rows = np.arange(len(marks)) if known is None else np.flatnonzero(known)
    if len(findings) == 0:
        nothing: dict[metrics.Path, Value] = {
            ("nodules",): 0,
            ("found",): 0,
            ("missed",): 0,
            ("false_positives",): len(judged_rows),
            ("precision",): 0.0 if len(judged_rows) else None,
        }
        return ScanScore(nothing, (), (), tuple(map(int, judged_rows)))
    excluded = None
    if len(judged_rows) < len(marks):
        # a finding that does not count, at the place of each such candidate
        excluded = marks.drop(index=marks.index[judged_rows]).assign(diameter_mm=_SPOT)
    matching = match_candidates(
        marks, findings.assign(seriesuid="scan"), excluded=excluded, series=("scan",)
    )
    hits, wrong_rows = matching.hits, matching.false_positives
    used = hits["candidate"].nunique()
    curve = froc_curve(
        hits["probability"].to_numpy(float),
        wrong_rows["probability"].to_numpy(float),
        findings=len(matching.findings),
        scans=1,
    )
    found_size = matching.candidates["diameter_mm"].reindex(hits["candidate"]).to_numpy(float)
    error = found_size - hits["diameter_mm"].to_numpy(float)
    judged = used + len(wrong_rows)
    values: dict[metrics.Path, Value] = {
        ("nodules",): len(findings),
        ("found",): len(hits),
        ("missed",): len(findings) - len(hits),
        ("false_positives",): len(wrong_rows),
        ("sensitivity", metrics.OVERALL): len(hits) / len(findings),
        ("sensitivity", "at_1_false_positive"): float(curve.sensitivity_at([1.0])[0]),
        ("precision",): used / judged if judged else None,
    }
    if len(hits):
        values |= {
            ("centre_distance_mm",): float(hits["distance_mm"].mean()),
            ("diameter_error_mm", metrics.OVERALL): float(abs(error).mean()),
            ("diameter_error_mm", "signed"): float(error.mean()),
        }
    return ScanScore(
        values,
        _nodules(matching),
        tuple(
            {
                "detection": int(row["candidate"]),
                "nodule": int(index),
                "distance_mm": round(float(row["distance_mm"]), _DIGITS),
            }
            for index, row in zip(hits.index, hits.to_dict("records"), strict=True)
        ),
        tuple(int(row) for row in wrong_rows.index),
    )


def _nodules(matching: Matching) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "id": number,
            **{key: int(row[key]) for key in ("line", "label") if key in row},
            "coordinates": [round(float(row[c]), _DIGITS) for c in COORDINATES],
            "diameter_mm": round(float(row["diameter_mm"]), _DIGITS),
            "found": bool(row["hit"]),
        }
        for number, row in enumerate(matching.findings.to_dict("records"))
    )
