"""The command `parafovea init`: a project folder of the user's own, apart from any repository."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from parafovea.cli.terminal import console, readable_errors
from parafovea.errors import ConfigError
from parafovea.runtime.shipped_files import shipped
from parafovea.storage.store import replacing

app = typer.Typer()

#: What is copied from the repository.
COPIED = (
    "config/config.yaml",
    "config/config.schema.json",
    "config/README.md",
    "config/publication.mplstyle",
    "profiles/default/config.yaml",
    "slurm/profile.yaml",
)

#: Lines of the config that belong to the repository alone.
_OWN = "measured:"

SNAKEFILE = '''\
"""The workflow of the installed parafovea, on the config and the sheet of this folder."""

import parafovea


configfile: "config/config.yaml"


module parafovea_workflow:
    snakefile:
        parafovea.snakefile()
    config:
        config


use rule * from parafovea_workflow
'''

#: Name of the example in the sheet, a phantom of the workflow.
_EXAMPLE = "results/phantoms/cell_seed101"

SHEET = f"""\
sample\ttask\tsource\ttruth\tmetadata
# An example, a phantom that the workflow makes; config/README.md explains the columns.
cell_101\tcell\t{_EXAMPLE}.ome.zarr\t{_EXAMPLE}_truth.ome.zarr\tobjects={_EXAMPLE}_objects.ome.zarr
"""

IGNORED = """\
/results/
/.snakemake/
.snakemake_timestamp
"""


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Folder to make, or an empty one.")]) -> None:
    """Make a project folder: config, sample sheet, profiles, and a Snakefile that uses them."""
    with readable_errors(folder):
        make_project(folder)
    console.print(
        f"{escape(str(folder))} is ready: add your samples to config/samples.tsv, then run "
        f"snakemake --cores 2 in it.",
        highlight=False,
    )


def make_project(folder: Path) -> None:
    """Write the files of a new project.

    Parameters
    ----------
    folder : Path
        Folder that does not exist yet, or is empty.

    Raises
    ------
    ConfigError
        If it is a file, or has files in it.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: give the folder of a new project")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: give the folder of a new project")
    if folder.is_dir():
        _fill(folder)
        return
    with replacing(folder) as partial:
        _fill(partial)


def _fill(folder: Path) -> None:
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped(name), folder / name)
    config = folder / COPIED[0]
    lines = config.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(_OWN)]
    config.write_text("".join(kept), encoding="utf-8")
    (folder / "config/samples.tsv").write_text(SHEET, encoding="utf-8")
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
