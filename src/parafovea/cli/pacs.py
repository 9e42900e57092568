"""The commands `parafovea pacs …`: series from picture archives, and results back to them."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from parafovea.cli.project_options import Configs
from parafovea.cli.service_options import (
    Devices,
    KeepGigabytes,
    KeepHours,
    Spooled,
    Workers,
    service_settings,
)
from parafovea.cli.terminal import console, errors, print_table, readable_errors
from parafovea.config import Settings, config_files, read_settings
from parafovea.errors import ConfigError, ParafoveaError, SourceError, describe
from parafovea.runtime.library_logs import quiet_libraries
from parafovea.runtime.writers import writing

if TYPE_CHECKING:
    from parafovea.drivers.predict_scans import ScanResult
    from parafovea.pacs.archive import Archive
    from parafovea.pacs.retrieved_series import SeriesEntry

app = typer.Typer(no_args_is_help=True, help="Receive scans from picture archives, store results.")

From = Annotated[
    str | None, typer.Option("--from", help="Peer of the config; default: the only one.")
]

#: Bytes of the disk that a retrieval leaves free.
MIN_FREE = 2**30


@app.command()
def listen(
    workers: Workers = None,
    device: Devices = None,
    spool: Spooled = None,
    keep_hours: KeepHours = None,
    keep_gb: KeepGigabytes = None,
    config: Configs = None,
) -> None:
    """Receive series by C-STORE, predict each when it is complete, and store the results.

    Who may send, and where results go, stands in the config under `pacs`.
    """
    with readable_errors():
        _log_own_words()
        from parafovea.pacs.listening import Listening

        service = service_settings(
            workers=workers,
            device=device,
            spool=spool,
            keep_hours=keep_hours,
            keep_gb=keep_gb,
            config=config,
        )
        settings = read_settings(*config_files(list(service.config)))
        with contextlib.closing(Listening(settings, service)) as listening:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, listening.stop)
            pacs = settings.pacs
            console.print(
                f"Listening as {escape(pacs.ae_title)} at {escape(pacs.host)}:{pacs.port}",
                highlight=False,
            )
            listening.run()


def _log_own_words() -> None:
    """Log what the receiver and the workers say; libraries may quote what peers send."""
    quiet_libraries()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
    for name in ("parafovea.pacs", "parafovea.service"):
        log = logging.getLogger(name)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())


@app.command()
def status(
    spool: Spooled = None,
    most: Annotated[int, typer.Option(min=1, help="Most series to list, the newest.")] = 50,
) -> None:
    """List received series: their jobs, whether their results are stored, and if not, why."""
    with readable_errors():
        from parafovea.pacs.listening import ledger_path
        from parafovea.pacs.series_ledger import SeriesLedger
        from parafovea.service.service_settings import ServiceSettings
        from parafovea.service.spool import Spool

        place = spool or ServiceSettings.from_environment().spool
        path = ledger_path(Spool(place)) if place.is_dir() else None
        if path is None or not path.is_file():
            raise ConfigError(f"{place} is not the folder of parafovea pacs listen: give --spool")
        with SeriesLedger(path) as ledger:
            records = ledger.records(most=most)
    rows = [["received", "from", "to", "series", "objects", "state", "reason"]]
    for each in records:
        received = datetime.fromtimestamp(each.received).strftime("%Y-%m-%d %H:%M:%S")
        count, reason = str(len(each.instances)), each.error if each.state != "stored" else None
        rows.append(
            [received, each.peer, each.target, each.series, count, each.state, reason or ""]
        )
    print_table(rows)


@app.command()
def echo(
    peer: Annotated[str | None, typer.Argument(help="Peer of the config; default: all.")] = None,
    config: Configs = None,
) -> None:
    """Ask peers whether they are there, by C-ECHO, or over DICOMweb."""
    with readable_errors():
        from parafovea.pacs.archives import source_archive

        settings = _with_peers(read_settings(*config_files(config or [])))
        failed = False
        for name in [peer] if peer else settings.pacs.peers:
            found = settings.pacs.peers.get(name)
            if found is not None and found.port is None and found.dicomweb is None:
                console.print(f"{escape(name)} only sends", highlight=False)
                continue
            try:
                with contextlib.closing(source_archive(settings.pacs, name)) as archive:
                    archive.echo()
            except ConfigError:
                raise
            except ParafoveaError as error:
                failed = True
                _print_error(describe(error))
            else:
                console.print(f"{escape(name)} answers", highlight=False)
    if failed:
        raise typer.Exit(1)


def _with_peers(settings: Settings) -> Settings:
    if not settings.pacs.peers:
        raise ConfigError("the config names no peers: add them under pacs.peers")
    return settings


@app.command()
def pull(
    study: Annotated[str, typer.Argument(help="StudyInstanceUID.")],
    peer: From = None,
    series: Annotated[
        str | None, typer.Option(help="SeriesInstanceUID; default: all of pacs.modalities.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task; default: pacs.task.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Results folder; each series has one in it.")
    ] = Path("results"),
    store: Annotated[
        bool, typer.Option("--store", help="Store the results in the archive, or in pacs.store_to.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the slices, volumes, features and predictions.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:1; default: a GPU if available.")
    ] = None,
    config: Configs = None,
) -> None:
    """Retrieve the series of a study, predict them, and store the results if asked to."""
    with readable_errors(output):
        from parafovea.pacs.archives import source_archive, target_archive
        from parafovea.pacs.pulling import chosen_series, require_uid

        settings = _with_peers(read_settings(*config_files(config or [])))
        pacs = settings.pacs
        name = peer or _only_peer(settings)
        require_uid(study, "the study")
        only = None if series is None else require_uid(series, "--series")
        with contextlib.ExitStack() as held:
            archive = held.enter_context(contextlib.closing(source_archive(pacs, name)))
            target = None
            if store:
                # an address that is missing is found before hours of work
                found = target_archive(pacs, pacs.target(name))
                target = held.enter_context(contextlib.closing(found))
            entries = chosen_series(archive, study, only=only, settings=pacs)
            output.mkdir(parents=True, exist_ok=True)
            held.enter_context(writing(output))
            slices = held.enter_context(_slices_folder(output, keep=keep))
            scans = _retrieved(settings, archive, study, entries, slices, alone=only is not None)
            done = _predicted(
                settings, scans, task=task or pacs.task, output=output, keep=keep, device=device
            )
            failed = False
            for each in done:
                if each.error is not None:
                    failed = True
                    _print_error(f"series {each.scan}: {each.error}")
                    continue
                folder = output / each.scan
                console.print(f"series {each.scan}: {each.found} found", highlight=False)
                page = escape(str(folder / "report.html"))
                console.print(f"The report is {page}", highlight=False)
                if target is not None:
                    failed |= not _stored(folder, target, pacs.target(name))
    if failed:
        raise typer.Exit(1)


def _print_error(text: str) -> None:
    errors.print(f"[bold red]error[/] {escape(text)}", highlight=False)


def _only_peer(settings: Settings) -> str:
    able = [name for name, p in settings.pacs.peers.items() if p.port or p.dicomweb]
    if len(able) != 1:
        raise ConfigError(f"choose a peer with --from: {', '.join(able) or 'none can be asked'}")
    return able[0]


@contextlib.contextmanager
def _slices_folder(output: Path, *, keep: bool) -> Iterator[Path]:
    """Yield a folder for slices, which is removed at the end unless they are kept."""
    if keep:
        folder = output / "slices"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix=".slices-", dir=output) as name:
            yield Path(name)


def _retrieved(
    settings: Settings,
    archive: Archive,
    study: str,
    entries: list[SeriesEntry],
    folder: Path,
    *,
    alone: bool,
) -> dict[str, str]:
    """Return the folder of the slices of each series, with a progress bar.

    Of several series, those that cannot be taken are left out with a note, such as overview images.
    """
    from parafovea.pacs.pulling import retrieve_series

    scans = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
    ) as progress:
        for entry in entries:
            bar = progress.add_task(entry.series, total=entry.instances)

            def show(entry: SeriesEntry, count: int, bar: TaskID = bar) -> None:
                progress.update(bar, completed=count)

            try:
                place = retrieve_series(
                    archive,
                    study,
                    entry,
                    folder / entry.series,
                    settings=settings.pacs,
                    min_free=MIN_FREE,
                    progress=show,
                )
            except SourceError as error:
                if alone:
                    raise
                errors.print(f"[yellow]left out[/] {escape(describe(error))}", highlight=False)
                continue
            scans[entry.series] = str(place)
    if not scans:
        raise SourceError(
            f"study {study} has no series that can be predicted: the lines above say why, or "
            "choose one with --series"
        )
    return scans


def _predicted(
    settings: Settings,
    scans: dict[str, str],
    *,
    task: str,
    output: Path,
    keep: bool,
    device: str | None,
) -> list[ScanResult]:
    """Return the outcome of each series, with a progress bar."""
    from parafovea.cli.predict import run_scans
    from parafovea.drivers.predict_scans import ScanResult, project_of
    from parafovea.drivers.predict_tile_folder import on_device

    done = []
    with on_device(device):
        for name, place in scans.items():
            try:
                project = project_of(
                    settings, {name: place}, task=task, results=output, dicom_output=True
                )
            except SourceError as error:
                # the other series go on
                done.append(ScanResult(name, 0.0, None, describe(error)))
            else:
                done += run_scans(project, keep=keep, workers=1)
    return done


def _stored(folder: Path, target: Archive, name: str) -> bool:
    """Store the results of a series, say so, and return whether the archive has them."""
    from parafovea.pacs.result_storing import dicom_results

    objects = dicom_results(folder)
    try:
        for path in objects:
            target.store(path)
    except ParafoveaError as error:
        _print_error(f"{describe(error)}; the results are in {folder}")
        return False
    console.print(f"{len(objects)} results are stored at {escape(name)}", highlight=False)
    return True
