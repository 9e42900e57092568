"""Connected components of one box, and the slabs of planes that some volumes are read in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cc3d
import numpy as np

from parafovea.geometry.grid import Box, shape3
from parafovea.storage.blocks import SLAB_PLANES

Array = np.ndarray[Any, Any]
#: Reads the (z, y, x) values of a slab.
ReadSlab = Callable[[Box], Array]


def slabs(shape: Sequence[int], planes: int = SLAB_PLANES) -> list[Box]:
    """Return the slabs of a volume of this shape (z, y, x), in z order."""
    return list(Box.whole(shape).tiles((planes, *shape3(shape)[1:])))


def label_box(values: Array, connectivity: int) -> tuple[Array, int]:
    """Label the components of equal, non-zero values in one box.

    Parameters
    ----------
    values : (z, y, x) uint8
        Voxels of different values are never connected; 0 is background.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.

    Returns
    -------
    labels : (z, y, x) uint16 or uint32
        Components 1 to `count`; 0 is background.
    count : int
        Number of components.
    """
    contiguous = np.ascontiguousarray(values, dtype=np.uint8)
    labels, count = cc3d.connected_components(contiguous, connectivity=connectivity, return_N=True)
    return np.asarray(labels), int(count)
