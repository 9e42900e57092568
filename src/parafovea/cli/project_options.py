"""Options of commands that read a project: its config files, and the workflow that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parafovea.config import Project, config_files, read_project
from parafovea.runtime.shipped_files import shipped

Configs = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "--configfile",
        help="Config file overriding config/config.yaml, if that exists; may be repeated.",
    ),
]

Snakefile = Annotated[
    Path | None,
    typer.Option("--snakefile", help="Snakefile of another copy of the workflow's repository."),
]


def project_of_configs(configs: list[Path] | None) -> Project:
    """Return the project of the config files that a command was given, checked."""
    return read_project(*config_files(configs or []))


def scripts_of(snakefile: Path | None) -> Path:
    """Return the folder of the workflow's scripts."""
    return shipped("scripts") if snakefile is None else snakefile.parent / "scripts"
