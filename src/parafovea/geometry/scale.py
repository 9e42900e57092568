"""Whether a source and a model are of one scale at all, before anything is read or counted."""

from __future__ import annotations

from collections.abc import Sequence

from parafovea.errors import SourceError
from parafovea.geometry.grid import AXES, METRES, Grid

#: From this ratio on, along any axis, a source is too coarse: 20 voxels would be made of each.
COARSER = 20.0

#: A source is too fine if its voxels are smaller by this, and fewer than so many are left of it.
FINER, LEAST = 20.0, 8

#: Metres that the largest side of a CT of a person measures.
SCAN = (0.04, 3.0)


def check_scale(
    path: str,
    source: Grid,
    *,
    spacing: Sequence[float],
    unit: str,
    scan: bool = False,
    image: bool = False,
) -> None:
    """Raise `SourceError` where the voxels of a source make no sense for a model.

    Parameters
    ----------
    path : str
        For messages.
    source : Grid
        Of the source, in any unit.
    spacing : sequence of float
        Voxel size of the model along z, y, x.
    unit : str
        Of `spacing`.
    scan : bool
        Whether the source is a CT of a person, whose size is known.
    image : bool
        Whether the source is an image of the ground, whose pixel size the sheet cannot correct.
    """
    grid = source.converted(unit)
    axes = (1, 2) if image else (0, 1, 2)  # along z, an image has no size
    ratios = [grid.spacing[axis] / spacing[axis] for axis in axes]
    model = " x ".join(f"{m:g}" for m in spacing)
    both = f"{path} has {source}, and the model voxels of {model} {unit}"
    advice = (
        "correct the spacing or its unit by the words spacing= and unit= in the metadata column of "
        "the sample sheet, or give the sample a task of its scale"
    )
    if image:
        advice = (
            "correct its coordinate system, warp it to the pixels of the model, for example with "
            "gdalwarp -tr, or give the sample a task of its scale"
        )
    if max(ratios) > COARSER:
        name = AXES[axes[ratios.index(max(ratios))]]
        raise SourceError(
            f"{both}: the source is {max(ratios):.3g} times coarser along {name}, too coarse to "
            f"find anything: {advice}"
        )
    resampled = grid.resampled(spacing).shape
    left = [resampled[axis] for axis in axes]
    if max(ratios) < 1 / FINER and max(left) < LEAST:
        raise SourceError(
            f"{both}: the source is {1 / max(ratios):.3g} times finer, so that "
            f"{' x '.join(map(str, left))} voxels would be left of it: {advice}"
        )
    extent = max(source.extent) * METRES[source.unit]
    if scan and not SCAN[0] <= extent <= SCAN[1]:
        raise SourceError(
            f"{both}: its largest side measures {extent * 1e3:.4g} mm, where a scan of a person "
            f"has {SCAN[0] * 1e3:g} to {SCAN[1] * 1e3:g}: {advice}"
        )
