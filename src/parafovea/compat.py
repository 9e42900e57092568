"""The names of the lung nodule inference guide, each a call of this package's own functions.

For scripts that were written by that guide: change their imports to ``from parafovea.compat
import ...``. New code is better off with the names of `parafovea` itself; docs/guide_names.md lists
which does what. Each name is imported when it is first used.

Arrays have the axes z, y, x, as everywhere in this package, and so have `spacing`, `patch_size` and
`stride`. Coordinates are x, y, z in millimetres, as in the files. An array of `load_scan` knows its
place, so that coordinates are those of the patient (LPS). Any other array has none: its coordinates
are millimetres from the centre of its first voxel.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parafovea.drivers.ray.distributed import distributed_inference
    from parafovea.guide.candidate_steps import (
        calibrate_scores,
        detect_peaks,
        extract_properties,
        non_maximum_suppression,
    )
    from parafovea.guide.detection_list import DetectionList, load_detections
    from parafovea.guide.figures import (
        generate_report,
        plot_confidence_distribution,
        render_3d_volume,
        visualize_detections,
    )
    from parafovea.guide.pipeline import InferencePipeline, batch_inference
    from parafovea.guide.placed_scans import load_scan
    from parafovea.guide.torch_windows import sliding_window_inference
    from parafovea.guide.torchscript import optimize_model

__all__ = [
    "DetectionList",
    "InferencePipeline",
    "batch_inference",
    "calibrate_scores",
    "detect_peaks",
    "distributed_inference",
    "extract_properties",
    "generate_report",
    "load_detections",
    "load_scan",
    "non_maximum_suppression",
    "optimize_model",
    "plot_confidence_distribution",
    "render_3d_volume",
    "sliding_window_inference",
    "visualize_detections",
]

_MODULES = {
    "DetectionList": "guide.detection_list",
    "InferencePipeline": "guide.pipeline",
    "batch_inference": "guide.pipeline",
    "calibrate_scores": "guide.candidate_steps",
    "detect_peaks": "guide.candidate_steps",
    "distributed_inference": "drivers.ray.distributed",
    "extract_properties": "guide.candidate_steps",
    "generate_report": "guide.figures",
    "load_detections": "guide.detection_list",
    "load_scan": "guide.placed_scans",
    "non_maximum_suppression": "guide.candidate_steps",
    "optimize_model": "guide.torchscript",
    "plot_confidence_distribution": "guide.figures",
    "render_3d_volume": "guide.figures",
    "sliding_window_inference": "guide.torch_windows",
    "visualize_detections": "guide.figures",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"parafovea.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names, those not imported yet included."""
    return sorted(__all__)
