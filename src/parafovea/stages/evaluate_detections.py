"""Scoring of a table of candidates against a table of findings, with result files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from parafovea.errors import StoreError, TableError
from parafovea.quality.detections.detector_score import (
    DetectionScore,
    evaluate_detections,
)
from parafovea.quality.detections.matching import MOST_CANDIDATES
from parafovea.quality.detections.tables import (
    COORDINATES,
    read_candidates,
    read_findings,
    read_series,
)
from parafovea.runtime.shipped_files import publication_style
from parafovea.storage.provenance import record
from parafovea.storage.store import replacing

_FINDING = ("seriesuid", *COORDINATES, "diameter_mm", "hit", "marks")
_CANDIDATE = ("line", "seriesuid", *COORDINATES, "probability", "outcome")


def score_files(
    candidates: Path,
    annotations: Path,
    *,
    excluded: Path | None = None,
    series: Path | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    most: int | None = MOST_CANDIDATES,
    output: Path | None = None,
) -> DetectionScore:
    """Score candidates by the LUNA16 rules.

    Parameters
    ----------
    candidates, annotations : Path
        Tables in the format of `parafovea.quality.detections.tables`.
    excluded : Path, optional
        Findings that count neither way; a diameter of -1 means unknown.
    series : Path, optional
        All evaluated scans; by default those in the two tables.
    bootstrap, seed, most
        As for `parafovea.quality.detections.detector_score.evaluate_detections`.
    output : Path, optional
        Folder for summary.json, froc.tsv, hits.tsv, candidates.tsv, froc.svg and froc.png. Either
        all of them are written, or none if a table is invalid.

    Returns
    -------
    DetectionScore
        The score, as written.

    Raises
    ------
    TableError
        If a table cannot be read, or the tables do not match.
    StoreError
        If the folder cannot be written to.
    """
    if output is not None and output.exists() and not output.is_dir():
        raise StoreError(f"{output} is a file: give a folder to write to")
    marks, truth = read_candidates(candidates), read_findings(annotations)
    ignored = None if excluded is None else read_findings(excluded, unknown_diameter=True)
    names = None if series is None else read_series(series)
    files = {"candidates": candidates, "annotations": annotations}
    files |= {"excluded": excluded} if excluded else {}
    files |= {"series": series} if series else {}
    try:
        score = evaluate_detections(
            marks,
            truth,
            excluded=ignored,
            series=names,
            bootstrap=bootstrap,
            seed=seed,
            most=most,
        )
    except TableError as error:
        error.add_note("in " + ", ".join(str(path) for path in files.values()))
        raise
    if output is not None:
        facts: dict[str, object] = {
            "files": {
                what: {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
                for what, path in files.items()
            },
            "max_candidates": most,
            "seed": seed,
        }
        if score.matching.notes:
            facts["notes"] = list(score.matching.notes)
        try:
            _write(score, output, facts)
        except OSError as error:
            raise StoreError(
                f"{output} cannot be written to ({error.strerror or error}): check its permissions "
                "and the disk space"
            ) from error
    return score


def _write(score: DetectionScore, output: Path, facts: Mapping[str, object]) -> None:
    # imports matplotlib, which takes a second
    from parafovea.report.detections.froc_plot import DIGITS, curve_table, draw_froc, summary_text

    curve = curve_table(score)
    findings, candidates = score.matching.findings, score.matching.candidates
    lines = candidates["line"].reindex(findings["candidate"]).reset_index(drop=True)
    hits = findings[list(_FINDING)].assign(
        probability=findings["probability"],
        distance_mm=findings["distance_mm"],
        candidate_line=lines.astype("Int64"),
    )
    tables = {"froc": curve, "hits": hits, "candidates": candidates[list(_CANDIDATE)]}
    made = record("evaluate_detections", **facts)
    # all files are written under temporary names before the first is moved into place
    with ExitStack() as stack:
        figures = {
            stack.enter_context(replacing(output / f"froc{suffix}")): suffix
            for suffix in (".svg", ".png")
        }
        draw_froc(score, figures, style=Path(publication_style()))
        for name, table in tables.items():
            partial = stack.enter_context(replacing(output / f"{name}.tsv"))
            table.to_csv(partial, sep="\t", index=False, float_format=DIGITS)
        partial = stack.enter_context(replacing(output / "summary.json"))
        partial.write_text(summary_text(score, made), encoding="utf-8")
