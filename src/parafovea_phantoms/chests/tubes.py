"""Tubes: vessels, airways and ribs as chains of straight, conical pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Box
from parafovea_phantoms.chests.frame import Frame, Points
from parafovea_phantoms.lattice import Field, Lattice

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Tubes:
    """A set of straight pieces of tube.

    Parameters
    ----------
    begin, end : ndarray
        (n, 3) float64 z, y, x of both ends of each piece, in millimetres.
    first, last : ndarray
        (n,) float64 radius at both ends, in millimetres.
    """

    begin: Points
    end: Points
    first: Values
    last: Values

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self.first)

    @classmethod
    def chain(cls, points: Points | Sequence[Sequence[float]], radii: Sequence[float]) -> Tubes:
        """Return one tube through points (n, 3), with a radius at each."""
        through = np.asarray(points, dtype=np.float64)
        radius = np.asarray(radii, dtype=np.float64)
        return cls(through[:-1], through[1:], radius[:-1], radius[1:])

    @classmethod
    def together(cls, parts: Iterable[Tubes]) -> Tubes:
        """Return the pieces of several tubes as one."""
        listed = list(parts)
        if not listed:
            return cls(np.empty((0, 3)), np.empty((0, 3)), np.empty(0), np.empty(0))
        return cls(
            np.concatenate([p.begin for p in listed]),
            np.concatenate([p.end for p in listed]),
            np.concatenate([p.first for p in listed]),
            np.concatenate([p.last for p in listed]),
        )

    def placed(self, frame: Frame) -> Tubes:
        """Return the tubes transformed from a frame to the volume."""
        return Tubes(
            frame.placed(self.begin),
            frame.placed(self.end),
            self.first * frame.scale,
            self.last * frame.scale,
        )

    def thicker(self, by: float) -> Tubes:
        """Return the tubes with `by` added to the radius, in mm, without those of no radius."""
        first, last = self.first + by, self.last + by
        return Tubes(self.begin, self.end, first, last).selected(np.minimum(first, last) > 0)

    def selected(self, kept: NDArray[np.bool_]) -> Tubes:
        """Return the pieces of a mask (n,)."""
        return Tubes(self.begin[kept], self.end[kept], self.first[kept], self.last[kept])

    def distance(self, lattice: Lattice, limit: float) -> Field:
        """Return the signed distance to the tubes at a lattice's points, at most `limit`.

        (z, y, x) float32 in millimetres, positive outside.
        """
        field = np.full(lattice.shape, limit, dtype=np.float32)
        for here, away, radius in self._near(lattice.positions(), limit):
            np.minimum(field[here], away - radius, out=field[here])
        return field

    def coverage(self, lattice: Lattice, box: Box, width: float) -> Field:
        """Return the share of each voxel of a box inside a tube.

        Parameters
        ----------
        lattice : Lattice
            Lattice of the volume, in millimetres.
        box : Box
            Voxels to compute.
        width : float
            Side of a voxel, in millimetres. A thinner tube has the share that its cross-section
            has of a voxel's face.

        Returns
        -------
        (z, y, x) float32, in [0, 1]
            The maximum over all tubes.
        """
        shares = np.zeros(box.shape, dtype=np.float32)
        half, steep, face = np.float32(0.5), np.float32(1 / width), np.float32(np.pi / width**2)
        for here, away, radius in self._near(lattice.voxel_positions(box), width):
            share = (np.maximum(radius, np.float32(width / 2)) - away) * steep + half
            share = np.minimum(share, 1) * np.minimum(radius * radius * face, 1)
            np.maximum(shares[here], share, out=shares[here])
        return shares

    def _near(
        self, axes: tuple[Field, Field, Field], margin: float
    ) -> Iterator[tuple[tuple[slice, ...], Field, Field]]:
        """Yield each piece within `margin` millimetres of any of the positions.

        With the slice of nearby positions, their distance to the piece's axis, and its radius
        there.
        """
        around = np.maximum(np.maximum(self.first, self.last), margin / 2) + margin
        low = np.minimum(self.begin, self.end) - around[:, None]
        high = np.maximum(self.begin, self.end) + around[:, None]
        flat = [axis.reshape(-1) for axis in axes]
        start = np.stack([np.searchsorted(p, v) for p, v in zip(flat, low.T, strict=True)], 1)
        stop = np.stack([np.searchsorted(p, v) for p, v in zip(flat, high.T, strict=True)], 1)
        begins, ways = self.begin.astype(np.float32), (self.end - self.begin).astype(np.float32)
        squares = np.maximum((ways * ways).sum(axis=1), np.float32(1e-6))
        first, change = self.first.astype(np.float32), (self.last - self.first).astype(np.float32)
        z, y, x = flat
        for n in np.flatnonzero((stop > start).all(axis=1)):
            (a, b, c), (d, e, f) = start[n].tolist(), stop[n].tolist()
            dz = (z[a:d] - begins[n, 0])[:, None, None]
            dy = (y[b:e] - begins[n, 1])[:, None]
            dx = x[c:f] - begins[n, 2]
            wz, wy, wx = ways[n] / squares[n]
            part = np.minimum(np.maximum(dz * wz + dy * wy + dx * wx, 0), 1)
            dz, dy, dx = dz - part * ways[n, 0], dy - part * ways[n, 1], dx - part * ways[n, 2]
            away = np.sqrt(dz * dz + dy * dy + dx * dx)
            yield (slice(a, d), slice(b, e), slice(c, f)), away, first[n] + change[n] * part
