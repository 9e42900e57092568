"""Files and table of a score by the rules of PI-CAI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from parafovea.quality.detections.lesions import RATES, LesionScore


def lesion_table(score: LesionScore) -> pd.DataFrame:
    """Return a row for each lesion and false positive: scan, is_lesion, confidence, overlap."""
    rows = [
        [name, each.is_lesion, each.confidence, each.overlap]
        for name, case in score.cases.items()
        for each in case.lesions
    ]
    return pd.DataFrame(rows, columns=["scan", "is_lesion", "confidence", "overlap"])


def lesion_summary(score: LesionScore, provenance: Mapping[str, Any]) -> str:
    """Return the text of summary.json."""
    return json.dumps({**score.summary(), "provenance": dict(provenance)}, indent=2) + "\n"


def write_lesions(score: LesionScore, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write lesions.tsv and summary.json into an existing folder."""
    table = lesion_table(score)
    table.to_csv(folder / "lesions.tsv", sep="\t", index=False, float_format="%.6g")
    text = lesion_summary(score, provenance)
    (folder / "summary.json").write_text(text, encoding="utf-8", newline="\n")


def lesion_rows(score: LesionScore) -> tuple[tuple[str, str], ...]:
    """Return names and values of a score for a page; undefined values are said."""
    numbers = {
        "score": score.score,
        "AP": score.average_precision,
        "auroc": score.auroc,
        **{
            f"sensitivity at {rate:g} false positives per scan": score.sensitivity_at(rate)
            for rate in RATES
        },
    }
    named = [(k, "undefined" if v is None else f"{v:.3f}") for k, v in numbers.items()]
    return (*named, *((name.replace("_", " "), str(n)) for name, n in score.counts.items()))
