"""The files of a detector's score: its curve as a table and as figures, and a summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from parafovea.quality.detections import DetectionScore
from parafovea.report.canvas import Drawing
from parafovea.report.froc import draw_froc

#: Enough digits to tell probabilities of nine decimals apart.
DIGITS = "%.10g"


def curve_table(score: DetectionScore) -> pd.DataFrame:
    """Return the corners of the curve: false_positives_per_scan, sensitivity, threshold."""
    corners = score.curve.corners()
    return pd.DataFrame(
        {
            "false_positives_per_scan": corners.false_positives,
            "sensitivity": corners.sensitivity,
            "threshold": corners.threshold,
        }
    )


def summary_text(score: DetectionScore, provenance: Mapping[str, Any]) -> str:
    """Return the text of summary.json."""
    record = {**score.summary(), "provenance": dict(provenance)}
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def write_froc(score: DetectionScore, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write froc.tsv, summary.json, froc.svg and froc.png into a folder that is there."""
    draw_froc(score, {folder / f"froc{suffix}": suffix for suffix in (".svg", ".png")})
    table = curve_table(score)
    table.to_csv(folder / "froc.tsv", sep="\t", index=False, float_format=DIGITS)
    text = summary_text(score, provenance)
    (folder / "summary.json").write_text(text, encoding="utf-8", newline="\n")


def froc_drawing(path: Path, task: str, score: DetectionScore) -> Drawing:
    """Return a PNG of the curve with its words."""
    counts = score.matching.counts
    ends = score.score_interval
    spread = (
        "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f} in 95 of 100 draws of scans)"
    )
    caption = (
        f"Sensitivity over false positives per scan of {counts['series']} "
        f"scan{'' if counts['series'] == 1 else 's'} with truth: {counts['hit']} of "
        f"{counts['nodules']} nodules have a detection. A detection counts where it lies nearer "
        "to a nodule's centre than its radius (LUNA16). The dots are the operating points, whose "
        f"mean sensitivity, the CPM, is {score.score:.3f}{spread}."
    )
    return Drawing(path, f"FROC of {task}", caption)
