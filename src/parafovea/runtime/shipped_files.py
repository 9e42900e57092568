"""Files of the workflow that come with the package: rules, scripts, profiles, models."""

from __future__ import annotations

import os
from pathlib import Path

#: Where the wheel has them; see hatch_build.py.
_WHEEL = Path(__file__).parents[1] / "shipped"

#: Style of figures for papers, in the folder of a project.
PUBLICATION = "config/publication.mplstyle"

#: The repository, which an editable installation reads.
_REPOSITORY = Path(__file__).parents[3]


def shipped(name: str) -> Path:
    """Return where a file or folder of the workflow lies, whatever folder this runs in.

    Parameters
    ----------
    name : str
        Path in the repository, such as "workflow/Snakefile" or "resources/models".

    Returns
    -------
    Path
        In the installed package, or in the repository of an editable installation.
    """
    return (_WHEEL if _WHEEL.is_dir() else _REPOSITORY) / name


def publication_style() -> str:
    """Return the style file of figures for papers: that of this folder, else the shipped one."""
    return PUBLICATION if Path(PUBLICATION).is_file() else str(shipped(PUBLICATION))


def announce_source() -> None:
    """Tell the programs that this process starts where the package can be installed from.

    Sets `PARAFOVEA_SOURCE`, which envs/parafovea.post-deploy.sh reads, to the repository that this
    package is read from. Of an installed wheel there is none, and nothing is set.
    """
    if (_REPOSITORY / "pyproject.toml").is_file():
        os.environ["PARAFOVEA_SOURCE"] = str(_REPOSITORY)


def snakefile() -> str:
    """Return the path of the workflow's Snakefile, for a `module` of another workflow.

    Returns
    -------
    str
        Absolute path, in the installed package or in the repository.
    """
    return str(shipped("workflow/Snakefile"))
