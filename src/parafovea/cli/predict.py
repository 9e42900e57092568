"""The command `parafovea predict`: scans or a folder of tiles, without a sample sheet."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from parafovea.cli.engines import Address, Engine, NumGpus, cluster_bar, ray_options
from parafovea.cli.project_options import Configs
from parafovea.cli.terminal import console, errors, readable_errors
from parafovea.config import Settings, config_files, read_settings
from parafovea.config.sources import is_tile_folder
from parafovea.errors import ConfigError
from parafovea.formats.location import holds_bands
from parafovea.kinds import kind_named
from parafovea.runtime.writers import writing

if TYPE_CHECKING:
    from parafovea.config import Project
    from parafovea.drivers.predict_scans import ScanResult

app = typer.Typer()

#: Maximum number of invalid tiles whose reasons are printed.
SHOWN = 5


@app.command()
def predict(
    scan: Annotated[
        str | None,
        typer.Argument(help="Scan: a file, or a folder of slices, of a DICOM series, or of tiles."),
    ] = None,
    task: Annotated[str, typer.Option(help="Task of the config.")] = "nodules",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Results folder; with --input-dir that of all scans."),
    ] = None,
    input_dir: Annotated[
        Path | None,
        typer.Option("--input-dir", help="Folder of scans or of tiles, instead of one scan."),
    ] = None,
    metadata: Annotated[
        str, typer.Option(help="Metadata missing from the scan, as in a sheet: spacing=…")
    ] = "",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Windows or tiles per forward pass.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:1; default: a GPU if available.")
    ] = None,
    no_amp: Annotated[
        bool, typer.Option("--no-amp", help="Compute in float32 instead of half precision.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Predict finished tiles again.")
    ] = False,
    dicom_output: Annotated[
        bool,
        typer.Option(
            "--dicom-output",
            help="Also write DICOM objects of a DICOM series: segmentation.dcm, measurements.dcm.",
        ),
    ] = False,
    num_workers: Annotated[int, typer.Option(min=1, help="Scans in parallel.")] = 1,
    engine: Engine = "local",
    address: Address = None,
    num_gpus: NumGpus = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep volumes, features and predictions.")
    ] = False,
    config: Configs = None,
    guide_config: Annotated[
        Path | None,
        typer.Option(
            "--guide-config",
            help="Config of the lung nodule inference guide, instead of --config.",
        ),
    ] = None,
) -> None:
    """Predict a scan, all scans of a folder, or a folder of tiles, without a sample sheet."""
    with readable_errors(output or "results"):
        given = scan if input_dir is None else str(input_dir)
        if given is None or (scan is not None and input_dir is not None):
            raise ConfigError("give one scan, or --input-dir with a folder of scans or tiles")
        on_ray = ray_options(engine, address, num_gpus)
        if on_ray is not None and num_workers > 1:
            raise ConfigError("--num-workers is of --engine local: Ray takes what its cluster has")
        if on_ray is not None and device not in (None, "cpu"):
            raise ConfigError(
                f"--device {device} is of this machine: with --engine ray, use --num-gpus"
            )
        if guide_config is None:
            settings = read_settings(*config_files(config or []))
        elif config:
            raise ConfigError("--guide-config replaces --config: give one of them")
        else:
            settings, device = _guide_settings(guide_config, task, device)
        chosen = settings.tasks.get(task)
        images = chosen is not None and kind_named(chosen.kind).images_are_tiles
        tiles = chosen is not None and is_tile_folder(
            given, images=images, results=settings.results
        )
        # loads torch, which takes seconds
        from parafovea.drivers.predict_scans import (
            Summary,
            project_of,
            result_folder,
            scans_in,
            write_summary,
        )
        from parafovea.drivers.predict_tile_folder import MosaicSummary, on_device

        alone = scan is not None or tiles or (images and holds_bands(given))
        if alone:
            place = result_folder(given, output)
            scans, results = {place.name: given}, place.parent
            unfit = []
        else:
            takes_tiles = chosen is None or "tiles" in kind_named(chosen.kind).stages
            found = scans_in(Path(given), tiles=takes_tiles)
            scans, unfit = found.scans, found.failed
            results = output or Path("results")
            if found.left_out:
                text = f"{len(found.left_out)} left out of {given}, which are no scans: "
                errors.print(f"[yellow]warning[/] {escape(text + ', '.join(found.left_out))}")
        if overwrite and not tiles:
            raise ConfigError(f"--overwrite is for tiles, but {given} is not a folder of tiles")
        if dicom_output and tiles:
            raise ConfigError(
                f"--dicom-output is for DICOM series, but {given} holds tiles: leave it out"
            )
        with contextlib.ExitStack() as held:
            held.enter_context(on_device(device))
            cluster = None if on_ray is None else held.enter_context(on_ray.cluster())
            project = project_of(
                settings,
                scans,
                task=task,
                results=results,
                metadata=metadata,
                batch_size=batch_size,
                full_precision=no_amp,
                overwrite=overwrite,
                divided=cluster is not None,
                dicom_output=dicom_output or None,
            )
            held.enter_context(writing(place if alone else results))
            if tiles:
                _predict_tiles(project, place, cluster, num_gpus)
                return
            if cluster is not None:
                done = _run_on_ray(project, cluster, num_gpus, keep=keep)
            else:
                done = run_scans(project, keep=keep, workers=min(num_workers, max(1, len(scans))))
        done += unfit
        counted = kind_named(settings.tasks[task].kind).counted
        summary = Summary.of(done, counted).values()
        if not counted and len(done) == 1:
            # of an image there is nothing to count
            summary = asdict(MosaicSummary.of(done[0], results / done[0].scan))
            if not summary["failed"]:
                write_summary(results / done[0].scan / "summary.json", summary)
        if scan is None:
            write_summary(results / "summary.json", summary)
    for name, reason in summary["failed"].items():
        errors.print(f"[bold red]error[/] {escape(f'{name}: {reason}')}", highlight=False)
    _print_summary(summary)
    for each in done:
        if each.error is None:
            page = Path(project.folder(each.scan)) / "report.html"
            console.print(f"The report is {escape(str(page))}", highlight=False)
    if summary["failed"]:
        raise typer.Exit(1)


def _guide_settings(file: Path, task: str, device: str | None) -> tuple[Settings, str | None]:
    """Return the settings and the device of a config of the guide, and print what it cannot say."""
    from parafovea.config.guide_config import read_guide_config
    from parafovea.runtime.devices import device_or_cpu

    guide = read_guide_config(file, task=task)
    notes = list(guide.notes)
    if device is None and guide.device is not None:
        device = device_or_cpu(guide.device)
        if device != guide.device:
            notes.append(f"device {guide.device} is not available here: computing on the CPU")
    for note in notes:
        errors.print(f"[yellow]note[/] {escape(f'{file}: {note}')}", highlight=False)
    return guide.settings, device


def _print_summary(summary: Mapping[str, Any]) -> None:
    """Print the numbers of a summary."""
    numbers = {key: value for key, value in summary.items() if not _is_list(value)}
    width = max(map(len, numbers)) + 1
    for key, value in numbers.items():
        console.print(f"{key.replace('_', ' '):{width}s} {value}", highlight=False)


def _is_list(value: object) -> bool:
    return isinstance(value, list | dict)


def _predict_tiles(project, folder: Path, cluster, num_gpus: int | None) -> None:  # type: ignore[no-untyped-def]
    """Predict a folder of tiles with a progress bar, and print the summary."""
    from parafovea.drivers.predict_scans import write_summary

    if cluster is None:
        from parafovea.drivers.predict_tile_folder import predict_folder

        with _bars() as progress:
            bar = progress.add_task(folder.name, total=1.0)

            def observer(stage: str, share: float) -> None:
                progress.update(bar, completed=share, description=f"{folder.name} {stage}")

            page, summary = predict_folder(project, folder.name, observer=observer)
            progress.update(bar, completed=1.0, description=folder.name)
    else:
        from parafovea.drivers.ray.scans import predict_folder as predict_on_ray

        with cluster_bar() as show:
            page, summary = predict_on_ray(
                cluster, project, folder.name, num_gpus=num_gpus, progress=show
            )
    write_summary(folder / "summary.json", asdict(summary))
    for text in summary.fallbacks:
        errors.print(f"[yellow]warning[/] {escape(text)}", highlight=False)
    for reason in list(summary.quarantined.values())[:SHOWN]:
        errors.print(f"[yellow]warning[/] {escape(reason)}", highlight=False)
    if summary.num_quarantined > SHOWN:
        listed = folder / "quarantine.tsv"
        errors.print(f"[yellow]warning[/] {escape(str(listed))} lists all of them")
    _print_summary(asdict(summary))
    console.print(f"The tiles are in {escape(str(folder / 'tiles'))}", highlight=False)
    console.print(f"The report is {escape(str(page))}", highlight=False)


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=errors,
    )


def run_scans(project: Project, *, keep: bool, workers: int) -> list[ScanResult]:
    """Return the outcome of each scan, with a progress bar."""
    from parafovea.drivers.predict_scans import predict_scan, predict_scans

    done = []
    with _bars() as progress:
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


def _run_on_ray(project, cluster, num_gpus: int | None, *, keep: bool):  # type: ignore[no-untyped-def]
    """Return the outcome of each scan on a Ray cluster, with a progress bar."""
    from parafovea.drivers.ray.scans import predict_scans

    with cluster_bar() as show:
        return predict_scans(cluster, project, num_gpus=num_gpus, keep=keep, progress=show)
