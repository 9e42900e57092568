"""Whether anything writes results, before a command removes or copies them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from parafovea.config import Project
from parafovea.errors import ConfigError
from parafovea.runtime.runs import at_work
from parafovea.runtime.writers import WAIT, is_held


def require_idle(project: Project, samples: Iterable[str]) -> None:
    """Make sure that nothing writes the results of samples.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    samples : iterable of str
        Names in the sheet.

    Raises
    ------
    ConfigError
        If a command or the workflow does.
    """
    for name in samples:
        folder = project.folder(name)
        if is_held(Path(folder)):
            raise ConfigError(f"parafovea run or predict is writing to {folder}: {WAIT}")
    if at_work() or is_held(Path(project.settings.results)):
        raise ConfigError(f"the workflow is running in this folder: {WAIT}")
