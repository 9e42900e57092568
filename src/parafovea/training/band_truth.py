"""The truth of a refinement: bands on the grid that the network predicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import SourceError
from parafovea.formats.source import Source
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.resample import resample_box


class BandTruth:
    """What the bands of a sample should become.

    Parameters
    ----------
    source : Source
        (band, z, y, x), in [0, 1].
    grid : Grid
        Of the network's input; the source must cover the same place.
    planes : sequence of str
        Names of the input's planes, where they are images of their own.

    Raises
    ------
    SourceError
        If it covers another place.
    """

    def __init__(self, source: Source, grid: Grid, *, planes: Sequence[str] = ()) -> None:
        self._source = source
        self._there = source.grid.converted(grid.unit)
        self._grid = grid
        self._same = self._there.same_place(grid)
        ends = zip(self._there.extent, grid.extent, grid.spacing, strict=True)
        if self._there.shape[0] != grid.shape[0] or any(abs(a - b) > s for a, b, s in ends):
            raise SourceError(
                f"{source.path} covers {self._there.extent} {grid.unit} in {self._there.shape[0]} "
                f"planes, but its sample {grid.extent} in {grid.shape[0]}: give the truth of the "
                "same place"
            )
        others = sorted(set(planes) ^ set(source.planes))
        if planes and source.planes and others:
            raise SourceError(
                f"{source.path} has not the same tiles as its sample, such as {others[0]}: give a "
                "truth for each tile, of the same name"
            )

    def read(self, box: Box) -> NDArray[np.float32]:
        """Return the bands (band, z, y, x) of a box inside the grid."""
        if self._same:
            return np.asarray(self._source.read(box), np.float32)
        return resample_box(self._source.read, self._there, self._grid, box)
