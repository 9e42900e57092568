"""What a phantom is: a volume whose truth is known exactly, because it was drawn from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parafovea.errors import ConfigError
from parafovea.formats.nifti import write_nifti
from parafovea.geometry.grid import Grid, Vector
from parafovea.geometry.scan_space import ScanSpace
from parafovea.storage.store import create, replacing


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


#: Decimals of the millimetres in a table.
DECIMALS = 4


def write_volume(
    path: Path,
    voxels: np.ndarray[Any, Any],
    grid: Grid,
    *,
    attributes: dict[str, Any],
    labels: bool = False,
) -> None:
    """Write a volume, whole or not at all.

    Parameters
    ----------
    path : Path
        `.nii.gz` for NIfTI, which any scan can be, else a folder of OME-Zarr.
    voxels : ndarray
        (z, y, x) of the grid's shape.
    grid : Grid
        Where they lie. For NIfTI its world is DICOM's: x to the patient's left, y to the back,
        z to the head; the file's affine leads to RAS, so that its x and y steps are negative.
    attributes : dict
        What made the volume; in NIfTI a comment in JSON.
    labels : bool
        Marks a label image for viewers of OME-Zarr.
    """
    if path.name.endswith(".nii.gz"):
        comment = json.dumps({"parafovea": attributes})
        write_nifti(
            path,
            lambda box: voxels[box.slices],
            space=ScanSpace(grid),
            dtype=voxels.dtype,
            comment=comment,
        )
        return
    with create(path, grid, dtype=voxels.dtype, attributes=attributes, labels=labels) as array:
        array[...] = voxels


def write_findings(path: Path, findings: Sequence[Finding], grid: Grid, *, series: str) -> None:
    """Write findings as LUNA16 does: seriesuid, coordX, coordY, coordZ, diameter_mm.

    Parameters
    ----------
    path : Path
        CSV to write, whole or not at all.
    findings : sequence of Finding
        In the order of their ids.
    grid : Grid
        Of the phantom; its world is DICOM's, as in `write_volume`.
    series : str
        What the column seriesuid says.

    Raises
    ------
    ConfigError
        If the phantom knows no findings.
    """
    if not findings:
        raise ConfigError(
            f"{path} would be empty: only a chest has findings, so make a phantom of kind chest"
        )
    world = grid.converted("millimeter")
    scale = world.spacing[0] / grid.spacing[0]
    rows = [
        [series, *(p * scale for p in finding.position[::-1]), finding.diameter * scale]
        for finding in findings
    ]
    columns = ["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"]
    table = pd.DataFrame(rows, columns=columns)
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n")
