"""What the wheel holds beside the package: the workflow, laid out as in the repository."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Folders of the repository that a run reads; `parafovea.runtime.shipped_files` finds them.
SHIPPED = ("workflow", "scripts", "config", "envs", "profiles", "slurm", "resources")


class ShippedFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the folders to a wheel; an editable installation finds them in the repository."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders before a wheel of a version, "standard" or "editable", is built."""
        if version == "standard":
            build_data["force_include"].update(
                {name: f"parafovea/shipped/{name}" for name in SHIPPED}
            )
