"""Axial slices of a scan in radiological orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation

from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.postprocess.segmentation.components import ReadSlab

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class AxialSlices:
    """Axial slices with the patient's right on the left and the front on top.

    Parameters
    ----------
    grid : Grid
        Grid of the scan in millimetres.
    axial, down, right : int
        Array axes (of z, y, x) normal to the slices, and down and right in the image.
    flip_down, flip_right : bool
        Whether indices decrease in these directions.
    letters : str
        Patient's sides at the left, right, top and bottom; empty if unknown.
    """

    grid: Grid
    axial: int = 0
    down: int = 1
    right: int = 2
    flip_down: bool = False
    flip_right: bool = False
    letters: str = ""

    @classmethod
    def of(cls, grid: Grid, affine: Array | None) -> AxialSlices:
        """Return the view of a scan.

        Parameters
        ----------
        grid : Grid
            Grid of the scan in any unit of length.
        affine : (4, 4) float64 or None
            From voxel (x, y, z) to RAS millimetres; for an oblique one, the nearest axes are used.
            Without it, slices are drawn in array order.
        """
        own = grid.converted("millimeter")
        if affine is None:
            return cls(own)
        ornt = io_orientation(np.asarray(affine, np.float64))
        # Array axis along each of R, A, S, and whether its index increases in that direction.
        axes = {int(world): 2 - voxel for voxel, (world, _) in enumerate(ornt)}
        grows = {int(world): bool(sign > 0) for world, sign in ornt}
        return cls(own, axes[2], axes[1], axes[0], grows[1], grows[0], "RLAP")

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width of a slice in millimetres."""
        return self.grid.extent[self.down], self.grid.extent[self.right]

    def box(self, index: int) -> Box:
        """Return the box of one slice."""
        start, stop = [0, 0, 0], list(self.grid.shape)
        start[self.axial], stop[self.axial] = index, index + 1
        return Box(shape3(start), shape3(stop))

    def picture(self, values: Array) -> Array:
        """Return a slice (z, y, x) of one voxel's depth as (row, column)."""
        flat = np.take(values, 0, axis=self.axial)
        if self.down > self.right:
            flat = flat.T
        flat = flat[::-1] if self.flip_down else flat
        return np.ascontiguousarray(flat[:, ::-1] if self.flip_right else flat)

    def read(self, read: ReadSlab, index: int) -> Array:
        """Return a slice of the scan as (row, column)."""
        return self.picture(np.asarray(read(self.box(index))))

    def place(self, index: Array) -> tuple[float, float]:
        """Return the position of a voxel (z, y, x) in millimetres from the image's left and top."""
        right = (float(index[self.right]) + 0.5) * self.grid.spacing[self.right]
        down = (float(index[self.down]) + 0.5) * self.grid.spacing[self.down]
        height, width = self.extent
        return (
            width - right if self.flip_right else right,
            height - down if self.flip_down else down,
        )


def choose_slices(axial: AxialSlices, indices: Array, count: int) -> list[int]:
    """Return the slices to draw as indices along the axial axis.

    Parameters
    ----------
    axial : AxialSlices
        The scan.
    indices : (n, 3) float64
        Voxels of the detections along z, y, x, the most confident first.
    count : int
        Maximum number of slices.

    Returns
    -------
    list of int
        Distinct slices through the first detections; evenly spaced without detections.
    """
    depth = axial.grid.shape[axial.axial]
    if not len(indices):
        shown = min(count, depth)
        return [(2 * i + 1) * depth // (2 * shown) for i in range(shown)]
    nearest = np.clip(np.rint(indices[:, axial.axial]), 0, depth - 1).astype(int).tolist()
    return list(dict.fromkeys(nearest))[:count]
