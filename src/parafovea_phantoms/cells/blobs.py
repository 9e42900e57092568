"""Mitochondria and identical decoys, which differ only in their location."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parafovea.geometry.grid import Box, Shape, Vector, shape3, vector3
from parafovea_phantoms.lattice import Field, Lattice, smoothstep, white_noise

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
Values = NDArray[np.float64]

#: Up to this many lengths around every blob there is only the texture that cytoplasm and nucleus
#: share, so that a view of 24 voxels shows nothing but the blob.
CLEAR = 14.0

#: Half the thickness of the thinnest and of the thickest blob, in lengths.
THINNEST, THICKEST = 6.0, 8.5

#: Displacement of a blob's surface by the wobble field, in lengths per unit of the field.
WOBBLE = 1.1

#: Distance between two cristae, in lengths.
CRISTA_PERIOD = 5.2

#: Thickness of the dark membrane, in lengths.
MEMBRANE = 2.0


@dataclass(frozen=True)
class Blob:
    """A bent capsule with a dark membrane and folds (cristae) inside.

    Parameters
    ----------
    spine : tuple of Vector
        Points along the centreline, z, y, x, in lengths.
    radius : float
        Half the thickness, in lengths.
    normal, across : Vector
        Unit vectors z, y, x: from fold to fold, and along the direction of a fold.
    contrast : float
        0 for a plain dark blob, 1 for one with clear cristae.
    depths : tuple of float
        Depth of each fold, -1 to 1; the sign is the side that it starts from.
    """

    spine: tuple[Vector, ...]
    radius: float
    normal: Vector
    across: Vector
    contrast: float
    depths: tuple[float, ...]

    @property
    def centre(self) -> Vector:
        """The middle of the spine, in lengths."""
        return self.spine[len(self.spine) // 2]

    @property
    def reach(self) -> float:
        """Radius of a sphere around the centre that contains the blob, in lengths."""
        far = max(math.dist(self.centre, point) for point in self.spine)
        return far + self.radius + 2.5 * WOBBLE


@dataclass(frozen=True)
class DrawnBlob:
    """A blob's voxels.

    Parameters
    ----------
    box : Box
        Box of the voxels in the volume.
    mask : ndarray
        (z, y, x) bool in the box's shape: the blob, one connected component.
    shade : ndarray
        (z, y, x) float32: grey value that the blob adds, 0 outside of the mask.
    """

    box: Box
    mask: Mask
    shade: Field


def random_blob(rng: np.random.Generator, centre: Vector) -> Blob:
    """Return a random blob at `centre`; its shape does not depend on its location."""
    radius = float(rng.uniform(THINNEST, THICKEST))
    half = float(rng.uniform(0.0, 11.0))
    bend = float(rng.uniform(0.0, 0.4)) * half
    along = _unit(rng)
    side = _perpendicular(along, _unit(rng))
    spine = []
    for t in (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0):
        terms = zip(centre, along, side, strict=True)
        spine.append(vector3([c + t * half * a + (t * t) * bend * s for c, a, s in terms]))
    # Cristae are perpendicular to the long axis, slightly tilted.
    tilt = _unit(rng)
    normal = _normalized(vector3([a + 0.35 * b for a, b in zip(along, tilt, strict=True)]))
    across = _perpendicular(normal, _unit(rng))
    depths = tuple(float(d) for d in rng.uniform(-1.0, 1.0, size=16))
    contrast = float(rng.uniform(0.25, 1.0))
    return Blob(tuple(spine), radius, normal, across, contrast, depths)


def place_blobs(
    rng: np.random.Generator, lattice: Lattice, *, room: Field, gap: float, per_blob: float
) -> tuple[Blob, ...]:
    """Place blobs at random in free space, with a minimum distance.

    Parameters
    ----------
    rng : Generator
        Random generator of this population.
    lattice : Lattice
        Lattice of the phantom.
    room : ndarray
        (z, y, x) float32 at the lattice's points: distance to structures that a blob must not
        touch, in lengths.
    gap : float
        Minimum distance between two blobs, in lengths.
    per_blob : float
        Free volume per attempted blob, in cubic lengths.
    """
    candidates = np.argwhere(room > 0)
    if len(candidates) == 0:
        return ()
    wanted = max(1, round(len(candidates) * math.prod(lattice.step) / per_blob))
    order = rng.permutation(len(candidates))[: 60 * wanted]
    accepted: list[Blob] = []
    taken = np.empty((0, 3))
    around = np.empty(0)
    for point in candidates[order]:
        jitter = rng.uniform(-0.5, 0.5, size=3)
        centre = [
            min(max((p + j) * s, 0.0), (n - 1) * s)
            for p, j, s, n in zip(point, jitter, lattice.step, lattice.shape, strict=True)
        ]
        # Most attempts fail, so the cheap test of the centre comes before the blob is made.
        if _clearance(taken, around, np.array([centre])) < THINNEST + gap:
            continue
        blob = random_blob(rng, vector3(centre))
        spine = np.array(blob.spine)
        if _least_room(room, lattice, spine) < blob.radius + WOBBLE:
            continue
        if _clearance(taken, around, spine) >= blob.radius + gap:
            accepted.append(blob)
            taken = np.concatenate([taken, spine])
            around = np.concatenate([around, np.full(len(spine), blob.radius)])
        if len(accepted) == wanted:
            break
    return tuple(accepted)


def _clearance(taken: Points, around: Values, spine: Points) -> float:
    """Return the minimum distance from a spine to the points `taken`, less their radii `around`."""
    if len(taken) == 0:
        return math.inf
    square = np.full(len(taken), np.inf)
    for point in spine:
        dz, dy, dx = (taken - point).T
        square = np.minimum(square, dz * dz + dy * dy + dx * dx)
    return float((np.sqrt(square) - around).min())


def _least_room(room: Field, lattice: Lattice, spine: Points) -> float:
    """Return the minimum of `room` at the lattice points nearest to a spine, within the volume."""
    places = np.rint(spine / np.array(lattice.step)).astype(np.intp)
    z, y, x = np.clip(places, 0, np.array(lattice.shape) - 1).T
    return float(room[z, y, x].min())


def blob_distance(lattice: Lattice, blobs: Sequence[Blob], limit: float) -> Field:
    """Return the distance to the nearest blob's surface, in lengths, at most `limit`.

    At the lattice's points (z, y, x, float32); negative inside.
    """
    field = np.full(lattice.shape, limit, dtype=np.float32)
    for blob in blobs:
        box = _around(blob.centre, blob.reach + limit, step=lattice.step, shape=lattice.shape)
        near = _spine_distance(blob, lattice.positions(box))
        field[box.slices] = np.minimum(field[box.slices], near)
    return field


def draw_blob(blob: Blob, lattice: Lattice, *, shape: Shape, wobble: Field) -> DrawnBlob | None:
    """Return a blob's voxels, or None if it has none in the volume.

    Parameters
    ----------
    blob : Blob
        Blob to draw.
    lattice : Lattice
        Lattice of the phantom.
    shape : tuple of int
        Shape of the volume along z, y, x.
    wobble : ndarray
        (z, y, x) float32 at the lattice's points: makes the surface and the folds uneven.
    """
    box = _around(blob.centre, blob.reach, step=lattice.voxel, shape=shape)
    if box.size == 0:
        return None
    uneven = lattice.sample(wobble, box)
    positions = lattice.voxel_positions(box)
    distance = _spine_distance(blob, positions) + np.float32(WOBBLE) * uneven
    mask = largest_piece(distance <= 0)
    if not mask.any():
        return None
    depth = -distance
    membrane = 1 - smoothstep(depth, MEMBRANE - 0.5, MEMBRANE + 0.5)
    shade = -56 * membrane + (1 - membrane) * (
        -26 + blob.contrast * _cristae(blob, positions, depth=depth, uneven=uneven)
    )
    return DrawnBlob(box, mask, np.where(mask, shade, 0).astype(np.float32))


def _cristae(
    blob: Blob, positions: tuple[Field, Field, Field], *, depth: Field, uneven: Field
) -> Field:
    """Return the grey value of the folds: dark double sheets that start from one side."""
    relative = [p - np.float32(c) for p, c in zip(positions, blob.centre, strict=True)]
    n, a = blob.normal, blob.across
    phase = relative[0] * n[0] + relative[1] * n[1] + relative[2] * n[2] + 0.9 * uneven
    phase = phase / np.float32(CRISTA_PERIOD)
    whole = np.floor(phase)
    wave = np.abs(phase - whole - 0.5) * 2
    inward = (relative[0] * a[0] + relative[1] * a[1] + relative[2] * a[2]) / np.float32(
        blob.radius
    )
    depths = np.array(blob.depths, dtype=np.float32)[whole.astype(np.intp) % len(blob.depths)]
    side = np.where(depths < 0, np.float32(-1), np.float32(1))
    reached = smoothstep(np.abs(depths) - inward * side, -0.35, 0.15)
    fold = 1 - smoothstep(wave, 0.25, 0.65)
    inside = smoothstep(depth, 0.5, 1.5)
    grey: Field = (16 - 50 * fold * reached) * inside
    return grey


def _spine_distance(blob: Blob, positions: tuple[Field, Field, Field]) -> Field:
    z, y, x = positions
    nearest = np.full((z.size, y.size, x.size), np.inf, dtype=np.float32)
    for point in blob.spine:
        dz, dy, dx = (p - np.float32(q) for p, q in zip((z, y, x), point, strict=True))
        nearest = np.minimum(nearest, dz * dz + dy * dy + dx * dx)
    return np.sqrt(nearest) - np.float32(blob.radius)


def largest_piece(mask: Mask) -> Mask:
    """Return the largest face-connected component; thick voxels or the border may split a blob."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))


def _around(centre: Vector, reach: float, *, step: Vector, shape: Shape) -> Box:
    """Return the box of indices within `reach` lengths of a centre, clipped to `shape`."""
    start = [math.ceil((c - reach) / s) for c, s in zip(centre, step, strict=True)]
    stop = [math.floor((c + reach) / s) + 1 for c, s in zip(centre, step, strict=True)]
    return Box(shape3(start), shape3(stop)).intersection(Box.whole(shape))


def _unit(rng: np.random.Generator) -> Vector:
    """Return a random direction."""
    while True:
        vector = vector3([float(v) for v in white_noise(rng, (3,))])
        if any(abs(v) > 0.1 for v in vector):
            return _normalized(vector)


def _normalized(vector: Vector) -> Vector:
    length = math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    return vector3([v / length for v in vector])


def _perpendicular(to: Vector, hint: Vector) -> Vector:
    """Return the unit vector nearest to `hint` that is perpendicular to `to`."""
    dot = sum(a * b for a, b in zip(to, hint, strict=True))
    rest = vector3([h - dot * t for h, t in zip(hint, to, strict=True)])
    if max(abs(r) for r in rest) < 1e-3:
        return _perpendicular(to, vector3([to[1], to[2], -to[0]]))
    return _normalized(rest)
