"""A volume that is read box by box, and the heatmap of a stored prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parafovea.errors import StoreError
from parafovea.geometry.grid import Box, Grid
from parafovea.postprocess.segmentation.components import ReadSlab
from parafovea.storage.store import open_stored


@dataclass(frozen=True)
class Volume:
    """An array (z, y, x) that is read box by box.

    Parameters
    ----------
    read : callable
        Returns the voxels of a box.
    grid : Grid
        Grid of the array.
    """

    read: ReadSlab
    grid: Grid


def open_heatmap(prediction: Path) -> Volume:
    """Open the single heatmap of a prediction, in millimetres.

    Parameters
    ----------
    prediction : Path
        Store of (channel, z, y, x) floating-point values: a heatmap, or background and heatmap.

    Raises
    ------
    StoreError
        If the prediction is missing, damaged or has more than one heatmap.
    """
    stored = open_stored(prediction)
    names = stored.channels or ()
    if len(names) not in (1, 2):
        raise StoreError(
            f"{prediction} has {len(names)} channels ({', '.join(names) or 'without names'}), not "
            "one heatmap: predict with a model of kind detection and one class"
        )
    index = len(names) - 1

    def read(box: Box) -> np.ndarray:
        # A slice instead of an integer: otherwise zarrs cannot read a box in a multi-channel chunk.
        return np.asarray(stored.read(box, slice(index, index + 1))[0])

    return Volume(read, stored.grid.converted("millimeter"))
