"""Make a phantom: an image with its true classes and objects, for the demo and the benchmarks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from parafovea.errors import ConfigError
from parafovea.grid import Grid, Shape, Vector
from parafovea.phantoms import PHANTOMS
from parafovea.provenance import record
from parafovea.store import create

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
) -> None:
    """Write a phantom as three OME-Zarr stores on one grid.

    Parameters
    ----------
    volume : Path
        Written: the image, (z, y, x) uint8.
    truth : Path
        Written: the class of each voxel, (z, y, x) uint8; the names are in its attributes.
    objects : Path
        Written: the id of each object, (z, y, x) uint32, 0 where there is none.
    kind : str
        Name of the phantom, one of `parafovea.phantoms.PHANTOMS`.
    seed : int
        Not negative.
    shape : tuple of int
        Voxels along z, y, x.
    spacing : tuple of float
        Distance between voxels along z, y, x, in `unit`.
    unit : str
        Name of the unit of length.

    Raises
    ------
    ConfigError
        If there is no phantom of this kind, or the seed is negative.
    GridError
        If the shape, spacing or unit make no grid.
    """
    if kind not in PHANTOMS:
        raise ConfigError(f"phantom {kind!r} is not known: use one of {', '.join(PHANTOMS)}")
    phantom = PHANTOMS[kind](seed, shape=shape, spacing=spacing, unit=unit)
    count = int(phantom.objects.max())
    logger.info("%s phantom of seed %d: %s, %d objects", kind, seed, phantom.grid, count)
    made = record("make_phantom", phantom={"kind": kind, "seed": seed})
    named = {**made, "classes": list(phantom.class_names)}
    _write(volume, phantom.image, phantom.grid, attributes=made, labels=False)
    _write(truth, phantom.classes, phantom.grid, attributes=named, labels=True)
    _write(objects, phantom.objects, phantom.grid, attributes={**made, "count": count}, labels=True)


def _write(
    path: Path,
    voxels: np.ndarray[Any, Any],
    grid: Grid,
    *,
    attributes: dict[str, Any],
    labels: bool,
) -> None:
    with create(path, grid, dtype=voxels.dtype, attributes=attributes, labels=labels) as array:
        array[...] = voxels
