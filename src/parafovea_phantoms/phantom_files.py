"""The files of a phantom: volumes in OME-Zarr or NIfTI, and a table of its findings."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import ConfigError
from parafovea.geometry.grid import Grid
from parafovea.geometry.scan_space import ScanSpace
from parafovea.storage.store import create, replacing
from parafovea_phantoms.phantom import Finding

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
        # loads nibabel, which phantoms in OME-Zarr do without
        from parafovea.formats.nifti import write_nifti

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
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows([name, *(f"{n:.{DECIMALS}f}" for n in numbers)] for name, *numbers in rows)
