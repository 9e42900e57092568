"""Scans in memory that know their place, and arrays that do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import GridError, SourceError
from parafovea.formats.opening import open_source
from parafovea.geometry.grid import Grid, Vector, shape3, vector3
from parafovea.geometry.placed_array import PlacedArray
from parafovea.geometry.scan_space import ScanSpace
from parafovea.guide.arguments import AnyPath
from parafovea.postprocess.detection.heatmap import Volume


def load_scan(path: AnyPath, *, metadata: str = "") -> tuple[NDArray[Any], Vector]:
    """Read a scan of any format into memory.

    Parameters
    ----------
    path : str or Path
        NIfTI, NRRD, MetaImage, a DICOM series (folder or .zip), or another volume.
    metadata : str
        What the file does not state itself, as in the sample sheet ("spacing=3,0.7,0.7").

    Returns
    -------
    scan : ndarray
        (z, y, x), HU of a CT, in the file's dtype. It knows its place, see `PlacedArray`.
    spacing : tuple of float
        Voxel size along z, y, x in millimetres.

    Raises
    ------
    SourceError
        If it cannot be read, or is no single volume.
    """
    scan, space, name = opened_scan(path, metadata)
    voxels = scan.read(scan.grid.box)
    return PlacedArray(voxels, space, name), space.grid.converted("millimeter").spacing


def opened_scan(path: AnyPath, metadata: str) -> tuple[Volume, ScanSpace, str]:
    """Open a single volume: its voxels, its place and its name."""
    source = open_source(path, metadata=metadata)
    if source.bands or source.planes:
        raise SourceError(f"{path} has several channels or images: give a scan of one channel")
    return (
        Volume(source.read, source.grid),
        ScanSpace(source.grid, source.affine),
        source.series,
    )


def volume_of(values: NDArray[Any], space: ScanSpace) -> Volume:
    """Return an array in memory as a volume that is read box by box."""
    plain = np.asarray(values)
    return Volume(lambda box: plain[box.slices], space.grid.converted("millimeter"))


def space_of(array: NDArray[Any], spacing: Sequence[float] | None, name: str) -> ScanSpace:
    """Return the place of an array: its own, otherwise by the spacing alone."""
    own: ScanSpace | None = getattr(array, "space", None)
    given = None if spacing is None else vector3(spacing, "spacing")
    if own is None:
        if given is None:
            raise GridError(
                f"the {name} does not know its voxel size: give spacing=(z, y, x) in millimetres"
            )
        return ScanSpace(Grid(shape3(np.shape(array)), given, unit="millimeter"))
    stated = own.grid.converted("millimeter").spacing
    if given is not None and not np.allclose(given, stated, rtol=1e-3):
        raise GridError(
            f"spacing {given} mm differs from that of the {name}, {stated} mm along z, y, x: give "
            "that one, or numpy.array(...) of the voxels"
        )
    return own
