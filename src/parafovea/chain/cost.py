"""What a job takes: memory and seconds, and the rates that they follow from."""

from __future__ import annotations

from dataclasses import dataclass

#: Memory of Python with the libraries of a stage, in bytes: without torch, and with it.
PLAIN, TORCH = 500e6, 2500e6


@dataclass(frozen=True, slots=True)
class Cost:
    """What one job takes.

    Parameters
    ----------
    memory : float
        Bytes, at its peak.
    seconds : float
        Of computing; the start of Python and of its libraries is not in it.
    """

    memory: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Rates:
    """How long a model's work takes, in seconds.

    Parameters
    ----------
    features, context : float
        A voxel of the local and of the coarse view.
    network : float
        A voxel of a window.
    """

    features: float
    context: float
    network: float


FREE = Cost(0, 0)
