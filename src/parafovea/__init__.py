"""Segmentation, detection and refinement of large volumes and tile sets.

The names below are the public interface; each is imported when it is first used, so that
``import parafovea`` loads neither torch nor zarr. All other modules are internal and may change.

open_source : open a volume of any format as a lazy array on a `Grid`.
open_result : open an array, a table or a JSON file that the workflow wrote.
load_model : read a model folder: its description and its network.
predict : run all stages for one scan or folder of tiles, without a sample sheet.
distributed_inference : run all stages for scans on a Ray cluster.
load_inference_model : predict NumPy arrays with a model folder or a checkpoint.
snakefile : path of the workflow, for a `module` of another Snakemake workflow.
Grid, Box : where voxels are, and a part of their index space.
"""

import importlib
import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parafovea.drivers.prediction import predict
    from parafovea.drivers.ray.distributed import distributed_inference
    from parafovea.formats.opening import open_source
    from parafovea.geometry.grid import Box, Grid
    from parafovea.inference.volume import load_inference_model
    from parafovea.models.folder import load_model
    from parafovea.runtime.shipped_files import snakefile
    from parafovea.storage.result_files import open_result

__all__ = [
    "Box",
    "Grid",
    "__version__",
    "distributed_inference",
    "load_inference_model",
    "load_model",
    "open_result",
    "open_source",
    "predict",
    "snakefile",
]

__version__ = version("parafovea")

# Threads of OpenMP that wait for work keep a core busy otherwise, at the cost of all else that
# runs: `docs/inference.md`, Threads. It counts if torch is not loaded yet.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_MODULES = {
    "Box": "geometry.grid",
    "Grid": "geometry.grid",
    "distributed_inference": "drivers.ray.distributed",
    "load_inference_model": "inference.volume",
    "load_model": "models.folder",
    "open_result": "storage.result_files",
    "open_source": "formats.opening",
    "predict": "drivers.prediction",
    "snakefile": "runtime.shipped_files",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _MODULES:
        from parafovea.runtime.optional_packages import extras_named

        with extras_named():
            return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, those not imported yet included."""
    return sorted(__all__)
