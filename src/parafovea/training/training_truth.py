"""Interface of the truth of a training sample, and the windows and anchors made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box, Grid
from parafovea.inference.sample_inputs import RegionInputs

#: Maximum number of anchors of each class, drawn once per sample.
ANCHORS = 4096


@dataclass(frozen=True)
class TrainingWindow:
    """A training window.

    Parameters
    ----------
    box : Box
        Its voxels on the sample's local grid.
    region : RegionInputs
        The network's inputs.
    target : ndarray
        (z, y, x) or (channel, z, y, x), target in the truth's format.
    sample : int
        Index of its sample.
    places : ndarray, optional
        (z, y, x, 3), fractional local voxels inside the volume at which the window is sampled; by
        default the voxels of `box`.
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
        Name of the voxels' content, such as a class.
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
        """Return the target of a window, mirrored where it extends beyond the volume.

        Parameters
        ----------
        box : Box
            Voxels of the window.
        region : RegionInputs
            The network's inputs for the window.
        """

    def warped_target(self, places: NDArray[np.float64]) -> NDArray[Any]:
        """Return the target of a window sampled at positions (z, y, x, 3) inside the volume."""

    def anchors(self, rng: np.random.Generator) -> list[Anchors]:
        """Return the anchors of non-foreground voxels, then of each foreground class.

        All voxels, or an even selection of about `ANCHORS`. Empty if windows may lie anywhere.
        """
