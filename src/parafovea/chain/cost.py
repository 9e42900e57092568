"""Cost of a job, in memory and time, and the rates that it is computed from."""

from __future__ import annotations

from dataclasses import dataclass

#: Memory of Python and a stage's libraries in bytes, without and with torch.
PLAIN, TORCH = 500e6, 2500e6


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one job.

    Parameters
    ----------
    memory : float
        Peak memory in bytes.
    seconds : float
        Computing time, without the start of Python and its libraries.
    """

    memory: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Speed of a model, in seconds per voxel.

    Parameters
    ----------
    features, context : float
        Per voxel of the local and of the context view.
    network : float
        Per voxel of a window.
    """

    features: float
    context: float
    network: float


FREE = Cost(0, 0)
