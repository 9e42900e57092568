"""What the numbers were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import psutil
import torch

from parafovea import __version__
from parafovea.runtime.devices import computes_bfloat16, cpu_name


def facts() -> dict[str, Any]:
    """Return processor, cores, memory, load and the versions that matter, for JSON.

    The load is that of the last minute before the run: far above 0, it says that others computed
    too.
    """
    return {
        "cpu": cpu_name(),
        "cores": len(psutil.Process().cpu_affinity()),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load": round(os.getloadavg()[0], 2),
        "bfloat16": computes_bfloat16(torch.device("cpu")),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": importlib.metadata.version("monai"),
        "parafovea": __version__,
    }


def available_gb() -> float:
    """Return the memory that a new process may take without swapping, in 1e9 bytes."""
    return float(psutil.virtual_memory().available) / 1e9
