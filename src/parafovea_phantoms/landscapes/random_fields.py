"""Random fields of the plane whose values depend only on the position and a key.

A landscape has no border: any window of it can be drawn alone, and adjacent or overlapping windows
agree bit for bit. Each random number is a hash of integers (a lattice cell or a pixel), and smooth
fields are sums over the four nearest lattice lines in a fixed order.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A field of values (y, x).
Field = NDArray[np.float64]
#: Random bits, broadcastable to (y, x).
Bits = NDArray[np.uint32]

#: Mean square of a cubic B-spline's weights, 151/315: the variance that interpolation leaves.
_KEPT = 151 / 315


def key_of(seed: int, *names: str | int) -> int:
    """Return the 32-bit key of one structure of a landscape."""
    words = [zlib.crc32(str(name).encode()) for name in names]
    return int(np.random.SeedSequence(seed, spawn_key=words).generate_state(1)[0])


def hashed(key: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Bits:
    """Return 32 random bits for each pair of integers.

    Parameters
    ----------
    key : int
        Key of the structure.
    rows, columns : ndarray
        int64 of any sign, broadcastable to each other.

    Returns
    -------
    ndarray
        uint32, in their broadcast shape.
    """
    first = np.asarray(rows, np.int64).astype(np.uint32) * np.uint32(0x9E3779B1)
    second = np.asarray(columns, np.int64).astype(np.uint32) * np.uint32(0x85EBCA77)
    return mixed(mixed(first ^ np.uint32(key)) ^ second)


def mixed(bits: Bits, key: int = 0) -> Bits:
    """Mix bits with an integer hash: a bijection in which each bit affects all others.

    Shifts and factors are those of "lowbias32" (C. Wellons, Hash Prospector, public domain).
    """
    out: Bits = np.asarray(bits) ^ np.uint32(key)
    out = (out ^ (out >> np.uint32(16))) * np.uint32(0x7FEB352D)
    out = (out ^ (out >> np.uint32(15))) * np.uint32(0x846CA68B)
    return out ^ (out >> np.uint32(16))


def another(key: int, number: int) -> int:
    """Return a key derived from another one."""
    return int(mixed(np.array([key], np.uint32), number)[0])


def uniform(bits: Bits) -> Field:
    """Convert random bits to numbers in [0, 1) (float64, same axes)."""
    return bits.astype(np.float64) * 2.0**-32


def normal(bits: Bits) -> Field:
    """Convert random bits to approximately standard normal numbers: sums of four bytes."""
    total = np.zeros(bits.shape, np.uint32)
    for shift in (0, 8, 16, 24):
        total += (bits >> np.uint32(shift)) & np.uint32(255)
    return (total.astype(np.float64) - 510.0) * (1 / math.sqrt(4 * (256**2 - 1) / 12))


def smooth(key: int, y: Field, x: Field, scale: float) -> Field:
    """Return smooth noise of mean 0 and variance about 1 on the grid of two axes.

    Parameters
    ----------
    key : int
        Key of the structure.
    y, x : ndarray
        (y,) and (x,): positions, in metres.
    scale : float
        Distance between the lattice points whose random values are interpolated, in metres.

    Returns
    -------
    ndarray
        (y, x) float64; twice continuously differentiable (cubic B-splines).
    """
    return _interpolated(key, y, x, scale, slope="")


def slopes(key: int, y: Field, x: Field, scale: float) -> tuple[Field, Field]:
    """Return the derivatives of `smooth` along y and x, per metre: two (y, x) float64."""
    return tuple(_interpolated(key, y, x, scale, slope=axis) for axis in "yx")  # type: ignore[return-value]


def rough(key: int, y: Field, x: Field, scale: float, *, octaves: int = 3) -> Field:
    """Return fractal noise of variance about 1: octaves of `smooth` with halved scales."""
    weights = [0.5**octave for octave in range(octaves)]
    total = sum(
        weight * smooth(another(key, octave), y, x, scale * 0.5**octave)
        for octave, weight in enumerate(weights)
    )
    return np.asarray(total / math.sqrt(sum(weight**2 for weight in weights)))


def _interpolated(key: int, y: Field, x: Field, scale: float, *, slope: str) -> Field:
    rows, row_weights = _taps(y, scale, slope == "y")
    columns, column_weights = _taps(x, scale, slope == "x")
    top, left = int(rows.min()), int(columns.min())
    lattice = normal(
        hashed(
            key,
            np.arange(top, int(rows.max()) + 4)[:, None],
            np.arange(left, int(columns.max()) + 4)[None, :],
        )
    )
    along = row_weights[0][:, None] * lattice[rows - top]
    for tap in range(1, 4):
        along = along + row_weights[tap][:, None] * lattice[rows - top + tap]
    out = column_weights[0] * along[:, columns - left]
    for tap in range(1, 4):
        out = out + column_weights[tap] * along[:, columns - left + tap]
    return out / _KEPT


def _taps(
    places: Field, scale: float, slope: bool
) -> tuple[NDArray[np.int64], tuple[Field, Field, Field, Field]]:
    """Return the first of the four nearest lattice lines of each position, and their weights."""
    lines = np.asarray(places, np.float64) / scale
    low = np.floor(lines)
    t = lines - low
    if slope:
        weights = (-((1 - t) ** 2) / 2, 1.5 * t**2 - 2 * t, -1.5 * t**2 + t + 0.5, t**2 / 2)
        weights = tuple(weight / scale for weight in weights)  # type: ignore[assignment]
    else:
        weights = (
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        )
    return low.astype(np.int64) - 1, weights


@dataclass(frozen=True)
class Cells:
    """The cells of a random tessellation at positions, all (y, x).

    Parameters
    ----------
    bits : ndarray
        uint32 random bits, constant over a cell.
    y, x : ndarray
        Position relative to the middle of the cell, in metres.
    edge : ndarray
        Distance to the nearest edge, in metres.
    """

    bits: Bits
    y: Field
    x: Field
    edge: Field


def cells(key: int, y: Field, x: Field, size: float, *, edges: bool = True) -> Cells:
    """Return the cells at positions in the Voronoi tessellation of jittered lattice points.

    Parameters
    ----------
    key : int
        Key of the structure.
    y, x : ndarray
        Positions, in metres, broadcastable to (y, x).
    size : float
        Mean distance between the points, in metres.
    edges : bool
        Compute the distance to the edge, which is infinite otherwise.
    """
    y, x = np.broadcast_arrays(np.asarray(y, np.float64), np.asarray(x, np.float64))
    row, column = np.floor(y / size).astype(np.int64), np.floor(x / size).astype(np.int64)
    top, left = int(row.min()) - 1, int(column.min()) - 1
    rows = np.arange(top, int(row.max()) + 2)[:, None]
    columns = np.arange(left, int(column.max()) + 2)[None, :]
    bits = hashed(key, rows, columns)
    point_y = (rows + 0.15 + 0.7 * uniform(mixed(bits, 1))) * size
    point_x = (columns + 0.15 + 0.7 * uniform(mixed(bits, 2))) * size
    first = (row - top) * columns.size + (column - left)
    around = [first + down * columns.size + right for down in (-1, 0, 1) for right in (-1, 0, 1)]
    nearest, best = around[0], np.full(y.shape, np.inf)
    squares = []
    for point in around:
        square = (y - point_y.take(point)) ** 2 + (x - point_x.take(point)) ** 2
        squares.append(square)
        nearer = square < best
        nearest, best = np.where(nearer, point, nearest), np.where(nearer, square, best)
    near_y, near_x = point_y.take(nearest), point_x.take(nearest)
    edge = np.full(y.shape, np.inf)
    for point, square in zip(around, squares, strict=True) if edges else ():
        apart = np.hypot(near_y - point_y.take(point), near_x - point_x.take(point))
        distance = (square - best) / (2 * np.where(apart > 0, apart, 1))
        np.minimum(edge, distance, out=edge, where=point != nearest)
    return Cells(bits.take(nearest), y - near_y, x - near_x, edge)
