"""Matching of candidates to findings by the rules of LUNA16.

The rules are those of the challenge's script noduleCADEvaluationLUNA16.py and of its page
https://luna16.grand-challenge.org/Evaluation/ (Setio et al., Medical Image Analysis 42, 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from parafovea.errors import TableError
from parafovea.quality.detections.scan_ids import listed, match_note, same_ids
from parafovea.quality.detections.tables import COORDINATES, OUTCOME_LABELS

Array = np.ndarray[Any, Any]

#: Maximum number of candidates per scan in the challenge.
MOST_CANDIDATES = 100

#: Diameter in millimetres of an excluded finding of unknown diameter.
UNKNOWN_DIAMETER = 10.0

#: Outcomes of a candidate.
OUTCOMES = tuple(OUTCOME_LABELS)


@dataclass(frozen=True)
class Matching:
    """Matched candidates and findings of a set of scans.

    Parameters
    ----------
    series : tuple of str
        All scans.
    findings : DataFrame
        In the order of the scans: seriesuid, coordX, coordY, coordZ, diameter_mm, scan (index in
        `series`), hit (bool), marks (candidates on it), and of the most probable of these
        probability, candidate (row of `candidates`) and distance_mm; NaN, -1 and NaN if missed.
    candidates : DataFrame
        As given, with the columns scan and outcome, one of `OUTCOMES`.
    notes : tuple of str
        Ids that were matched although the tables write them differently.
    warnings : tuple of str
        Ids that only one of the tables has.
    """

    series: tuple[str, ...]
    findings: pd.DataFrame
    candidates: pd.DataFrame
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def hits(self) -> pd.DataFrame:
        """Findings that are hit."""
        return self.findings[self.findings["hit"]]

    @property
    def false_positives(self) -> pd.DataFrame:
        """Candidates that hit no finding."""
        return self.candidates[self.candidates["outcome"] == "false positive"]

    @property
    def counts(self) -> dict[str, int]:
        """Counts of scans, findings and outcomes, for a table."""
        outcome = self.candidates["outcome"].value_counts()
        return {
            "series": len(self.series),
            "nodules": len(self.findings),
            "hit": len(self.hits),
            "missed": len(self.findings) - len(self.hits),
            "candidates": len(self.candidates),
            "false_positives": int(outcome.get("false positive", 0)),
            "ignored_on_excluded": int(outcome.get("excluded", 0)),
            "ignored_doubles": int(outcome.get("double", 0)),
            "beyond_limit": int(outcome.get("beyond limit", 0)),
        }


def match_candidates(
    candidates: pd.DataFrame,
    findings: pd.DataFrame,
    *,
    excluded: pd.DataFrame | None = None,
    series: Sequence[str] | None = None,
    most: int | None = MOST_CANDIDATES,
) -> Matching:
    """Match the candidates of each scan to its findings.

    A candidate hits a finding if its distance to the centre is below the radius. Of several
    candidates on a finding the most probable one counts and the others are ignored. A candidate may
    hit several findings. A candidate that hits none but lies on an excluded finding is ignored; all
    others are false positives. In a scan with more than `most` candidates, those with a higher
    probability than the candidate after `most` count, which drops ties at that rank.

    Tables may write the id of a scan differently (7 or 007, with or without a file ending): such
    ids are matched if that is one to one. The ids of `series` are used, or else those of
    `findings`.

    Parameters
    ----------
    candidates : DataFrame
        seriesuid, coordX, coordY, coordZ (mm), probability.
    findings : DataFrame
        seriesuid, coordX, coordY, coordZ, diameter_mm.
    excluded : DataFrame, optional
        As `findings`; a negative diameter means 10 mm. Findings of other scans are ignored.
    series : sequence of str, optional
        All scans; by default those with a finding or a candidate.
    most : int, optional
        Maximum number of candidates per scan; None for all.

    Returns
    -------
    Matching
        Outcome of each candidate and finding.

    Raises
    ------
    TableError
        If there are no findings, if a candidate or a finding is in a scan that is not in `series`,
        or, without `series`, if no candidate is in a scan with a finding.
    """
    if len(findings) == 0:
        raise TableError("there are no findings and no sensitivity: give a table with findings")
    reference = tuple(findings["seriesuid"]) if series is None else tuple(series)
    notes = []
    candidates, note = _as_known(candidates, reference, "the candidates")
    notes += note
    if series is not None:
        findings, note = _as_known(findings, reference, "the findings")
        notes += note
    if excluded is not None:
        excluded, note = _as_known(excluded, reference, "the excluded findings")
        notes += note
    names = _series(candidates, findings, series)
    place = {name: index for index, name in enumerate(names)}
    marks = candidates.reset_index(drop=True)
    marks = marks.assign(scan=marks["seriesuid"].map(place).astype(int))
    truth = findings.assign(scan=findings["seriesuid"].map(place).astype(int))
    truth = truth.sort_values("scan", kind="stable").reset_index(drop=True)
    ignored = findings.iloc[:0] if excluded is None else excluded
    searched = ignored[ignored["seriesuid"].isin(place)]
    tables = (marks, truth, searched.assign(scan=searched["seriesuid"].map(place)))
    of_marks, of_truth, of_ignored = (_by_scan(table["scan"]) for table in tables)
    positions, balls = _positions(marks), _positions(truth)
    spheres, radii, spared = _positions(searched), _radii(truth), _radii(searched)
    probability = marks["probability"].to_numpy(float)
    fate = np.full(len(marks), OUTCOMES.index("false positive"))
    best, distance = np.full(len(truth), -1), np.full(len(truth), np.nan)
    count = np.zeros(len(truth), int)
    for scan, own in of_marks.items():
        kept = _most_probable(probability[own], most)
        fate[own[~kept]] = OUTCOMES.index("beyond limit")
        own = own[kept]
        rows = of_truth.get(scan, _NONE)
        squared = _squared_distances(balls[rows], positions[own])
        inside = squared < radii[rows][:, None] ** 2
        on_finding = inside.any(axis=0)
        fate[own[on_finding]] = OUTCOMES.index("double")
        for row, near, far in zip(rows, inside, squared, strict=True):
            if near.any():
                chosen = np.flatnonzero(near)
                first = chosen[np.argmax(probability[own[chosen]])]
                best[row], distance[row], count[row] = own[first], far[first] ** 0.5, len(chosen)
        rows = of_ignored.get(scan, _NONE)
        on_excluded = _squared_distances(spheres[rows], positions[own]) < spared[rows][:, None] ** 2
        fate[own[on_excluded.any(axis=0) & ~on_finding]] = OUTCOMES.index("excluded")
    hit = best >= 0
    fate[best[hit]] = OUTCOMES.index("hit")
    chosen_probability = np.full(len(truth), np.nan)
    chosen_probability[hit] = probability[best[hit]]
    return Matching(
        names,
        truth.assign(
            hit=hit,
            marks=count,
            probability=chosen_probability,
            candidate=best,
            distance_mm=distance,
        ),
        marks.assign(outcome=np.asarray(OUTCOMES, dtype=object)[fate]),
        notes=tuple(notes),
        warnings=_only_in_one(candidates, findings, searched=series is not None),
    )


_NONE = np.empty(0, int)


def _as_known(
    table: pd.DataFrame, known: Sequence[str], what: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return a table with ids as written in the other table, and a note on the changed ones."""
    matched = same_ids(table["seriesuid"], known)
    if not matched:
        return table, []
    renamed = table.assign(seriesuid=table["seriesuid"].replace(matched))
    return renamed, [match_note(what, matched)]


def _only_in_one(
    candidates: pd.DataFrame, findings: pd.DataFrame, *, searched: bool
) -> tuple[str, ...]:
    """Return a warning about ids of scans that only one table has."""
    marked, true = (dict.fromkeys(t["seriesuid"]) for t in (candidates, findings))
    texts = []
    silent = [name for name in true if name not in marked]
    if silent:
        texts.append(
            f"{len(silent)} of {len(true)} series with findings have no candidate, and all their "
            f"findings count as missed: {listed(silent)}"
        )
    clear = [name for name in marked if name not in true]
    if clear and not searched:
        texts.append(
            f"{len(clear)} of {len(marked)} series with candidates have no finding, and all their "
            f"candidates count as false positives: {listed(clear)}"
        )
    return tuple(texts)


def _series(
    candidates: pd.DataFrame, findings: pd.DataFrame, series: Sequence[str] | None
) -> tuple[str, ...]:
    """Return all scans, or raise `TableError` if a table has others."""
    marked, true = (tuple(dict.fromkeys(t["seriesuid"])) for t in (candidates, findings))
    if series is None:
        if marked and not set(marked) & set(true):
            raise TableError(
                f"no candidate is in a series with a finding: candidates have {marked[0]!r}, "
                f"findings {true[0]!r}: use the same series names in both tables, or give "
                "the list of all series"
            )
        return tuple(dict.fromkeys(true + marked))
    known = set(series)
    for what, table, names in (("candidates", candidates, marked), ("findings", findings, true)):
        unknown = [name for name in names if name not in known]
        if unknown:
            lines = int(table["seriesuid"].isin(unknown).sum())
            where = ""
            if "line" in table:
                where = f" (line {table.loc[table['seriesuid'] == unknown[0], 'line'].iloc[0]})"
            others = f" and {len(unknown) - 1} more series" if len(unknown) > 1 else ""
            raise TableError(
                f"{what} name the series {unknown[0]!r}{where}{others}, which the list of series "
                f"lacks ({lines} lines in all): add it to the list, or spell it as in the list; "
                f"the list has {listed(repr(name) for name in series)}"
            )
    return tuple(series)


def _by_scan(scan: pd.Series[int]) -> dict[int, Array]:
    """Return the rows of each scan, in their order."""
    values = scan.to_numpy(int)
    order = np.argsort(values, kind="stable")
    present, starts = np.unique(values[order], return_index=True)
    return dict(zip(present.tolist(), np.split(order, starts[1:]), strict=False))


def _positions(table: pd.DataFrame) -> Array:
    return table[list(COORDINATES)].to_numpy(float)


def _radii(findings: pd.DataFrame) -> Array:
    size = findings["diameter_mm"].to_numpy(float)
    return np.where(size < 0, UNKNOWN_DIAMETER, size) / 2


def _squared_distances(centres: Array, positions: Array) -> Array:
    """Return (centre, position) squared distances, summed along x, then y, then z."""
    # distances beyond the range of floats become infinite
    with np.errstate(over="ignore"):
        x, y, z = ((centres[:, None, axis] - positions[None, :, axis]) ** 2 for axis in range(3))
        return np.asarray(x + y + z)


def _most_probable(probability: Array, most: int | None) -> Array:
    """Return a mask of the candidates of a scan that count."""
    if most is None or len(probability) <= most:
        return np.ones(len(probability), bool)
    return np.asarray(probability > np.sort(probability)[::-1][most])
