"""The command that predicts scans without a sample sheet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from parafovea.config import read_settings
from parafovea.errors import ConfigError
from parafovea.terminal import console, errors, readable_errors

app = typer.Typer()

DEFAULT_CONFIG = Path("config/config.yaml")


@app.command()
def predict(
    scan: Annotated[
        str | None, typer.Argument(help="Scan: a file, a folder of slices or of a DICOM series.")
    ] = None,
    task: Annotated[str, typer.Option(help="Task of the config.")] = "nodules",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of the results; with --input-dir of all."),
    ] = None,
    input_dir: Annotated[
        Path | None, typer.Option("--input-dir", help="Folder of scans, instead of one scan.")
    ] = None,
    metadata: Annotated[
        str, typer.Option(help="What the scan does not say itself, as in a sheet: spacing=…")
    ] = "",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Windows in one call of the network.")
    ] = None,
    num_workers: Annotated[int, typer.Option(min=1, help="Scans at a time.")] = 1,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep volumes, features and predictions.")
    ] = False,
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", help="Config file laid over config/config.yaml; repeatable."),
    ] = None,
) -> None:
    """Predict one scan, or all of a folder, without writing a sample sheet."""
    with readable_errors():
        if (scan is None) == (input_dir is None):
            raise ConfigError("give one scan, or --input-dir with a folder of scans")
        settings = read_settings(DEFAULT_CONFIG, *(config or []))
        # loads torch, which takes seconds
        from parafovea.prediction import Summary, project_of, scan_name, scans_in

        if scan is not None:
            place = output or Path("results") / scan_name(scan)
            scans, results = {place.name: scan}, place.parent
        else:
            scans, results = scans_in(Path(str(input_dir))), output or Path("results")
        project = project_of(
            settings,
            scans,
            task=task,
            results=results,
            metadata=metadata,
            batch_size=batch_size,
        )
        done = _run(project, keep=keep, workers=min(num_workers, len(scans)))
        summary = Summary.of(done)
        if scan is None:
            summary.write(results / "summary.json")
    for name, reason in summary.failed.items():
        errors.print(f"[bold red]error[/] {escape(f'{name}: {reason}')}", highlight=False)
    for key, value in asdict(summary).items():
        if key != "failed":
            console.print(f"{key.replace('_', ' '):17s} {value}", highlight=False)
    for each in done:
        if each.error is None:
            page = Path(project.folder(each.scan)) / "report.html"
            console.print(f"The report is {escape(str(page))}", highlight=False)
    if summary.failed:
        raise typer.Exit(1)


def _run(project, *, keep: bool, workers: int):  # type: ignore[no-untyped-def]
    """Return what became of each scan, with a bar on the terminal."""
    from parafovea.prediction import predict_scan, predict_scans

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    done = []
    with Progress(*columns, console=errors) as progress:
        if workers == 1:
            for number, name in enumerate(project.samples, start=1):
                label = f"{name} ({number} of {len(project.samples)})"
                bar = progress.add_task(label, total=1.0)

                def observer(stage: str, share: float, bar=bar, label=label) -> None:  # type: ignore[no-untyped-def]
                    progress.update(bar, completed=share, description=f"{label} {stage}")

                done.append(predict_scan(project, name, keep=keep, observer=observer))
                progress.update(bar, completed=1.0, description=label)
        else:
            bar = progress.add_task("scans", total=len(project.samples))
            for result in predict_scans(project, workers=workers, keep=keep):
                done.append(result)
                progress.advance(bar)
    return done
