"""Commands that write finished results for others: a run crate, a STAC catalog, BIDS names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from parafovea.cli.project_options import Configs, Snakefile, project_of_configs, scripts_of
from parafovea.cli.terminal import console, readable_errors
from parafovea.config import Project, config_files

if TYPE_CHECKING:
    from parafovea.planning.staleness import Staleness

app = typer.Typer()

Folder = Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")]


def _finished(config: list[Path] | None, snakefile: Path | None) -> tuple[Project, Staleness]:
    """Return the project of a folder in which nothing is running, and what it compares with."""
    from parafovea.drivers.idle import require_idle
    from parafovea.planning.staleness import Staleness

    project = project_of_configs(config)
    require_idle(project, project.samples)
    return project, Staleness(project, scripts=scripts_of(snakefile))


@app.command()
def crate(
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder, or file ending in .zip, to write. Default: cohort/crate in the results.",
        ),
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the results: SPDX identifier or address.")
    ] = "",
    author: Annotated[str, typer.Option(help="Name of who ran the workflow.")] = "",
    orcid: Annotated[str, typer.Option(help="Their ORCID, as https://orcid.org/….")] = "",
    copy_arrays: Annotated[
        bool,
        typer.Option("--copy-arrays", help="Copy arrays, too, instead of their checksums only."),
    ] = False,
    config: Configs = None,
    snakefile: Snakefile = None,
) -> None:
    """Write a Workflow Run RO-Crate of a finished run: inputs, models, settings, results."""
    from parafovea.sharing.run_crate import Statement, write_crate
    from parafovea.storage.layout import CRATE

    with readable_errors(output):
        project, staleness = _finished(config, snakefile)
        place = output or Path(project.settings.results, CRATE)
        count = write_crate(
            project,
            staleness,
            place,
            configs=config_files(config or []),
            statement=Statement(licence, author, orcid),
            copy_arrays=copy_arrays,
            linked=output is None,
        )
    console.print(f"{escape(str(place))} describes {count} files and facts.", highlight=False)


@app.command()
def stac(
    output: Folder,
    sample: Annotated[
        list[str] | None,
        typer.Argument(help="Samples in the sheet. Default: all images of the ground."),
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the results: SPDX identifier.")
    ] = "other",
    config: Configs = None,
    snakefile: Snakefile = None,
) -> None:
    """Write a static STAC catalog of finished mosaics and tiles, which points at their files."""
    from parafovea.sharing.stac_catalog import write_catalog

    with readable_errors(output):
        project, staleness = _finished(config, snakefile)
        count = write_catalog(project, staleness, output, samples=sample or (), licence=licence)
    console.print(f"{escape(str(output))} has {count} items.", highlight=False)


@app.command()
def export_bids(
    output: Folder,
    sample: Annotated[
        list[str] | None, typer.Argument(help="Samples in the sheet. Default: all scans.")
    ] = None,
    config: Configs = None,
    snakefile: Snakefile = None,
) -> None:
    """Write the results of scans under the names of BIDS derivatives."""
    from parafovea.sharing.bids_derivatives import write_derivatives

    with readable_errors(output):
        project, staleness = _finished(config, snakefile)
        count = write_derivatives(project, staleness, output, samples=sample or ())
    console.print(f"{escape(str(output))} has {count} scans.", highlight=False)
