"""What a detection learns: a heatmap with one smooth hill for each finding of the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.quality.detections.mask_findings import mask_findings
from parafovea.quality.detections.tables import COORDINATES
from parafovea.quality.truth_on_grid import SampledTruth, TruthSource

#: A heatmap of 1 in bytes.
FULL = 255

#: Hills end where they are this many radii from their centre: at 2**-9, less than a step of bytes.
REACH = 3.0


@dataclass(frozen=True)
class Findings:
    """The objects of one class.

    Parameters
    ----------
    centre : ndarray
        (n, 3) float64, world positions along z, y, x, in the unit of the grid they are learned on.
    radius : ndarray
        (n,) float64, of the ball of the same volume.
    """

    centre: NDArray[np.float64]
    radius: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of findings."""
        return len(self.radius)

    def voxels(self, grid: Grid) -> NDArray[np.int64]:
        """Return the voxel of each centre, (n, 3) along z, y, x; of one outside, the nearest."""
        index = (self.centre - np.array(grid.origin)) / np.array(grid.spacing)
        inside: NDArray[np.int64] = np.clip(
            np.rint(index).astype(np.int64), 0, np.array(grid.shape) - 1
        )
        return inside


def truth_findings(source: TruthSource, *, classes: int, unit: str) -> list[Findings]:
    """Return the findings of each class, measured in the truth's own voxels.

    A finding is a piece of voxels of a class, neighbours across faces, edges and corners.

    Parameters
    ----------
    source : TruthSource
        Labels: 0 where there is nothing, n for the class number n. It is held in memory.
    classes : int
        Number of classes.
    unit : str
        Of the result.

    Raises
    ------
    SourceError
        If the truth holds values that are no labels of these classes.
    """
    grid = source.grid.converted(unit)
    labels = SampledTruth(source, grid, classes=classes + 1).read(grid.box)
    # To what `mask_findings` takes for RAS, so that its LPS is the grid's own world.
    affine = np.diag([-grid.spacing[2], -grid.spacing[1], grid.spacing[0], 1.0])
    affine[:3, 3] = -grid.origin[2], -grid.origin[1], grid.origin[0]
    found = []
    for label in range(1, classes + 1):
        table = mask_findings(labels == label, affine, labelled=False)
        centre = table[list(COORDINATES)[::-1]].to_numpy(np.float64)
        found.append(Findings(centre, table["diameter_mm"].to_numpy(np.float64) / 2))
    return found


def heatmap(findings: Findings, grid: Grid) -> NDArray[np.uint8]:
    """Return the heatmap of the findings of a class.

    exp(-ln 2 (d / r)²) with d the distance from the centre: 1 in the middle, one half on the
    outline of a ball of the finding's volume, so that the voxels above one half are as large as it
    is. No radius is smaller than half the diagonal of a voxel, so that no hill falls between
    voxels. Where hills meet, the higher one counts, so that a saddle stays between neighbours.

    Parameters
    ----------
    findings : Findings
        In the world and the unit of `grid`.
    grid : Grid
        Of the result.

    Returns
    -------
    ndarray
        (z, y, x) uint8, the heatmap times 255.
    """
    heat = np.zeros(grid.shape, np.uint8)
    least = math.sqrt(sum(s * s for s in grid.spacing)) / 2
    for centre, size in zip(findings.centre, findings.radius, strict=True):
        radius = max(float(size), least)
        middle = np.asarray(grid.index(centre.tolist()))
        reach = REACH * radius / np.array(grid.spacing)
        start = np.floor(middle - reach).astype(int)
        stop = np.ceil(middle + reach).astype(int) + 1
        box = Box(shape3(start.tolist()), shape3(stop.tolist())).intersection(grid.box)
        z, y, x = (
            ((np.arange(a, b) - m) * s / radius) ** 2
            for a, b, m, s in zip(box.start, box.stop, middle, grid.spacing, strict=True)
        )
        hill = np.exp2(-(z[:, None, None] + y[None, :, None] + x[None, None, :]))
        view = heat[box.slices]
        np.maximum(view, np.rint(FULL * hill).astype(np.uint8), out=view)
    return heat
