"""The `Phantom` class: a synthetic volume with exact ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Grid, Vector


@dataclass(frozen=True)
class Finding:
    """The position and diameter of an object.

    Parameters
    ----------
    position : Vector
        Centre of mass z, y, x in the world of the phantom's grid.
    diameter : float
        Diameter of a sphere of the same volume, in the grid's unit.
    """

    position: Vector
    diameter: float


@dataclass(frozen=True)
class Phantom:
    """A synthetic volume with its ground truth.

    Parameters
    ----------
    image : ndarray
        (z, y, x) uint8 grey values or int16 Hounsfield units.
    classes : ndarray
        (z, y, x) uint8 index into the names in `class_names`.
    objects : ndarray
        (z, y, x) uint32 ids of the target objects, from 1, each one face-connected component; 0
        elsewhere.
    grid : Grid
        Grid of the volume.
    class_names : tuple of str
        Name of each class; the first is the background.
    decoys : tuple of Vector
        Centres of mass, as (fractional) voxel indices z, y, x, of decoys: structures that look like
        a target object.
    regions : ndarray, optional
        (z, y, x) uint8 index into the names in `region_names`: the tissue of each voxel, finer
        than the classes.
    region_names : tuple of str
        Name of each region.
    findings : tuple of Finding
        Positions and diameters of the objects in the order of their ids, if known.
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
