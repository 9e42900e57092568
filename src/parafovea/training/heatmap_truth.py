"""Truth of a detection: a heatmap with a smooth peak for each finding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats import Source
from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.geometry.resample import read_reflected
from parafovea.inference.array_inputs import ArrayOnGrid
from parafovea.inference.sample_inputs import RegionInputs, SampleInputs
from parafovea.preprocess.body_masks import stored_volume_body
from parafovea.quality.detections.mask_findings import mask_findings
from parafovea.quality.detections.tables import COORDINATES
from parafovea.quality.truth_on_grid import IGNORED, SampledTruth, TruthSource
from parafovea.settings.recipe import Recipe
from parafovea.training.augmentation import nearest
from parafovea.training.training_truth import ANCHORS, Anchors

#: Byte value of a heatmap of 1.
FULL = 255

#: Peaks are cut off at this many radii from their centre: at 2**-9, below a step of bytes.
REACH = 3.0


@dataclass(frozen=True)
class Findings:
    """Findings of one class.

    Parameters
    ----------
    centre : ndarray
        (n, 3) float64, world positions along z, y, x, in the unit of the training grid.
    radius : ndarray
        (n,) float64, radius of the ball of equal volume.
    """

    centre: NDArray[np.float64]
    radius: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of findings."""
        return len(self.radius)

    def voxels(self, grid: Grid) -> NDArray[np.int64]:
        """Return the voxel nearest to each centre, (n, 3) along z, y, x."""
        index = (self.centre - np.array(grid.origin)) / np.array(grid.spacing)
        inside: NDArray[np.int64] = np.clip(
            np.rint(index).astype(np.int64), 0, np.array(grid.shape) - 1
        )
        return inside


def truth_findings(source: TruthSource, *, classes: int, unit: str) -> list[Findings]:
    """Return the findings of each class, measured on the truth's grid.

    A finding is a connected component of a class, with 26 neighbours.

    Parameters
    ----------
    source : TruthSource
        Labels: 0 for no finding, n for class number n. Held in memory.
    classes : int
        Number of classes.
    unit : str
        Unit of the result.

    Raises
    ------
    SourceError
        If the truth holds values that are not labels of these classes.
    """
    grid = source.grid.converted(unit)
    labels = SampledTruth(source, grid, classes=classes + 1).read(grid.box)
    if (labels == IGNORED).any():
        raise SourceError(
            f"truth {source.path} has unlabelled voxels, but a detection is trained on whole "
            "scans: label them, with 0 where there is nothing"
        )
    # Flip x and y, which `mask_findings` takes as RAS and returns as LPS: the grid's own world.
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

    exp(-ln 2 (d / r)²) with d the distance from the centre: 1 at the centre and 0.5 on the surface
    of a ball of the finding's volume, so that the voxels above 0.5 have the finding's size. Radii
    are at least half the diagonal of a voxel, so that no peak falls between voxels. Overlapping
    peaks are combined by their maximum, so that a saddle remains between neighbours.

    Parameters
    ----------
    findings : Findings
        Findings in the world and unit of `grid`.
    grid : Grid
        Grid of the result.

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


class HeatmapTruth:
    """Heatmaps of the classes of a detection.

    Parameters
    ----------
    source : Source
        Labels: 0 for no finding, n for class number n.
    inputs : SampleInputs
        The sample.
    recipe : Recipe
        Gives the classes.

    Raises
    ------
    SourceError
        If its shape or position does not match the sample, or it holds other labels.

    Attributes
    ----------
    findings : list of Findings
        Findings of each class, in the unit of the volume.
    heatmaps : list of ndarray
        (z, y, x) uint8 of each class, times 255, on the local grid.
    """

    def __init__(self, source: Source, inputs: SampleInputs, recipe: Recipe) -> None:
        self.grid = inputs.grid
        self._volume = inputs.paths.volume
        self._classes = recipe.classes
        classes = len(recipe.classes)
        # rejects a truth of another region, which findings alone would not reveal
        sampled = SampledTruth(source, self.grid, classes=classes + 1)
        if sampled.is_partial:
            raise SourceError(
                f"truth {source.path} covers only {sampled.covered} of the scan, but a detection "
                "is trained on whole scans: crop the scan to this part"
            )
        self.findings = truth_findings(source, classes=classes, unit=self.grid.unit)
        self.heatmaps = [heatmap(findings, self.grid) for findings in self.findings]

    def target(self, box: Box, region: RegionInputs) -> NDArray[Any]:
        """Return the heatmaps of a window times 255, (class, z, y, x) uint8."""
        read = (ArrayOnGrid(heat, self.grid).read for heat in self.heatmaps)
        return np.stack([read_reflected(each, self.grid, box) for each in read])

    def warped_target(self, places: NDArray[np.float64]) -> NDArray[Any]:
        """Return the heatmaps at the voxels nearest to positions, (class, z, y, x) uint8."""
        return np.stack([nearest(heat, places) for heat in self.heatmaps])

    def anchors(self, rng: np.random.Generator) -> list[Anchors]:
        """Return as anchors voxels of the body, then the centres of the findings of each class."""
        centres = (findings.voxels(self.grid) for findings in self.findings)
        return [
            Anchors("body", self._body_voxels(rng)),
            *(Anchors(name, each) for name, each in zip(self._classes, centres, strict=True)),
        ]

    def _body_voxels(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return an even selection of voxels of the body, (n, 3) along z, y, x."""
        body, grid = stored_volume_body(self._volume), self.grid
        places = np.flatnonzero(body.values)
        if len(places) > ANCHORS:
            places = rng.choice(places, ANCHORS, replace=False)
        coarse = body.grid.converted(grid.unit)
        index = np.stack(np.unravel_index(places, body.values.shape), axis=1)
        world = np.array(coarse.origin) + index * np.array(coarse.spacing)
        voxels = np.rint((world - np.array(grid.origin)) / np.array(grid.spacing))
        inside: NDArray[np.int64] = np.clip(voxels.astype(np.int64), 0, np.array(grid.shape) - 1)
        return inside
