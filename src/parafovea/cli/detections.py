"""Commands that evaluate detections and calibrate their scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from parafovea.cli.terminal import console, finite, print_table, readable_errors
from parafovea.postprocess.detection.calibration import Method

app = typer.Typer()


@app.command()
def evaluate_detections(
    candidates: Annotated[
        Path,
        typer.Argument(
            help="Table with columns seriesuid, coordX, coordY, coordZ (mm, LPS), probability."
        ),
    ],
    annotations: Annotated[
        Path,
        typer.Argument(help="Table with columns seriesuid, coordX, coordY, coordZ, diameter_mm."),
    ],
    excluded: Annotated[
        Path | None, typer.Option(help="Table of excluded findings: neither hits nor misses.")
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(help="List of all scans; default: the scans named in the two tables."),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Number of bootstrap samples of scans; 0 for none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the bootstrap.")] = 0,
    max_candidates: Annotated[
        int, typer.Option(min=0, help="Maximum number of candidates per scan; 0 for all.")
    ] = 100,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the tables and the figure.")
    ] = None,
) -> None:
    """Evaluate candidates against annotations by the rules of LUNA16: FROC, CPM, thresholds."""
    from parafovea.stages.evaluate_detections import score_files

    with readable_errors(output):
        score = score_files(
            candidates,
            annotations,
            excluded=excluded,
            series=series,
            bootstrap=bootstrap,
            seed=seed,
            most=max_candidates or None,
            output=output,
        )
    summary = score.summary()
    rows = [["false positives per scan", "sensitivity", "interval", "threshold"]]
    for point in summary["points"]:
        rows.append(
            [
                f"{point['false_positives_per_scan']:g}",
                f"{point['sensitivity']:.4f}",
                _interval_text(point["lower"], point["upper"]),
                "none" if point["threshold"] is None else f"{point['threshold']:.6g}",
            ]
        )
    ends = summary["cpm_interval"] or (None, None)
    rows.append(["CPM", f"{summary['cpm']:.4f}", _interval_text(*ends), ""])
    print_table(rows)
    for name, count in summary["counts"].items():
        console.print(f"{name.replace('_', ' '):20s} {count}", highlight=False)
    for text in score.matching.warnings:
        console.print(f"[yellow]warning[/] {escape(text)}", highlight=False)
    for text in score.matching.notes:
        console.print(f"[yellow]note[/] {escape(text)}", highlight=False)
    if series is None:
        note = (
            "scans without annotations and candidates are not counted: list all scans with --series"
        )
        console.print(f"[yellow]note[/] {note}", highlight=False)
    left_out = (summary["bootstrap"] or {}).get("without_findings")
    if left_out:
        console.print(
            f"[yellow]note[/] {left_out} bootstrap samples without a nodule are excluded from the "
            "intervals",
            highlight=False,
        )
    if output is not None:
        console.print(f"Tables and figure are in {escape(str(output))}.", highlight=False)


@app.command()
def evaluate_lesions(
    candidates: Annotated[
        Path,
        typer.Argument(help="Folder of detection maps or heatmaps, or of results, a scan each."),
    ],
    lesions: Annotated[Path, typer.Argument(help="Folder of masks of the same scans.")],
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, callback=finite, help="Makes candidates of heatmaps: components at or above it."
        ),
    ] = None,
    min_overlap: Annotated[
        float,
        typer.Option(
            min=0, max=1, callback=finite, help="Intersection over union that finds a lesion."
        ),
    ] = 0.1,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the summary and the table.")
    ] = None,
) -> None:
    """Evaluate masks of candidates against masks of lesions by the rules of PI-CAI: AP, AUROC."""
    from parafovea.stages.evaluate_lesions import score_lesion_masks

    with readable_errors(output):
        score, notes = score_lesion_masks(
            candidates, lesions, threshold=threshold, least_overlap=min_overlap, output=output
        )
    summary = score.summary()
    for name in ("score", "average_precision", "auroc"):
        value = "not defined" if summary[name] is None else f"{summary[name]:.4f}"
        console.print(f"{name.replace('_', ' '):20s} {value}", highlight=False)
    for name, count in summary["counts"].items():
        console.print(f"{name.replace('_', ' '):20s} {count}", highlight=False)
    for text in notes:
        console.print(f"[yellow]note[/] {escape(text)}", highlight=False)
    if output is not None:
        console.print(f"Summary and table are in {escape(str(output))}.", highlight=False)


@app.command()
def calibrate(
    scored: Annotated[
        Path, typer.Argument(help="Table with columns probability, in [0, 1], and label, 0 or 1.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file to write.")],
    method: Annotated[Method, typer.Option(help="Calibration method.")] = "platt",
    model: Annotated[
        Path | None, typer.Option(help="Folder of the model that produced the scores.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Reliability plot to write: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Fit a calibration of scores to labels, for the triage of candidates."""
    # imports scipy
    from parafovea.postprocess.detection.calibration_fit import FEWEST_ISOTONIC
    from parafovea.quality.detections.reliability import FOLDS
    from parafovea.stages.calibrate_scores import calibrate_file

    with readable_errors(output):
        calibration = calibrate_file(scored, output, method=method, model=model, plot=plot)
    fit = calibration.fit
    columns = (fit.before, fit.after, fit.held_out)
    rows = [["", "before", "after", f"held out ({FOLDS} folds)"]]
    for name, key in (
        (f"calibration error ({fit.bins} bins)", "ece"),
        ("log loss", "log_loss"),
        ("Brier score", "brier"),
    ):
        rows.append([name, *(f"{getattr(each, key):.4f}" for each in columns)])
    print_table(rows)
    notes = []
    if model is None:
        notes.append("the file names no model and applies to any: name the model with --model")
    if method == "isotonic" and fit.candidates < FEWEST_ISOTONIC:
        notes.append(
            f"isotonic regression overfits below {FEWEST_ISOTONIC} candidates: check the held-out "
            "column, or use platt"
        )
    for note in notes:
        console.print(f"[yellow]note[/] {note}", highlight=False)
    console.print(
        f"{escape(str(output))} is fitted to {fit.candidates} candidates, {fit.positives} of them "
        "true.",
        highlight=False,
    )


def _interval_text(low: float | None, high: float | None) -> str:
    return "" if low is None else f"{low:.4f} to {high:.4f}"
