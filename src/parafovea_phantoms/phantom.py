"""The `Phantom` class: a synthetic volume with exact ground truth, and its files."""

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


#: Decimal places of millimetres in tables.
DECIMALS = 4


def write_volume(
    path: Path,
    voxels: np.ndarray[Any, Any],
    grid: Grid,
    *,
    attributes: dict[str, Any],
    labels: bool = False,
) -> None:
    """Write a volume atomically.

    Parameters
    ----------
    path : Path
        `.nii.gz` for NIfTI, otherwise an OME-Zarr folder.
    voxels : ndarray
        (z, y, x) in the grid's shape.
    grid : Grid
        Grid of the volume. For NIfTI its world is that of DICOM (LPS); the file's affine maps to
        RAS, so its x and y steps are negative.
    attributes : dict
        Provenance of the volume; in NIfTI a JSON comment.
    labels : bool
        Whether to mark the volume as a label image for OME-Zarr viewers.
    """
    if path.name.endswith(".nii.gz"):
        comment = json.dumps({"parafovea": attributes})
        write_nifti(
            path,
            lambda box: voxels[box.slices],
            space=ScanSpace(grid),
            dtype=voxels.dtype,
            comment=comment,
            level=3,
        )
        return
    with create(path, grid, dtype=voxels.dtype, attributes=attributes, labels=labels) as array:
        array[...] = voxels


def write_findings(path: Path, findings: Sequence[Finding], grid: Grid, *, series: str) -> None:
    """Write findings in LUNA16's format: seriesuid, coordX, coordY, coordZ, diameter_mm.

    Parameters
    ----------
    path : Path
        CSV to write, atomically.
    findings : sequence of Finding
        Findings in the order of their ids.
    grid : Grid
        Grid of the phantom; its world is that of DICOM, as in `write_volume`.
    series : str
        Value of the column seriesuid.

    Raises
    ------
    ConfigError
        If there are no findings.
    """
    if not findings:
        raise ConfigError(
            f"{path} would be empty, since only phantom chest has findings: use phantom chest"
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
