"""Write a phantom: an image with its true classes and objects."""

from __future__ import annotations

import logging
from pathlib import Path

from parafovea.errors import ConfigError
from parafovea.geometry.grid import Shape, Vector
from parafovea.storage.provenance import record
from parafovea_phantoms import PHANTOMS
from parafovea_phantoms.phantom import write_findings, write_volume

logger = logging.getLogger(__name__)


def make_phantom(
    volume: Path,
    truth: Path,
    objects: Path,
    *,
    kind: str,
    seed: int,
    shape: Shape,
    spacing: Vector,
    unit: str = "nanometer",
    regions: str | Path | None = None,
    nodules: str | Path | None = None,
) -> None:
    """Write a phantom as volumes on one grid, in OME-Zarr or NIfTI (`.nii.gz`).

    Parameters
    ----------
    volume : Path
        Output: the image, (z, y, x) uint8, or int16 Hounsfield units.
    truth : Path
        Output: the class of each voxel, (z, y, x) uint8; the names are in its attributes.
    objects : Path
        Output: the object id of each voxel, (z, y, x) uint32, 0 for background.
    kind : str
        Name of the phantom, one of `parafovea_phantoms.PHANTOMS`.
    seed : int
        Random seed, not negative.
    shape : tuple of int
        Voxels along z, y, x.
    spacing : tuple of float
        Distance between voxels along z, y, x, in `unit`.
    unit : str
        Name of the unit of length.
    regions : str or Path, optional
        Output: the tissue of each voxel, (z, y, x) uint8; the names are in its attributes.
    nodules : str or Path, optional
        Output: positions and diameters of the objects, a CSV with LUNA16's columns; its seriesuid
        is the name of the volume.

    Raises
    ------
    ConfigError
        If the kind is unknown, the seed is negative, the phantom does not fit the shape and
        spacing, or it has no regions or findings.
    GridError
        If the shape, spacing or unit are invalid.
    """
    if kind not in PHANTOMS:
        raise ConfigError(f"unknown phantom {kind!r}: use one of {', '.join(PHANTOMS)}")
    phantom = PHANTOMS[kind](seed, shape=shape, spacing=spacing, unit=unit)
    count = int(phantom.objects.max())
    logger.info("%s phantom of seed %d: %s, %d objects", kind, seed, phantom.grid, count)
    made = record("make_phantom", phantom={"kind": kind, "seed": seed})
    named = {**made, "classes": list(phantom.class_names)}
    counted = {**made, "count": count}
    grid = phantom.grid
    if regions is not None:
        if phantom.regions is None:
            raise ConfigError(f"phantom {kind} has no regions: use phantom chest")
        shown = {**made, "regions": list(phantom.region_names)}
        write_volume(Path(regions), phantom.regions, grid, attributes=shown, labels=True)
    if nodules is not None:
        series = volume.name.partition(".")[0]
        write_findings(Path(nodules), phantom.findings, grid, series=series)
    write_volume(volume, phantom.image, grid, attributes=made)
    write_volume(truth, phantom.classes, grid, attributes=named, labels=True)
    write_volume(objects, phantom.objects, grid, attributes=counted, labels=True)
