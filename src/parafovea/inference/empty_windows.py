"""Which windows of a layout are computed, where others are known to be empty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box
from parafovea.geometry.windows import Layout

#: (lattice z, y, x) bool, True for windows that are computed; None for all.
Wanted = NDArray[np.bool_] | None


def wanted_windows(layout: Layout, part: Box, wanted: Wanted = None) -> list[Box]:
    """Return the windows of a part of the lattice that are computed, in z, y, x order.

    Parameters
    ----------
    layout : Layout
        All windows of the volume.
    part : Box
        Which windows, as a box of the lattice.
    wanted : ndarray, optional
        (lattice z, y, x) bool, of the whole lattice.
    """
    boxes = list(layout.windows(part)) if part.size else []
    if wanted is None:
        return boxes
    return [box for box, chosen in zip(boxes, wanted[part.slices].flat, strict=True) if chosen]


def wanted_count(part: Box, wanted: Wanted = None) -> int:
    """Return how many windows of a part of the lattice are computed."""
    return part.size if wanted is None else int(np.count_nonzero(wanted[part.slices]))
