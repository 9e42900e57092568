"""How much the windows of a sample compute and read, against the voxels that there are."""

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
    """What windows do more than once.

    Parameters
    ----------
    computed : float
        Voxels of all windows over voxels of the volume, for one view.
    read : float
        Bytes of the volume that are read from disk over its bytes, for one view.
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
        Jobs that they are divided into.
    chunk : sequence of int
        Voxels along z, y, x that are read and unpacked together.
    """
    volume = math.prod(layout.shape)
    groups = group_shape(layout.window)

    # many parts share their spans along an axis
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
    """Return the voxels of the chunks that touch a span of an axis of `count` voxels."""
    size = min(chunk, count)
    first = max(0, start) // size * size
    return min(count, -(-min(stop, count) // size) * size) - first
