"""Check that a volume is a CT scan in Hounsfield units."""

from __future__ import annotations

import numpy as np

from parafovea.errors import VoxelError
from parafovea.preprocess.source_statistics import Statistics

#: HU ranges of air and lungs, of fat, water and soft tissue, and of everything except metal.
AIR = (-1100.0, -500.0)
TISSUE = (-200.0, 200.0)
MEASURED = (-1100.0, 3100.0)

#: Minimum share of a CT's voxels in each range.
LEAST_AIR = 0.001
LEAST_TISSUE = 0.01
LEAST_MEASURED = 0.9


def check_hounsfield(path: str, statistics: Statistics) -> None:
    """Raise an error if a volume cannot be a CT in Hounsfield units that contains air.

    Air is -1000 and water 0 by definition, on any scanner. Voxels of the smallest value are ignored
    if it is below the measured range: scanners pad the area outside of the field of view with one
    value, such as -2000 or -3024.

    Parameters
    ----------
    path : str
        Path of the source, for the message.
    statistics : Statistics
        Statistics of all voxels.

    Raises
    ------
    VoxelError
        If there are too few voxels of air or tissue, or too many outside of the measured range.
    """
    edges, counts = statistics.edges, statistics.counts
    total = int(counts.sum())

    def share(limits: tuple[float, float]) -> float:
        return float(counts[(edges >= limits[0]) & (edges <= limits[1])].sum()) / total

    padding = 0.0
    if statistics.minimum < MEASURED[0]:
        padding = float(counts[int(np.flatnonzero(counts)[0])]) / total
    measured = share(MEASURED) / (1 - padding) if padding < 1 else 0.0
    for found, least, limits, name in (
        (measured, LEAST_MEASURED, MEASURED, "everything except metal"),
        (share(AIR), LEAST_AIR, AIR, "air and lungs"),
        (share(TISSUE), LEAST_TISSUE, TISSUE, "soft tissue"),
    ):
        if found < least:
            raise VoxelError(
                f"{path} is not a CT in Hounsfield units: its values range from "
                f"{statistics.minimum:g} to {statistics.maximum:g}, and {100 * found:.3g} % of "
                f"them are between {limits[0]:g} and {limits[1]:g} ({name}), where a CT has at "
                f"least {100 * least:g} %: use the original scan, with rescale slope and "
                "intercept applied and without windowing or normalization"
            )
