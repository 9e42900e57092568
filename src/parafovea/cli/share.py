"""Commands that write finished results for others: a run crate, a STAC catalog, BIDS names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from parafovea.cli.terminal import console, readable_errors
from parafovea.config import config_files, read_project
from parafovea.runtime.shipped_files import shipped

app = typer.Typer()

Configs = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "--configfile",
        help="Config file overriding config/config.yaml, if that exists; may be repeated.",
    ),
]


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
    snakefile: Annotated[
        Path | None,
        typer.Option("--snakefile", help="Snakefile of another copy of the workflow's repository."),
    ] = None,
) -> None:
    """Write a Workflow Run RO-Crate of a finished run: inputs, models, settings, results."""
    from parafovea.drivers.idle import require_idle
    from parafovea.planning.staleness import Staleness
    from parafovea.sharing.run_crate import PLACE, Statement, write_crate

    with readable_errors(output):
        files = config_files(config or [])
        project = read_project(*files)
        require_idle(project, project.samples)
        scripts = shipped("scripts") if snakefile is None else snakefile.parent / "scripts"
        place = output or Path(project.settings.results, PLACE)
        count = write_crate(
            project,
            Staleness(project, scripts=scripts),
            place,
            configs=files,
            statement=Statement(licence, author, orcid),
            copy_arrays=copy_arrays,
        )
    console.print(f"{escape(str(place))} describes {count} files and facts.", highlight=False)
