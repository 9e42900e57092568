"""Truth of a refinement: bands on the local grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats import Source
from parafovea.geometry.grid import Box
from parafovea.geometry.resample import read_reflected, resample_box
from parafovea.inference.sample_inputs import RegionInputs, SampleInputs
from parafovea.settings.recipe import Recipe
from parafovea.training.training_truth import Anchors


class BandTruth:
    """Target bands of a sample.

    Parameters
    ----------
    source : Source
        (band, z, y, x), in [0, 1]; NaN where the truth is unknown.
    inputs : SampleInputs
        The sample, whose planes may be separate images; the source must cover the same region.
    recipe : Recipe
        Gives the bands of the input that a residual is added to.

    Raises
    ------
    SourceError
        If it covers another region.
    """

    def __init__(self, source: Source, inputs: SampleInputs, recipe: Recipe) -> None:
        self.grid = grid = inputs.grid
        self._base = list(recipe.base)
        self._source = source
        self._there = source.grid.converted(grid.unit)
        self._same = self._there.same_place(grid)
        ends = zip(self._there.extent, grid.extent, grid.spacing, strict=True)
        if self._there.shape[0] != grid.shape[0] or any(abs(a - b) > s for a, b, s in ends):
            raise SourceError(
                f"{source.path} covers {self._there.extent} {grid.unit} in {self._there.shape[0]} "
                f"planes, but its sample {grid.extent} in {grid.shape[0]}: give the truth of the "
                "same region"
            )

    def read(self, box: Box) -> NDArray[np.float32]:
        """Return the bands (band, z, y, x) of a box inside the grid, NaN where unknown."""
        if self._same:
            return np.asarray(self._source.read(box), np.float32)
        return resample_box(self._source.read, self._there, self.grid, box)

    def target(self, box: Box, region: RegionInputs) -> NDArray[Any]:
        """Return the target bands, for a residual followed by the input bands, (band, z, y, x).

        Target bands are NaN where the truth is unknown.
        """
        bands = read_reflected(self.read, self.grid, box)
        if self._base and region.raw is not None:
            return np.concatenate([bands, region.raw[self._base].astype(np.float32)])
        return bands

    def warped_target(self, places: NDArray[np.float64]) -> NDArray[Any]:
        """Raise an error, since `TrainingSettings` rules out warping for refinements."""
        raise AssertionError("windows of bands are not warped")

    def anchors(self, rng: np.random.Generator) -> list[Anchors]:
        """Return no anchors: windows may lie anywhere."""
        return []
