"""Where a window's context lies: registered with it, or concentric and as wide as it is coarse.

Registered context is sampled at the window's own voxels. Concentric context has the window's
centre and number of voxels, but its own spacing, so that it reaches beyond the window.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Grid, Shape, Vector, shape3
from parafovea.geometry.windows import Layout, axis_starts


def concentric(start: int, stop: int, zoom: float) -> NDArray[np.float64]:
    """Return where the voxels start..stop look: `zoom` times as far from their common centre."""
    centre = (start + stop - 1) / 2
    seen = centre + (np.arange(start, stop, dtype=np.float64) - centre) * zoom
    return np.asarray(seen, dtype=np.float64)


def context_margin(volume: Grid, spacing: Vector, window: Shape) -> Shape:
    """Return how far concentric windows look beyond the volume.

    Parameters
    ----------
    volume : Grid
        The local grid, which windows lie in; a window of a shorter axis is centred on it.
    spacing : tuple of float
        Voxel size of the context along z, y, x, in the volume's unit.
    window : tuple of int
        Voxels of a window along z, y, x.

    Returns
    -------
    tuple of int
        Voxels of the context on each side along z, y, x.
    """
    margins = []
    for count, size, local, wide in zip(volume.shape, window, volume.spacing, spacing, strict=True):
        zoom = wide / local
        first = axis_starts(count, size, size)[0]
        lowest = concentric(first, first + size, zoom)[0]
        # One voxel more, since grids of other spacings begin at faces and may be rounded.
        margins.append(max(0, int(np.ceil(-lowest / zoom))) + 1 if zoom > 1 else 0)
    return shape3(margins)


def padded_share(layout: Layout, zoom: Vector | None = None) -> float:
    """Return which share of all windows' context lies beyond the volume and is made by reflection.

    Parameters
    ----------
    layout : Layout
        The windows.
    zoom : tuple of float, optional
        Context spacing over local spacing, for concentric context.
    """
    inside = []
    for axis, (count, size) in enumerate(zip(layout.shape, layout.window, strict=True)):
        seen = np.stack(
            [
                concentric(start, start + size, 1.0 if zoom is None else zoom[axis])
                for start in layout.starts[axis]
            ]
        )
        within = (seen >= -0.5) & (seen <= count - 0.5)
        # Windows are the product of the starts along the axes, so their mean is one, too.
        inside.append(float(within.mean()))
    return 1 - math.prod(inside)
