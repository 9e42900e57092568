"""Config and sample sheet: reading and validation before any job runs.

Imports neither torch nor zarr, since the workflow loads it in every job.
"""

from parafovea.config.loading import (
    assembled,
    config_files,
    load_project,
    read_project,
    read_settings,
)
from parafovea.config.project import Project
from parafovea.config.schema import Settings, Task
from parafovea.config.sheet import Sample, read_sheet

__all__ = [
    "Project",
    "Sample",
    "Settings",
    "Task",
    "assembled",
    "config_files",
    "load_project",
    "read_project",
    "read_settings",
    "read_sheet",
]
