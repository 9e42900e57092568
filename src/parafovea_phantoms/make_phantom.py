"""Write a phantom: an image with its true classes and objects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from parafovea.errors import ConfigError
from parafovea.geometry.grid import shape3, vector3
from parafovea.storage.provenance import record
from parafovea_phantoms import PHANTOMS, chest_phantom
from parafovea_phantoms.phantom_files import write_findings, write_volume

logger = logging.getLogger(__name__)


def make_phantom(
    volume: Path,
    truth: Path,
    objects: Path,
    regions: Path | None = None,
    nodules: Path | None = None,
    *,
    kind: str,
    seed: int,
    shape: Sequence[int],
    spacing: Sequence[float],
    unit: str = "nanometer",
    variety: float = 0.0,
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
    regions : Path, optional
        Output: the tissue of each voxel, (z, y, x) uint8; the names are in its attributes.
    nodules : Path, optional
        Output: positions and diameters of the objects, a CSV with LUNA16's columns; its seriesuid
        is the name of the volume.
    kind : str
        Name of the phantom, one of `parafovea_phantoms.PHANTOMS`.
    seed : int
        Random seed, not negative.
    shape : sequence of int
        Voxels along z, y, x.
    spacing : sequence of float
        Distance between voxels along z, y, x, in `unit`.
    unit : str
        Name of the unit of length.
    variety : float
        Chance and strength of what differs between real scans, from 0 to 1; a cell has none.

    Raises
    ------
    ConfigError
        If the kind is unknown, the seed is negative, the phantom does not fit the shape and
        spacing, it has no regions or findings, or no variety.
    GridError
        If the shape, spacing or unit are invalid.
    """
    if kind not in PHANTOMS:
        raise ConfigError(f"unknown phantom {kind!r}: use one of {', '.join(PHANTOMS)}")
    if variety and PHANTOMS[kind] is not chest_phantom:
        raise ConfigError(f"phantom {kind} has no variety: use phantom chest")
    varied = {"variety": variety} if variety else {}
    phantom = PHANTOMS[kind](
        seed, shape=shape3(shape), spacing=vector3(spacing), unit=unit, **varied
    )
    count = int(phantom.objects.max())
    logger.info("%s phantom of seed %d: %s, %d objects", kind, seed, phantom.grid, count)
    made = record("make_phantom", phantom={"kind": kind, "seed": seed, **varied})
    named = {**made, "classes": list(phantom.class_names)}
    counted = {**made, "count": count}
    grid = phantom.grid
    if regions is not None:
        if phantom.regions is None:
            raise ConfigError(f"phantom {kind} has no regions: use phantom chest")
        shown = {**made, "regions": list(phantom.region_names)}
        write_volume(regions, phantom.regions, grid, attributes=shown, labels=True)
    if nodules is not None:
        series = volume.name.partition(".")[0]
        write_findings(nodules, phantom.findings, grid, series=series)
    write_volume(volume, phantom.image, grid, attributes=made)
    write_volume(truth, phantom.classes, grid, attributes=named, labels=True)
    write_volume(objects, phantom.objects, grid, attributes=counted, labels=True)
