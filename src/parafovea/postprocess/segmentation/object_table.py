"""The table of objects that is stored with the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from parafovea.geometry.grid import AXES, Grid
from parafovea.postprocess.segmentation.region_table import RegionTable
from parafovea.storage.store import replacing


def objects_frame(table: RegionTable, *, classes: Sequence[str], grid: Grid) -> pd.DataFrame:
    """Return the table of objects that is stored with the labels.

    Parameters
    ----------
    table : RegionTable
        Row i describes object i + 1.
    classes : sequence of str
        Names of all classes, the background first.
    grid : Grid
        Grid of the volume.

    Returns
    -------
    DataFrame
        Columns id, class, voxels, volume (cubic `grid.unit`), centroid_z/y/x (world, `grid.unit`)
        and z0, z1, y0, y1, x0, x1 (half-open bounding box, voxels); no rows without objects.
    """
    centroids = np.array(grid.origin) + table.centroids * np.array(grid.spacing)
    columns: dict[str, Any] = {
        "id": np.arange(1, len(table) + 1),
        "class": [classes[i] for i in table.value],
        "voxels": table.voxels,
        "volume": table.voxels * grid.voxel_volume,
    }
    columns |= {f"centroid_{name}": centroids[:, axis] for axis, name in enumerate(AXES)}
    for axis, name in enumerate(AXES):
        columns |= {f"{name}0": table.start[:, axis], f"{name}1": table.stop[:, axis]}
    return pd.DataFrame(columns)


def write_object_table(path: Path, table: RegionTable, names: Sequence[str], grid: Grid) -> None:
    """Write the table of objects: see `objects_frame`."""
    frame = objects_frame(table, classes=names, grid=grid)
    with replacing(path) as partial:
        frame.to_csv(partial, sep="\t", index=False, float_format="%.9g", lineterminator="\n")
