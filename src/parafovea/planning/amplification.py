"""Amplification: voxels that windows compute and read, relative to the volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from parafovea.geometry.windows import Layout
from parafovea.inference.window_plan import group_shape
from parafovea.storage.blocks import CHUNK


@dataclass(frozen=True, slots=True)
class Amplification:
    """Repeated work of overlapping windows.

    Parameters
    ----------
    computed : float
        Voxels of all windows relative to the volume's, for one view.
    read : float
        Bytes read from disk relative to the volume's, for one view.
    """

    computed: float
    read: float


def amplification(layout: Layout, shards: int, chunk: Sequence[int] = CHUNK) -> Amplification:
    """Return how often voxels are computed and read.

    Windows are read in groups (`group_shape`), and whole chunks of the store at a time.

    Parameters
    ----------
    layout : Layout
        The windows.
    shards : int
        Number of jobs.
    chunk : sequence of int
        Chunk of the store along z, y, x.
    """
    volume = math.prod(layout.shape)
    groups = group_shape(layout.window)

    # many parts have equal spans along an axis
    @cache
    def read_along(axis: int, start: int, stop: int) -> int:
        starts, window = layout.starts[axis], layout.window[axis]
        return sum(
            _whole_chunks(
                starts[i],
                starts[min(i + groups[axis], stop) - 1] + window,
                layout.shape[axis],
                chunk[axis],
            )
            for i in range(start, stop, groups[axis])
        )

    read = sum(
        math.prod(read_along(axis, part.start[axis], part.stop[axis]) for axis in range(3))
        for part in layout.shards(shards)
        if part.size
    )
    return Amplification(layout.lattice.size * math.prod(layout.window) / volume, read / volume)


def _whole_chunks(start: int, stop: int, count: int, chunk: int) -> int:
    """Return the voxels of the chunks that overlap a span on an axis of `count` voxels."""
    size = min(chunk, count)
    first = max(0, start) // size * size
    return min(count, -(-min(stop, count) // size) * size) - first
