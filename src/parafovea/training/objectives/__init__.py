"""What a model of each kind learns, and by what its checkpoints are chosen."""

from __future__ import annotations

from collections.abc import Sequence

from parafovea.settings.recipe import ModelSpec
from parafovea.training.objectives.detection import DetectionObjective
from parafovea.training.objectives.objective import Objective, Scores
from parafovea.training.objectives.refinement import RefinementObjective
from parafovea.training.objectives.segmentation import SegmentationObjective
from parafovea.training.samples import OpenSample

__all__ = [
    "DetectionObjective",
    "Objective",
    "RefinementObjective",
    "Scores",
    "SegmentationObjective",
    "objective_for",
]


def objective_for(spec: ModelSpec, validation: Sequence[OpenSample]) -> Objective:
    """Return the objective of a model.

    Parameters
    ----------
    spec : ModelSpec
        The model to be.
    validation : sequence of OpenSample
        Samples that choose the best checkpoint.

    Raises
    ------
    SourceError
        If the truth of no validation sample of a detection holds one of its classes.
    """
    if spec.kind == "refinement":
        return RefinementObjective(spec, validation)
    if spec.kind == "detection":
        return DetectionObjective(spec, validation)
    return SegmentationObjective(spec, validation)
