"""Truth of a segmentation: the class of each voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.formats import Source
from parafovea.geometry.grid import Box
from parafovea.geometry.resample import read_reflected
from parafovea.inference.sample_inputs import RegionInputs, SampleInputs
from parafovea.quality.truth_on_grid import SampledTruth
from parafovea.settings.recipe import Recipe
from parafovea.training.augmentation import box_around, nearest
from parafovea.training.training_truth import ANCHORS, Anchors

SLAB = 32

#: Samples of up to this many voxels keep their class indices in memory, a byte each, since windows
#: overlap and reading a truth finer than the model requires a vote per voxel.
KEPT_LABELS = 2**28


class ClassTruth:
    """The class index of each voxel.

    Parameters
    ----------
    source : Source
        Class indices on their own grid.
    inputs : SampleInputs
        The sample.
    recipe : Recipe
        Gives the classes.

    Raises
    ------
    SourceError
        If its shape or position does not match the sample.

    Attributes
    ----------
    sampled : SampledTruth
        The class indices on the local grid.
    """

    def __init__(self, source: Source, inputs: SampleInputs, recipe: Recipe) -> None:
        self.grid = inputs.grid
        self._classes = recipe.classes
        self.sampled = SampledTruth(source, self.grid, classes=len(recipe.classes))
        self._kept: NDArray[np.uint8] | None = None
        if self.grid.box.size <= KEPT_LABELS:
            self._kept = self.sampled.read(self.grid.box).astype(np.uint8)

    def labels(self, box: Box) -> NDArray[np.uint8]:
        """Return the class indices of a box inside the volume, (z, y, x)."""
        if self._kept is not None:
            return self._kept[box.slices]
        return self.sampled.read(box).astype(np.uint8)

    def target(self, box: Box, region: RegionInputs) -> NDArray[Any]:
        """Return the class indices of a window, (z, y, x) uint8."""
        return read_reflected(self.labels, self.grid, box)

    def warped_target(self, places: NDArray[np.float64]) -> NDArray[Any]:
        """Return the class indices of the voxels nearest to positions, (z, y, x) uint8."""
        region = box_around(places)
        return nearest(self.labels(region), places - np.asarray(region.start))

    def anchors(self, rng: np.random.Generator) -> list[Anchors]:
        """Return voxels of each class, the background first."""
        shape, count = self.grid.shape, len(self._classes)
        found: list[list[NDArray[np.int64]]] = [[] for _ in range(count)]
        for slab in self.grid.box.tiles((SLAB, shape[1], shape[2])):
            labels = self.labels(slab)
            for index in range(count):
                places = np.flatnonzero(labels == index)
                share = max(1, ANCHORS * SLAB // max(1, shape[0]))
                if len(places) > share:
                    places = rng.choice(places, share, replace=False)
                voxels = np.stack(np.unravel_index(places, labels.shape), axis=1)
                found[index].append(voxels + np.asarray(slab.start))
        return [
            Anchors(name, np.concatenate(parts))
            for name, parts in zip(self._classes, found, strict=True)
        ]
