"""Whether a volume's values are those of a CT, in Hounsfield units."""

from __future__ import annotations

import numpy as np

from parafovea.errors import VoxelError
from parafovea.preprocess.normalization import Statistics

#: HU of air and lungs, of fat, water and soft tissue, and of all that a scanner measures but metal.
AIR = (-1100.0, -500.0)
TISSUE = (-200.0, 200.0)
MEASURED = (-1100.0, 3100.0)

#: Smallest share of voxels that a CT has in each.
LEAST_AIR = 0.001
LEAST_TISSUE = 0.01
LEAST_MEASURED = 0.9


def check_hounsfield(path: str, statistics: Statistics) -> None:
    """Raise where a volume cannot be a CT in Hounsfield units with air in it.

    Air is -1000 by definition and water 0, whatever the scanner. Voxels of the smallest value do
    not count among those measured: scanners pad what they do not see with one value, such as
    -2000 or -3024.

    Parameters
    ----------
    path : str
        Of the source, for the message.
    statistics : Statistics
        Of all of its voxels.

    Raises
    ------
    VoxelError
        If there are too few voxels of air or tissue, or too many that no scanner measures.
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
        (measured, LEAST_MEASURED, MEASURED, "all that is not metal"),
        (share(AIR), LEAST_AIR, AIR, "air and lungs"),
        (share(TISSUE), LEAST_TISSUE, TISSUE, "soft tissue"),
    ):
        if found < least:
            raise VoxelError(
                f"{path} is no CT in Hounsfield units: its values go from {statistics.minimum:g} "
                f"to {statistics.maximum:g}, and {100 * found:.3g} % of them lie from "
                f"{limits[0]:g} to {limits[1]:g} ({name}), where a CT has at least "
                f"{100 * least:g} %: give the scan as it was measured, with rescale slope and "
                "intercept applied, and not windowed or normalized"
            )
