"""Anatomy of a phantom cell: surfaces as signed distances on a coarse lattice.

The volume shows a part of a cell: a nucleus larger than any local view, cytoplasm around it, and
at the far side the plasma membrane and the exterior of the cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parafovea.geometry.grid import Vector, vector3
from parafovea_phantoms.cells.blobs import CLEAR, Blob, blob_distance, place_blobs
from parafovea_phantoms.lattice import Field, Lattice, random_stream, smoothstep, white_noise

#: Half the thickness of a cisterna (two dark sheets with a bright gap), in lengths. The plasma
#: membrane, the nuclear envelope and the reticulum share this one profile.
HALF_CISTERNA = 3.0

#: Parts of the volume.
NUCLEUS_PART, OUTSIDE_PART = 0.34, 0.17

#: Numbers of the random generators; changing them changes the phantom of a seed.
LAYOUT, SURFACE, RETICULUM, CHROMATIN, BODIES, MITOCHONDRIA, WOBBLES, CLOUDS, DRIFT = range(9)


@dataclass(frozen=True)
class Anatomy:
    """The anatomy of a cell; fields are float32 (z, y, x) at the lattice's points.

    Parameters
    ----------
    lattice : Lattice
        Lattice of the fields.
    nucleus, cell : ndarray
        Signed distance to the envelope and to the plasma membrane, in lengths, positive inside.
    level, slope : ndarray
        The middle surfaces of the reticulum are where `level` is an integer; `slope` is its
        gradient magnitude, per length.
    allowed : ndarray
        Signed distance to the region of the reticulum, in lengths, positive inside.
    base : ndarray
        Large-scale grey value: chromatin, the cell's surroundings, illumination.
    grain : ndarray
        Strength of the fine texture, 1 in the cytoplasm.
    wobble : ndarray
        Unevenness of the blobs.
    mitochondria, bodies : tuple of Blob
        The blobs in the cytoplasm, and the decoys in the nucleus.
    """

    lattice: Lattice
    nucleus: Field
    cell: Field
    level: Field
    slope: Field
    allowed: Field
    base: Field
    grain: Field
    wobble: Field
    mitochondria: tuple[Blob, ...]
    bodies: tuple[Blob, ...]


def plan_cell(seed: int, lattice: Lattice) -> Anatomy:
    """Return the anatomy of the cell of a seed."""
    nucleus, cell = _surfaces(seed, lattice)
    # The space for blobs is measured to the middle of the surrounding cisternae.
    clearance = np.float32(CLEAR + HALF_CISTERNA)
    gap, per_blob = 1.5 * CLEAR, 33.0**3
    bodies = place_blobs(
        random_stream(seed, BODIES),
        lattice,
        room=nucleus - clearance,
        gap=gap,
        per_blob=per_blob,
    )
    mitochondria = place_blobs(
        random_stream(seed, MITOCHONDRIA),
        lattice,
        room=np.minimum(-nucleus, cell) - clearance,
        gap=gap,
        per_blob=per_blob,
    )
    blobs = blob_distance(lattice, [*bodies, *mitochondria], limit=CLEAR + 16)
    level, slope, allowed = _reticulum(seed, lattice, nucleus=nucleus, cell=cell, blobs=blobs)
    base, grain = _shades(seed, lattice, nucleus=nucleus, cell=cell, blobs=blobs)
    wobble = lattice.noise(random_stream(seed, WOBBLES), 4.0)
    return Anatomy(
        lattice, nucleus, cell, level, slope, allowed, base, grain, wobble, mitochondria, bodies
    )


def _surfaces(seed: int, lattice: Lattice) -> tuple[Field, Field]:
    """Return the signed distances to the nuclear envelope and to the plasma membrane."""
    rng = random_stream(seed, LAYOUT)
    shares = rng.uniform(0.18, 0.34, size=3)
    flips = rng.integers(0, 2, size=3)
    places = np.where(flips == 1, 1 - shares, shares)
    # The nucleus may be anywhere along z, since a volume is often thinner than a nucleus.
    places[0] = rng.uniform(0.3, 0.7)
    centre = vector3([float(p) * e for p, e in zip(places, lattice.extent, strict=True)])
    stretch = vector3([float(s) for s in rng.uniform(0.85, 1.15, size=3)])
    rough = random_stream(seed, SURFACE)
    radius = _radius(lattice, centre, stretch)
    nucleus = -radius + 7 * lattice.noise(rough, 22.0) + 2 * lattice.noise(rough, 13.0)
    cell = -radius + 9 * lattice.noise(rough, 22.0) + 2 * lattice.noise(rough, 13.0)
    nucleus = nucleus - np.float32(np.quantile(nucleus, 1 - NUCLEUS_PART))
    cell = cell - np.float32(np.quantile(cell, OUTSIDE_PART))
    inner = lattice.distance(nucleus, 0.5)
    # The cell encloses its nucleus with a margin, independent of the noise.
    return inner, lattice.distance(np.maximum(cell, nucleus + 24), 0.5)


def _radius(lattice: Lattice, centre: Vector, stretch: Vector) -> Field:
    z, y, x = (
        (p - np.float32(c)) * np.float32(s)
        for p, c, s in zip(lattice.positions(), centre, stretch, strict=True)
    )
    radius: Field = np.sqrt(z * z + y * y + x * x)
    return radius


def _reticulum(
    seed: int, lattice: Lattice, *, nucleus: Field, cell: Field, blobs: Field
) -> tuple[Field, Field, Field]:
    """Return the level whose integers are sheets, its slope, and the region of the sheets."""
    rng = random_stream(seed, RETICULUM)
    level = lattice.noise(rng, 20.0) * np.float32(1.1)
    slope = np.maximum(lattice.slope(level), np.float32(0.015))
    patches = lattice.distance(lattice.noise(rng, 14.0) + np.float32(0.8), 0.03)
    clear = np.minimum(np.minimum(-nucleus, cell) - 12, blobs - np.float32(CLEAR))
    # Sheets would be thick where the level is flat, and touch where it is steep.
    gentle = np.minimum((slope - np.float32(0.02)) * 300, (np.float32(0.085) - slope) * 300)
    return level, slope, np.minimum(np.minimum(clear, patches), gentle).astype(np.float32)


def _shades(
    seed: int, lattice: Lattice, *, nucleus: Field, cell: Field, blobs: Field
) -> tuple[Field, Field]:
    """Return the large-scale grey value and the strength of the fine texture."""
    rng = random_stream(seed, CHROMATIN)
    away = smoothstep(blobs, CLEAR, CLEAR + 6)
    clumps = smoothstep(lattice.noise(rng, 7.0), 0.5, 1.3)
    rim = smoothstep(lattice.noise(rng, 10.0), -0.6, 0.4) * (1 - smoothstep(nucleus, 8, 16))
    inside = smoothstep(nucleus, HALF_CISTERNA, HALF_CISTERNA + 3)
    chromatin = inside * away * (20 - 62 * np.maximum(clumps, rim))
    outside = smoothstep(-cell, CLEAR - 3, CLEAR + 9)
    clouds = lattice.noise(random_stream(seed, CLOUDS), 5.0)
    base = 132 + chromatin + 30 * outside + 3.5 * clouds + _drift(seed, lattice)
    grain = 1 + 0.5 * inside * away * np.maximum(clumps, rim) - 0.7 * outside
    return base.astype(np.float32), grain.astype(np.float32)


def _drift(seed: int, lattice: Lattice) -> Field:
    """Return the uneven illumination: a linear and a quadratic term of a few grey values."""
    weights = white_noise(random_stream(seed, DRIFT), (6,))
    total = np.zeros((1, 1, 1), dtype=np.float32)
    axes = zip(lattice.positions(), lattice.extent, weights[:3], weights[3:], strict=True)
    for position, extent, tilt, bowl in axes:
        t = position * np.float32(2 / extent) - 1
        total = total + 3 * tilt * t + 2 * bowl * t * t
    return total
