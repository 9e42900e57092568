"""Alignment of a window's context: registered or concentric.

Registered context is sampled at the window's own voxels. Concentric context has the window's
centre and number of voxels, but its own spacing, so it extends beyond the window.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Grid, Shape, Vector, shape3
from parafovea.geometry.windows import Layout, axis_starts


def concentric(start: int, stop: int, zoom: float) -> NDArray[np.float64]:
    """Return the context positions of voxels start..stop: `zoom` times as far from their centre."""
    centre = (start + stop - 1) / 2
    seen = centre + (np.arange(start, stop, dtype=np.float64) - centre) * zoom
    return np.asarray(seen, dtype=np.float64)


def context_margin(volume: Grid, spacing: Vector, window: Shape) -> Shape:
    """Return the margin of context around the volume that concentric windows need.

    Parameters
    ----------
    volume : Grid
        The local grid of the windows; a window longer than an axis is centred on it.
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
        # One extra voxel, since grids of other spacings start at faces and may be rounded.
        margins.append(max(0, int(np.ceil(-lowest / zoom))) + 1 if zoom > 1 else 0)
    return shape3(margins)


def padded_share(layout: Layout, zoom: Vector | None = None) -> float:
    """Return the share of all windows' context that is reflection padding beyond the volume.

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
        # Windows are the product of the starts along the axes, so the mean is a product as well.
        inside.append(float(within.mean()))
    return 1 - math.prod(inside)
