"""What training asks of the truth of a sample, and the windows that it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box, Grid
from parafovea.inference.sample_inputs import RegionInputs

#: Voxels of each class that windows can be centred on, drawn once per sample.
ANCHORS = 4096


@dataclass(frozen=True)
class TrainingWindow:
    """One window to learn from.

    Parameters
    ----------
    box : Box
        Its voxels on the local grid of its sample.
    region : RegionInputs
        What the network needs for it.
    target : ndarray
        (z, y, x) or (channel, z, y, x), what the truth of the kind holds there.
    sample : int
        Which sample it is from.
    places : ndarray, optional
        (z, y, x, 3), fractional local voxels inside the volume that the window is taken from;
        without them, the voxels of `box`.
    """

    box: Box
    region: RegionInputs
    target: NDArray[Any]
    sample: int
    places: NDArray[np.float64] | None = None


class Anchors(NamedTuple):
    """Voxels that windows can be centred on.

    Parameters
    ----------
    name : str
        What is there, such as a class.
    voxels : ndarray
        (n, 3) int64, along z, y, x.
    """

    name: str
    voxels: NDArray[np.int64]


class TrainingTruth(Protocol):
    """The truth of a sample on its local grid.

    Attributes
    ----------
    grid : Grid
        The local grid.
    """

    grid: Grid

    def target(self, box: Box, region: RegionInputs) -> NDArray[Any]:
        """Return what a window should become, mirrored where it reaches outside of the volume.

        Parameters
        ----------
        box : Box
            Voxels of the window.
        region : RegionInputs
            What the network is given for it.
        """

    def warped_target(self, places: NDArray[np.float64]) -> NDArray[Any]:
        """Return what a window should become that is taken from places (z, y, x, 3) inside."""

    def anchors(self, rng: np.random.Generator) -> list[Anchors]:
        """Return the anchors of all that is not foreground, then of each foreground class.

        All voxels, or an even draw of about `ANCHORS`. Empty where every place is worth learning
        from.
        """
