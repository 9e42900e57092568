"""Findings from a mask: the truth of a detection task given as a volume instead of a table."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import fastremap
import numpy as np
import pandas as pd
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from parafovea.errors import SourceError
from parafovea.geometry.sphere import equivalent_diameter
from parafovea.quality.detections.tables import COORDINATES

Array = np.ndarray[Any, Any]

#: Signs that convert nibabel's RAS to the DICOM patient system (LPS).
_LPS = np.array([-1.0, -1.0, 1.0])


def mask_findings(
    mask: Array,
    affine: Array,
    *,
    labelled: bool = True,
    diameter: Literal["equivalent", "axial"] = "equivalent",
) -> pd.DataFrame:
    """Return the findings in a mask.

    Parameters
    ----------
    mask : (z, y, x) integer or bool
        0 is background.
    affine : (4, 4) float
        From voxel (x, y, z) to RAS millimetres, as stored with a source; may be flipped or oblique.
    labelled : bool
        Whether each value is one finding, connected or not. Otherwise each connected component of
        nonzero voxels (faces, edges and corners) is one.
    diameter : str
        equivalent: diameter of the ball with the same volume. axial: the longest distance between
        two points of the outline within one plane of the array along z.

    Returns
    -------
    DataFrame
        label, coordX, coordY, coordZ (centre of mass, millimetres, LPS), diameter_mm, voxels;
        sorted by label, or by the first voxel of the components.

    Raises
    ------
    SourceError
        If the mask has other axes, negative or fractional values, or the affine is singular.
    """
    _check(mask, affine)
    if labelled:
        whole = np.ascontiguousarray(mask, np.uint8 if mask.dtype == bool else mask.dtype)
        numbered, names = fastremap.renumber(whole, preserve_zero=True)
        values = {new: int(old) for old, new in names.items() if old}
    else:
        numbered = cc3d.connected_components(np.ascontiguousarray(mask != 0))
        values = {index: index for index in range(1, int(numbered.max()) + 1)}
    if not values:
        return pd.DataFrame(columns=["label", *COORDINATES, "diameter_mm", "voxels"])
    measured = cc3d.statistics(numbered)
    voxel = abs(float(np.linalg.det(affine[:3, :3])))
    rows = []
    for new, old in sorted(values.items(), key=lambda item: item[1]):
        count = int(measured["voxel_counts"][new])
        z, y, x = measured["centroids"][new]
        centre = (np.asarray(affine, float) @ [x, y, z, 1.0])[:3] * _LPS
        if diameter == "axial":
            inside = numbered[measured["bounding_boxes"][new]] == new
            size = _longest_axial(inside, np.asarray(affine, float))
        else:
            size = equivalent_diameter(count * voxel)
        rows.append((old, *centre.tolist(), size, count))
    return pd.DataFrame(rows, columns=["label", *COORDINATES, "diameter_mm", "voxels"])


def _check(mask: Array, affine: Array) -> None:
    if mask.ndim != 3:
        raise SourceError(f"the mask has {mask.ndim} axes: give one of the axes z, y, x")
    if mask.dtype.kind not in "bui":
        raise SourceError(f"the mask holds {mask.dtype}: give whole numbers, 0 for background")
    if np.issubdtype(mask.dtype, np.signedinteger) and mask.size and int(mask.min()) < 0:
        raise SourceError(f"the mask holds {int(mask.min())}: labels are positive, 0 is background")
    if np.shape(affine) != (4, 4) or not np.isfinite(affine).all():
        raise SourceError("the mask has no affine of 4 x 4 finite numbers: write its file again")
    if np.linalg.det(affine[:3, :3]) == 0:
        raise SourceError("the mask's affine is singular: its voxels have no volume")


def _longest_axial(inside: Array, affine: Array) -> float:
    """Return the longest in-plane distance between outline points of a component, in mm.

    The outline points are half a voxel from the outermost centres along rows and columns, where a
    contour at level one half runs.
    """
    steps = affine[:3, :2]
    longest = 0.0
    for plane in inside:
        y, x = np.nonzero(plane)
        if len(x) == 0:
            continue
        points = np.concatenate([np.stack([x + dx, y + dy], axis=1) for dx, dy in _HALF_STEPS])
        points = points[ConvexHull(points).vertices]
        longest = max(longest, float(pdist(points @ steps.T).max()))
    return longest


_HALF_STEPS = ((-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5))
