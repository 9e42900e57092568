"""How the axes of a scan point in the patient, and which of them a network takes the other way."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from parafovea.errors import GridError

#: The codes of the two ways along each axis of the patient.
WAYS = ("RL", "AP", "SI")


def axis_flips(affine: ArrayLike, wanted: str) -> tuple[int, ...]:
    """Return the axes of a scan that point the other way than wanted.

    Parameters
    ----------
    affine : array_like
        (4, 4), from voxels x, y, z to millimetres towards right, anterior, superior.
    wanted : str
        Where the axes x, y, z point to, such as RAS; "" for as they are.

    Returns
    -------
    tuple of int
        0, 1 and 2 for z, y and x, ascending.

    Raises
    ------
    GridError
        If other axes of the scan point along the patient than wanted.
    """
    if not wanted:
        return ()
    # few networks state an orientation
    import nibabel

    found = "".join(nibabel.aff2axcodes(np.asarray(affine, dtype=np.float64)))
    if [_axis(code) for code in found] != [_axis(code) for code in wanted]:
        raise GridError(
            f"the axes x, y, z of the scan point to {found}, but the network takes {wanted}, whose "
            "axes have another order: store the scan with axes in that order "
            "(nibabel.as_closest_canonical for RAS), or as transverse slices"
        )
    pairs = enumerate(zip(found, wanted, strict=True))
    return tuple(sorted(2 - axis for axis, (has, takes) in pairs if has != takes))


def _axis(code: str) -> int:
    return next(axis for axis, ways in enumerate(WAYS) if code in ways)
