"""The detections of many scans against their nodules: one FROC for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from parafovea.quality.detection_tables import COORDINATES
from parafovea.quality.detections import DetectionScore, evaluate_detections

_FINDINGS = ["seriesuid", *COORDINATES, "diameter_mm"]


def score_cohort(
    candidates: Mapping[str, pd.DataFrame],
    nodules: Mapping[str, list[dict[str, Any]]],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> DetectionScore | None:
    """Score all scans of a task that have truth, by the rules of LUNA16.

    Parameters
    ----------
    candidates : mapping of str to DataFrame
        coordX, coordY, coordZ, diameter_mm, probability of each scan, by the sample's name: two
        samples may be of one series.
    nodules : mapping of str to list of dict
        Of each scan with truth, possibly none: coordinates (x, y, z) and diameter_mm, as
        quality.json has them.
    bootstrap, seed
        As for `evaluate_detections`.

    Returns
    -------
    DetectionScore or None
        None where no scan has a nodule: then there is no sensitivity.
    """
    rows = [
        [name, *each["coordinates"], each["diameter_mm"]]
        for name, own in nodules.items()
        for each in own
    ]
    if not rows:
        return None
    marks = [candidates[name].assign(seriesuid=name) for name in nodules]
    return evaluate_detections(
        pd.concat(marks, ignore_index=True),
        pd.DataFrame(rows, columns=_FINDINGS),
        series=tuple(nodules),
        bootstrap=bootstrap,
        seed=seed,
    )
