"""What a phantom is: a volume whose truth is known exactly, because it was drawn from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea.grid import Grid, Vector


@dataclass(frozen=True)
class Finding:
    """An object to be found, as it was drawn.

    Parameters
    ----------
    position : Vector
        Centre of mass z, y, x in the world of the phantom's grid.
    diameter : float
        Of the sphere of the same volume, in the grid's unit.
    """

    position: Vector
    diameter: float


@dataclass(frozen=True)
class Phantom:
    """A made volume with its truth.

    Parameters
    ----------
    image : ndarray
        (z, y, x) uint8 grey values or int16 Hounsfield units.
    classes : ndarray
        (z, y, x) uint8 index into the names in `class_names`.
    objects : ndarray
        (z, y, x) uint32 ids of the objects to be found, from 1 on, each one face-connected piece;
        0 elsewhere.
    grid : Grid
        Where the voxels lie.
    class_names : tuple of str
        Name of each class; the first is the background.
    decoys : tuple of Vector
        Centres of mass, as (fractional) voxel indices z, y, x, of bodies that look like an object
        and are none.
    regions : ndarray, optional
        (z, y, x) uint8 index into the names in `region_names`: what each voxel shows, finer than
        the classes.
    region_names : tuple of str
        Name of each region.
    findings : tuple of Finding
        The objects in the order of their ids, where they are known as points and diameters.
    """

    image: NDArray[np.uint8] | NDArray[np.int16]
    classes: NDArray[np.uint8]
    objects: NDArray[np.uint32]
    grid: Grid
    class_names: tuple[str, ...]
    decoys: tuple[Vector, ...]
    regions: NDArray[np.uint8] | None = None
    region_names: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
