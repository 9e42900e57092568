"""The stage that writes results as DICOM objects, of the kinds that find something in a scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parafovea.chain.cost import PLAIN, Cost, Rates
from parafovea.chain.stage import Output, Paths, Stage, Wildcards, filled, reads_source
from parafovea.chain.volume_stages import PREDICTION, VOLUME, source_waits
from parafovea.storage import layout
from parafovea.storage.blocks import SLAB_PLANES

if TYPE_CHECKING:
    from parafovea.chain.division import Division
    from parafovea.config.project import Project
    from parafovea.planning.work import Work

#: Bytes of a voxel of a plane with a segment: its number, and the bits of a frame.
LABELLED = 8


def _if_made(place: str, name: str, project: Project, wildcards: Wildcards) -> Paths:
    """Return the path of a result if samples of this kind have it."""
    made = name in project.result_names(wildcards["sample"])
    return filled(place, project, wildcards) if made else None


def _detections(project: Project, wildcards: Wildcards) -> Paths:
    place = layout.in_sample(layout.DETECTIONS)
    return _if_made(place, layout.DETECTIONS, project, wildcards)


def _body(project: Project, wildcards: Wildcards) -> Paths:
    """Return the volume with the body, by which detections are filtered."""
    return _if_made(VOLUME, layout.DETECTIONS, project, wildcards)


def _classes(project: Project, wildcards: Wildcards) -> Paths:
    return _if_made(layout.in_sample(layout.CLASSES), layout.CLASSES, project, wildcards)


def _exporting(project: Project, wildcards: Wildcards) -> dict[str, Any]:
    sample = wildcards["sample"]
    return {
        "source": project.source(sample),
        "metadata": project.samples[sample].metadata,
        "channels": list(project.recipe(sample).volume_channels),
        "settings": project.division(sample).settings.get("detection"),
        "confidence": project.confidence_file(sample),
    }


def _waits(project: Project, wildcards: Wildcards) -> list[str]:
    confidence = project.confidence_file(wildcards["sample"])
    return [*source_waits(project, wildcards), *([confidence] if confidence else [])]


def _jobs(division: Division) -> Sequence[Wildcards]:
    """Return the wildcards of one job if the task writes DICOM objects."""
    return [{}] if division.dicom_output else []


def _cost(work: Work, _: Rates) -> Cost:
    """Return the cost of finding regions slab by slab, and of holding the planes that have some."""
    page = math.prod(work.source.shape[1:])
    memory = 40 * SLAB_PLANES * page + LABELLED * work.source.size
    return Cost(PLAIN + memory, 20 + work.source.size / 3e6)


export_dicom = Stage(
    name="export_dicom",
    step="postprocess",
    inputs={
        "prediction": PREDICTION,
        "detections": _detections,
        "volume": _body,
        "classes": _classes,
    },
    waits=_waits,
    outputs={
        "segmentation": Output(layout.in_sample(layout.SEGMENTATION_OBJECT)),
        "measurements": Output(layout.in_sample(layout.MEASUREMENT_REPORT)),
    },
    arguments=_exporting,
    reads=reads_source,
    jobs=_jobs,
    extra="pacs",
    cost=_cost,
)
