"""Stages that generate phantoms: volumes, scans and folders of tiles with exact truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parafovea.chain.cost import PLAIN, Cost, Rates
from parafovea.chain.stage import Output, Stage, Wildcards
from parafovea.storage import layout

if TYPE_CHECKING:
    from parafovea.config.project import Project
    from parafovea.planning.work import Work


def _place(kind: str, part: str) -> str:
    """Return a place for a part of a phantom, with the path of the first output for its kind."""
    return f"{layout.PHANTOMS}/{kind}_seed{{seed}}{part}"


def _volume(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    size = project.phantom(wildcards["kind"])
    return {
        "kind": wildcards["kind"],
        "seed": int(wildcards["seed"]),
        **size.model_dump(mode="json"),
    }


def _landscape(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    values = _volume(project, wildcards)
    values["tiles_of_size"] = values.pop("tiles")
    return values


def _cost(work: Work, _: Rates) -> Cost:
    """Return the cost of holding a dozen arrays of the phantom's size."""
    return Cost(PLAIN + 60 * work.source.size, work.source.size / 2e6)


make_phantom = Stage(
    name="make_phantom",
    package="parafovea_phantoms",
    outputs={
        "volume": Output(_place("{kind}", ".ome.zarr"), folder=True),
        "truth": Output(_place("{kind}", "_truth.ome.zarr"), folder=True),
        "objects": Output(_place("{kind}", "_objects.ome.zarr"), folder=True),
    },
    sized_by="phantom",
    arguments=_volume,
    cost=_cost,
    short=True,
)

make_scan = Stage(
    name="make_scan",
    function="make_phantom",
    package="parafovea_phantoms",
    outputs={
        "volume": Output(_place("{kind,chest|patient}", ".nii.gz")),
        "truth": Output(_place("{kind}", "_truth.nii.gz")),
        "objects": Output(_place("{kind}", "_objects.nii.gz")),
        "regions": Output(_place("{kind}", "_regions.nii.gz")),
        "nodules": Output(_place("{kind}", "_nodules.csv")),
    },
    sized_by="phantom",
    arguments=_volume,
    cost=_cost,
)

make_landscape = Stage(
    name="make_landscape",
    package="parafovea_phantoms",
    outputs={
        "tiles": Output(_place("{kind,landscape|scene}", ""), folder=True),
        "truth": Output(_place("{kind}", "_truth"), folder=True),
        "classes": Output(_place("{kind}", "_classes"), folder=True),
        "radar": Output(_place("{kind}", "_sar"), folder=True),
    },
    sized_by="phantom",
    arguments=_landscape,
    cost=_cost,
)

STAGES = (make_phantom, make_scan, make_landscape)
