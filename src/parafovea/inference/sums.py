"""Fixed-point sums of weighted predictions in bounded memory, tile by tile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from parafovea.geometry.grid import Box, Shape, shape3
from parafovea.geometry.windows import Layout
from parafovea.inference.window_plan import Wanted, wanted_count, wanted_windows

#: Tile: a chunk of the array of sums, and the unit that is held in memory or written to disk.
TILE: Shape = (32, 32, 64)


def tiled(box: Box) -> Box:
    """Return the tiles that overlap a box of voxels, as a box in tiles."""
    start = [a // t for a, t in zip(box.start, TILE, strict=True)]
    stop = [-(-b // t) for b, t in zip(box.stop, TILE, strict=True)]
    return Box(shape3(start), shape3(stop))


def aligned(box: Box) -> Box:
    """Return the voxels of all tiles that overlap a box."""
    return tiled(box).scaled(TILE)


class TileSums:
    """Accumulates windows into an array of sums on disk.

    Windows are added part by part. A tile is in memory from the first to the last window of a part
    that overlaps it, then on disk, from where the next such part reads it again. Integer sums do
    not depend on the order, so that neither the order of windows nor the division into parts
    changes the result.

    Parameters
    ----------
    array : zarr.Array
        (class, z, y, x) int64, zeros, chunked by `TILE`.
    region : Box
        Voxels of the volume in the array; starts at a tile boundary.
    layout : Layout
        All windows of the volume.
    parts : sequence of Box
        Windows to be added, as boxes of the lattice: all windows of a part, in any order, before
        those of the next.
    wanted : ndarray, optional
        (lattice z, y, x) bool: the windows to be added; by default all.
    """

    def __init__(
        self,
        array: zarr.Array[Any],
        region: Box,
        layout: Layout,
        parts: Sequence[Box],
        wanted: Wanted = None,
    ) -> None:
        self.array = array
        self.region = region
        self._layout = layout
        self._wanted = wanted
        self._parts = [part for part in reversed(parts) if wanted_count(part, wanted)]
        self._held: dict[Shape, NDArray[np.int64]] = {}
        self._written: set[Shape] = set()
        self._awaited: dict[Shape, int] = {}

    def add(self, box: Box, values: NDArray[np.int64]) -> None:
        """Add a window's weighted values.

        Parameters
        ----------
        box : Box
            The window's voxels inside the volume.
        values : ndarray
            (class, z, y, x) int64, of the shape of `box`.
        """
        if not self._awaited:
            self._awaited = _windows_per_tile(self._layout, self._parts.pop(), self._wanted)
        for index in tiled(box).tiles((1, 1, 1)):
            tile = index.scaled(TILE)
            common = tile.intersection(box)
            held = self._fetch(index.start, tile)
            target = common.relative_to(tile.start).slices
            held[(slice(None), *target)] += values[
                (slice(None), *common.relative_to(box.start).slices)
            ]
            self._awaited[index.start] -= 1
            if self._awaited[index.start] == 0:
                del self._awaited[index.start]
                self._write(index.start, self._held.pop(index.start))

    def _fetch(self, index: Shape, tile: Box) -> NDArray[np.int64]:
        held = self._held.get(index)
        if held is None:
            held = np.zeros((self.array.shape[0], *TILE), dtype=np.int64)
            if index in self._written:
                inside = tile.intersection(self.region).relative_to(self.region.start)
                stored = np.asarray(self.array[(slice(None), *inside.slices)])
                nz, ny, nx = inside.shape
                held[:, :nz, :ny, :nx] = stored
            self._held[index] = held
        return held

    def _write(self, index: Shape, values: NDArray[np.int64]) -> None:
        tile = Box.sized(index, (1, 1, 1)).scaled(TILE).intersection(self.region)
        nz, ny, nx = tile.shape
        place = tile.relative_to(self.region.start).slices
        self.array[(slice(None), *place)] = values[:, :nz, :ny, :nx]
        self._written.add(index)


def _windows_per_tile(layout: Layout, part: Box, wanted: Wanted) -> dict[Shape, int]:
    """Return the number of wanted windows of a part of the lattice that overlap each tile."""
    if wanted is not None:
        volume = Box.whole(layout.shape)
        boxes = (box.intersection(volume) for box in wanted_windows(layout, part, wanted))
        return Counter(tile.start for box in boxes for tile in tiled(box).tiles((1, 1, 1)))
    counts: list[dict[int, int]] = []
    for axis in range(3):
        along: dict[int, int] = {}
        for start in layout.starts[axis][part.start[axis] : part.stop[axis]]:
            first = max(0, start) // TILE[axis]
            end = min(start + layout.window[axis], layout.shape[axis])
            for tile in range(first, -(-end // TILE[axis])):
                along[tile] = along.get(tile, 0) + 1
        counts.append(along)
    z, y, x = counts
    return {(i, j, k): a * b * c for i, a in z.items() for j, b in y.items() for k, c in x.items()}
