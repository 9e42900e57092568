"""Fits a calibration to a table of scores and labels, and writes it with a reliability plot."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path

from parafovea.errors import CalibrationError, StoreError
from parafovea.models.model_json import read_spec
from parafovea.postprocess.detection.calibration import Calibration, Method, Owner, calibration_text
from parafovea.quality.detections.reliability import calibrate
from parafovea.quality.detections.tables import read_scores
from parafovea.runtime.shipped_files import publication_style
from parafovea.storage.store import replacing

PLOTS = (".png", ".svg", ".pdf")


def calibrate_file(
    scored: Path,
    output: Path,
    *,
    method: Method,
    model: Path | None = None,
    plot: Path | None = None,
) -> Calibration:
    """Fit a calibration to scored candidates.

    Parameters
    ----------
    scored : Path
        Table with the columns probability and label, as `read_scores` reads it.
    output : Path
        JSON file to write.
    method : str
        temperature, platt or isotonic.
    model : Path, optional
        Folder of the model that produced the scores; its hash is stored in the file.
    plot : Path, optional
        PNG, SVG or PDF file with the reliability before and after.

    Returns
    -------
    Calibration
        The calibration written.

    Raises
    ------
    TableError, ModelError, CalibrationError
        If the table or the model cannot be read, or the calibration cannot be fitted.
    StoreError
        If a file cannot be written.
    """
    if plot is not None and plot.suffix not in PLOTS:
        raise CalibrationError(f"{plot} must end in one of {', '.join(PLOTS)}: rename the plot")
    table = read_scores(scored)
    owner = None
    if model is not None:
        spec = read_spec(model)
        owner = Owner(name=spec.name, weights_sha256=spec.weights_sha256)
    scores, labels = table["probability"].to_numpy(float), table["label"].to_numpy(int)
    try:
        calibration = calibrate(
            scores,
            labels,
            method=method,
            model=owner,
            source=scored.name,
            source_sha256=hashlib.sha256(scored.read_bytes()).hexdigest(),
        )
    except CalibrationError as error:
        error.add_note(f"in {scored}")
        raise
    try:
        with ExitStack() as stack:
            if plot is not None:
                # loads matplotlib, which takes a second
                from parafovea.report.detections.reliability_plot import draw_reliability

                drawn = stack.enter_context(replacing(plot))
                style = Path(publication_style())
                draw_reliability(calibration, scores, labels, {drawn: plot.suffix}, style=style)
            partial = stack.enter_context(replacing(output))
            partial.write_text(calibration_text(calibration), encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{error.filename or output} cannot be written ({error.strerror or error}): check the "
            "permissions of its folder and the disk space"
        ) from error
    return calibration
