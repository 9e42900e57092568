"""Config and sample sheet: read, checked against each other and the disk, before any job runs.

Nothing here imports torch or zarr: the workflow parses it for every job.
"""

from parafovea.config.loading import assembled, load_project, read_project, read_settings
from parafovea.config.project import Project
from parafovea.config.schema import Settings, Task
from parafovea.config.sheet import Sample, read_sheet

__all__ = [
    "Project",
    "Sample",
    "Settings",
    "Task",
    "assembled",
    "load_project",
    "read_project",
    "read_settings",
    "read_sheet",
]
