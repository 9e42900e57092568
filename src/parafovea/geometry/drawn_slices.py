"""The slices of a phantom scan with variety: planning and drawing must agree on its grid."""

from __future__ import annotations

import numpy as np

from parafovea.geometry.grid import Grid

#: Range of the distances between slices that scanners are set to, in millimetres.
CLOSEST, WIDEST = 1.0, 5.0

#: Number of the random generator.
STREAM = 220


def drawn_slices(grid: Grid, seed: int, variety: float) -> Grid:
    """Return a grid of the same field of view, with another distance between its slices.

    The distance is drawn log-uniformly from 1 to 5 mm, but at least half of that of the grid, so
    that there are at most twice as many slices, and at least 0.55 of that within slices.

    Parameters
    ----------
    grid : Grid
        Grid of the phantom as it is configured.
    seed : int
        Seed of the phantom.
    variety : float
        Chance that the distance is drawn, in [0, 1]; at 0, the grid is returned as it is.
    """
    if variety == 0:
        return grid
    sequence = np.random.SeedSequence(seed, spawn_key=(STREAM,))
    chance, place = np.random.Generator(np.random.PCG64(sequence)).uniform(size=2)
    if chance >= variety:
        return grid
    placed = grid.converted("millimeter")
    given = placed.spacing[0]
    least = max(CLOSEST, 0.5 * given, 0.55 * max(placed.spacing[1:]))
    most = max(WIDEST, given, least)
    height = grid.shape[0] * grid.spacing[0]
    count = max(1, round(placed.shape[0] * given / (least * (most / least) ** float(place))))
    return Grid(
        (count, *grid.shape[1:]),
        (height / count, *grid.spacing[1:]),
        grid.origin,
        grid.unit,
    )
