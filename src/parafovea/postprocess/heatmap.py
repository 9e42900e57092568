"""One pass over a heatmap: the voxels that reach a threshold, and the local maxima among them.

Only voxels at or above the threshold are looked at one by one. A slab of planes is held at a time;
what is found does not depend on the slabs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parafovea.errors import VoxelError
from parafovea.grid import Box, Shape
from parafovea.postprocess.components import PLANES, ReadSlab
from parafovea.postprocess.voxel_runs import Runs

Array = np.ndarray[Any, Any]

#: A voxel is a maximum by its neighbours, a plateau by theirs.
_HALO = 2

#: Blended values may exceed 1 by rounding.
_HIGHEST = 1.001


@dataclass(frozen=True)
class Scan:
    """What reaches a threshold in a heatmap.

    Parameters
    ----------
    foreground : Runs
        Voxels at or above the threshold.
    highest : Runs
        Voxels without a higher neighbour. Those of a run have one value.
    value : (n,) float64
        Of each run of `highest`.
    rises : (n,) bool
        Whether a run of `highest` touches a voxel of its own value that has a higher neighbour:
        its plateau is then no maximum.
    values : (voxels,) float32 or None
        Of each voxel of `foreground`, where they were asked for.
    """

    foreground: Runs
    highest: Runs
    value: Array
    rises: Array
    values: Array | None


def scan_heatmap(
    read: ReadSlab,
    shape: Shape,
    threshold: float,
    *,
    planes: int = PLANES,
    keep_values: bool = False,
) -> Scan:
    """Find the voxels of a heatmap that reach a threshold, and those without higher neighbours.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) floating-point values of a slab, in [0, 1].
    shape : tuple of int
        Of the heatmap along z, y, x.
    threshold : float
        Least value of a voxel that counts; positive.
    planes : int
        Planes of a slab.
    keep_values : bool
        Keep the value of every voxel that counts, 4 bytes each.

    Raises
    ------
    VoxelError
        If a value is not a number in [0, 1].
    """
    foreground, highest = [], []
    value, rises, kept = [np.zeros(0)], [np.zeros(0, bool)], [np.zeros(0, np.float32)]
    for first, padded in _padded_slabs(read, shape, planes):
        inner = padded.shape[0] - 2 * _HALO
        flat = padded.reshape(-1)
        area = padded.shape[1] * padded.shape[2]
        reached = _reached(padded[1 : inner + 3], threshold) + area
        own = reached[(reached >= _HALO * area) & (reached < (_HALO + inner) * area)]
        foreground.append(_runs(own, padded.shape, shape, first))
        if keep_values:
            kept.append(flat[own].astype(np.float32))
        top = _without_higher(flat, reached, padded.shape)
        mine = top[(top >= _HALO * area) & (top < (_HALO + inner) * area)]
        part = _runs(mine, padded.shape, shape, first)
        highest.append(part)
        if len(part):
            begins = np.concatenate([[0], np.cumsum(part.lengths)[:-1]])
            value.append(flat[mine[begins]].astype(np.float64))
            rising = _beside_slope(flat, mine, top, padded.shape)
            rises.append(np.logical_or.reduceat(rising, begins))
    return Scan(
        Runs.concatenated(shape, foreground),
        Runs.concatenated(shape, highest),
        np.concatenate(value),
        np.concatenate(rises),
        np.concatenate(kept) if keep_values else None,
    )


def _padded_slabs(read: ReadSlab, shape: Shape, planes: int) -> Iterator[tuple[int, Array]]:
    """Yield slabs with a margin of `_HALO` voxels, minus infinity outside, and their first plane.

    Each plane is read once: a slab lags behind what was read by the halo. The array is used again.
    """
    depth, height, width = shape
    ahead, buffer = 2 * _HALO, np.zeros(0)
    for first in range(0, depth + _HALO, planes):
        last = min(first + planes, depth + _HALO)
        box = Box((first, 0, 0), (min(last, depth), height, width))
        slab = np.asarray(read(box)) if box.size else np.zeros(box.shape)
        _check(slab, first)
        if not buffer.size:
            wide = (planes + ahead, height + ahead, width + ahead)
            buffer = np.full(wide, -np.inf, np.result_type(slab.dtype, np.float16))
        buffer[ahead:, _HALO:-_HALO, _HALO:-_HALO] = -np.inf if len(slab) < planes else 0
        buffer[ahead : ahead + len(slab), _HALO:-_HALO, _HALO:-_HALO] = slab
        yield first - _HALO, buffer[: last - first + ahead]
        buffer[:ahead] = buffer[last - first : last - first + ahead].copy()


def _check(slab: Array, first: int) -> None:
    if not slab.size:
        return
    if slab.dtype.kind != "f":
        raise VoxelError(
            f"the heatmap holds {slab.dtype} instead of floating-point numbers: give values from 0 "
            "to 1"
        )
    if slab.dtype == np.float16:
        # The bits of positive halves are ordered as they are; numpy compares them much faster.
        bits = slab.view(np.int16)
        if bits.min() >= 0 and bits.max() <= _ONE_HALF:
            return
    low, high = slab.min(), slab.max()
    if not (low >= 1 - _HIGHEST and high <= _HIGHEST):
        raise VoxelError(
            f"the heatmap's planes {first} to {first + len(slab) - 1} hold values from {low:g} to "
            f"{high:g}: probabilities from 0 to 1 are needed, without NaN"
        )


_ONE_HALF = int(np.float16(1).view(np.int16))


def _reached(values: Array, threshold: float) -> Array:
    """Return the flat indices of values that are at least the threshold."""
    if values.dtype != np.float16:
        return np.flatnonzero(values >= threshold)
    least = np.float16(threshold)
    if float(least) < threshold:
        least = np.nextafter(least, np.float16(np.inf))
    return np.flatnonzero(values.view(np.int16) >= least.view(np.int16))


def _offsets(padded: Shape) -> list[int]:
    """Return the 26 neighbours as differences of flat indices, those over faces first."""
    steps = [s for s in itertools.product((-1, 0, 1), repeat=3) if any(s)]
    steps.sort(key=lambda s: sum(map(abs, s)))
    return [(dz * padded[1] + dy) * padded[2] + dx for dz, dy, dx in steps]


def _without_higher(flat: Array, index: Array, padded: Shape) -> Array:
    own = flat[index]
    for offset in _offsets(padded):
        keep = flat[index + offset] <= own
        index, own = index[keep], own[keep]
    return index


def _beside_slope(flat: Array, mine: Array, highest: Array, padded: Shape) -> Array:
    """Tell which voxels touch one of their own value that is not among the highest."""
    own = flat[mine]
    found = np.zeros(len(mine), bool)
    for offset in _offsets(padded):
        near = mine + offset
        equal = np.flatnonzero(flat[near] == own)
        place = np.minimum(np.searchsorted(highest, near[equal]), len(highest) - 1)
        found[equal] |= highest[place] != near[equal]
    return found


def _runs(index: Array, padded: Shape, shape: Shape, first: int) -> Runs:
    """Return the runs of flat indices into a padded slab whose own first plane is `first`."""
    rest, x = np.divmod(index, padded[2])
    z, y = np.divmod(rest, padded[1])
    row = (z - _HALO + first) * shape[1] + y - _HALO
    return Runs.from_positions(shape, row * shape[2] + x - _HALO)
