"""A scan and its heatmap as small NIfTI files, which a viewer in a browser opens."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from parafovea.errors import StoreError
from parafovea.formats.nifti import write_nifti
from parafovea.formats.source import Source
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.resample import ReadBox
from parafovea.geometry.scan_space import ScanSpace

#: Most voxels that a viewer gets: it needs eight bytes of graphics memory for each.
MOST_VOXELS = 2**26

#: Numbers of a heatmap's file between 0 and 1.
HEAT_STEPS = 255

#: Window in HU that viewers begin with: lungs.
LUNG_WINDOW = (-1350.0, 150.0)


def viewer_steps(grid: Grid, *, most: int = MOST_VOXELS) -> tuple[int, int, int]:
    """Return every how many voxels along z, y, x are shown, 1 for all.

    Parameters
    ----------
    grid : Grid
        Grid of the scan.
    most : int
        Most voxels that are shown. Where there are more, voxels along the finest axis are left out
        first.
    """
    steps = [1, 1, 1]
    while prod(-(-n // s) for n, s in zip(grid.shape, steps, strict=True)) > most:
        lengths = [s * step for s, step in zip(grid.spacing, steps, strict=True)]
        steps[lengths.index(min(lengths))] += 1
    return (steps[0], steps[1], steps[2])


def write_viewer_volumes(
    source: Source, heatmap: Path, scan_file: Path, heat_file: Path, *, most: int = MOST_VOXELS
) -> tuple[int, int, int]:
    """Write a scan and its heatmap for a viewer, at the same voxels.

    Parameters
    ----------
    source : Source
        The scan in HU.
    heatmap : Path
        `heatmap.nii.gz` of `detect_nodules`, at the scan's own voxels.
    scan_file, heat_file : Path
        `.nii.gz` files to write: int16, and uint8 with a slope that gives 0 to 1.
    most : int
        As for `viewer_steps`.

    Returns
    -------
    tuple of int
        The `viewer_steps`.

    Raises
    ------
    SourceError
        If the scan cannot be read.
    StoreError
        If the heatmap has another shape than the scan.
    """
    grid = source.grid
    steps = viewer_steps(grid, most=most)
    space = _thinned(ScanSpace(grid, source.affine), steps)
    limits = np.iinfo(np.int16)

    def voxels(box: Box) -> NDArray[np.float32]:
        planes = [_plane(source.read, grid.shape, z * steps[0]) for z in _planes(box)]
        thin = np.stack([plane[:: steps[1], :: steps[2]] for plane in planes])
        return np.clip(np.rint(thin.astype(np.float32)), limits.min, limits.max)

    write_nifti(scan_file, voxels, space=space, dtype=np.int16, limits=LUNG_WINDOW)
    image: Any = nibabel.load(heatmap)
    if tuple(image.shape) != grid.shape[::-1]:
        raise StoreError(
            f"{heatmap} has the shape {image.shape}, and its scan {grid.shape[::-1]}: predict the "
            "scan again"
        )
    with gzip.open(heatmap) as file:
        file.seek(image.dataobj.offset)
        reader = _PlaneStream(file, grid.shape)

        def heat(box: Box) -> NDArray[np.float32]:
            planes = [reader.plane(z * steps[0]) for z in _planes(box)]
            thin = np.stack([plane[:: steps[1], :: steps[2]] for plane in planes])
            return np.asarray(np.rint(thin * HEAT_STEPS), dtype=np.float32)

        write_nifti(
            heat_file, heat, space=space, dtype=np.uint8, limits=(0.0, 1.0), slope=1 / HEAT_STEPS
        )
    return steps


def _planes(box: Box) -> range:
    return range(box.start[0], box.stop[0])


def _plane(read: ReadBox, shape: Sequence[int], z: int) -> NDArray[Any]:
    plane: NDArray[Any] = read(Box((z, 0, 0), (z + 1, shape[1], shape[2])))[0]
    return plane


def _thinned(space: ScanSpace, steps: Sequence[int]) -> ScanSpace:
    """Return the space of every so many voxels; the first one stays where it is."""
    grid = space.grid
    shape = [-(-n // step) for n, step in zip(grid.shape, steps, strict=True)]
    spacing = [s * step for s, step in zip(grid.spacing, steps, strict=True)]
    thin = Grid(
        (shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]), grid.origin, grid.unit
    )
    return ScanSpace(thin, np.asarray(space.affine) @ np.diag([*steps[::-1], 1.0]))


class _PlaneStream:
    """Reads planes of float32 values in the order of a file.

    Parameters
    ----------
    file : GzipFile
        At the first voxel.
    shape : sequence of int
        Along z, y, x.
    """

    def __init__(self, file: gzip.GzipFile, shape: Sequence[int]) -> None:
        self._file = file
        self._shape = (shape[1], shape[2])
        self._next = 0

    def plane(self, z: int) -> NDArray[np.float32]:
        """Return a plane (y, x) after those that were read."""
        size = 4 * prod(self._shape)
        while self._next < z:
            self._file.read(size)
            self._next += 1
        self._next += 1
        return np.frombuffer(self._file.read(size), dtype="<f4").reshape(self._shape)
