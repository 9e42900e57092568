"""Global normalization: streaming statistics of a whole source, and the value map based on them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import VoxelError
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.resample import ReadBox
from parafovea.settings.recipe import Normalization
from parafovea.storage.blocks import SCANNED_VOXELS

#: Bins of the histogram of floating-point sources; integers of up to 16 bits are counted exactly.
BINS = 2**16

#: Values of a source with bands that are read at once, and what the side of a piece of a plane is
#: a multiple of, so that blocks of a file are not decoded twice.
BAND_VALUES, BAND_SIDE = 2**22, 512

NonFinite = Literal["error"] | float


@dataclass(frozen=True)
class Statistics:
    """Statistics of a source's voxels, from one pass (two for wide types).

    Parameters
    ----------
    edges : ndarray
        (bins,) float64, the value that represents each bin, ascending.
    counts : ndarray
        (bins,) int64.
    nonfinite : int
        Number of NaN or infinite voxels, which are in no bin.
    sha256 : str
        Hash of dtype, shape and voxels in z, y, x order: equal for equal content in any format.
        A source with bands is hashed piece by piece.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    nonfinite: int
    sha256: str

    @property
    def minimum(self) -> float:
        """Smallest finite value, to the precision of a bin."""
        return float(self.edges[np.flatnonzero(self.counts)[0]])

    @property
    def maximum(self) -> float:
        """Largest finite value, to the precision of a bin."""
        return float(self.edges[np.flatnonzero(self.counts)[-1]])

    def percentile(self, percent: float) -> float:
        """Return a percentile of the voxels, interpolated linearly as in `numpy.percentile`."""
        cumulative = np.cumsum(self.counts)
        rank = percent / 100 * (int(cumulative[-1]) - 1)
        below, above = (
            float(self.edges[np.searchsorted(cumulative, r, side="right")])
            for r in (np.floor(rank), np.ceil(rank))
        )
        return below + (above - below) * float(rank - np.floor(rank))


def _slabs(grid: Grid, bands: int) -> Iterator[Box]:
    """Yield slabs of planes; for a source with bands, whose plane may be a mosaic, pieces of it."""
    depth, height, width = 1, *grid.shape[1:]
    most = SCANNED_VOXELS if not bands else BAND_VALUES // bands
    if not bands or height * width <= most:
        depth = max(1, most // (height * width))
    else:
        height = width = max(BAND_SIDE, math.isqrt(most) // BAND_SIDE * BAND_SIDE)
    return grid.box.tiles((depth, height, width))


def scan(
    read: ReadBox,
    grid: Grid,
    dtype: np.dtype[Any],
    *,
    bands: int = 0,
    seen: Callable[[Box, NDArray[Any]], None] | None = None,
) -> Statistics:
    """Stream over a source and return the statistics of its voxels.

    Parameters
    ----------
    read : callable
        Returns the voxels ([band,] z, y, x) of a box.
    grid : Grid
        Grid of the source.
    dtype : dtype
        Data type of the source: integer or floating point.
    bands : int
        Number of bands of the source; 0 for a single unnamed channel.
    seen : callable, optional
        Called with every box of the first pass and its voxels, in z, y, x order; without bands a
        box consists of whole planes.

    Returns
    -------
    Statistics
        Exact for integers of up to 16 bits; others are binned between their extremes.

    Raises
    ------
    VoxelError
        If no voxel is finite.
    """
    exact = dtype.kind in "iu" and dtype.itemsize <= 2
    digest = hashlib.sha256(f"{dtype.newbyteorder('<').str}{grid.shape}".encode())
    nonfinite, low, high = 0, np.inf, -np.inf
    counts = np.zeros(BINS, dtype=np.int64)
    offset = int(np.iinfo(dtype).min) if exact else 0
    for box in _slabs(grid, bands):
        voxels = read(box)
        if seen is not None:
            seen(box, voxels)
        slab = np.ascontiguousarray(voxels)
        digest.update(slab.astype(dtype.newbyteorder("<"), copy=False).data)
        if exact:
            counts += np.bincount(slab.ravel().astype(np.int64) - offset, minlength=BINS)
        else:
            finite = slab[np.isfinite(slab)]
            nonfinite += slab.size - finite.size
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if exact:
        return Statistics(np.arange(BINS, dtype=np.float64) + offset, counts, 0, digest.hexdigest())
    if high < low:
        raise VoxelError("all voxels are NaN or infinite: check how the file was written")
    width = (high - low) / (BINS - 1) or 1.0
    for box in _slabs(grid, bands):
        slab = read(box)
        bins = np.rint((slab[np.isfinite(slab)].astype(np.float64) - low) / width)
        counts += np.bincount(bins.astype(np.int64), minlength=BINS)
    return Statistics(
        low + width * np.arange(BINS, dtype=np.float64), counts, nonfinite, digest.hexdigest()
    )


@dataclass(frozen=True)
class ValueMap:
    """A linear map from source values to the network's input.

    Parameters
    ----------
    low, high : float
        Source values that become 0 and 1.
    clip : bool
        Clip results to [0, 1].
    fill : float or None
        Source value that replaces NaN and infinity.
    """

    low: float = 0.0
    high: float = 1.0
    clip: bool = False
    fill: float | None = None

    def finite(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the source values with `fill` in place of NaN and infinity."""
        if self.fill is None:
            return values
        filled: NDArray[Any] = np.nan_to_num(
            values, nan=self.fill, posinf=self.fill, neginf=self.fill
        )
        return filled

    def check_half(self, statistics: Statistics) -> None:
        """Raise `VoxelError` if normalized values would overflow float16."""
        extremes = [statistics.minimum, statistics.maximum]
        reached = np.abs(self(np.asarray(extremes))).max()
        if reached > np.finfo(np.float16).max:
            raise VoxelError(
                f"source values from {extremes[0]:g} to {extremes[1]:g} reach {reached:g} after "
                f"normalization, above the float16 maximum of {np.finfo(np.float16).max:g}: "
                "override the model's normalization with method: window, or set clip: true"
            )

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return the normalized values, float32, in the shape of `values`."""
        scaled = (np.asarray(values, dtype=np.float32) - np.float32(self.low)) / np.float32(
            self.high - self.low
        )
        return np.clip(scaled, 0, 1) if self.clip else scaled


def value_map(
    statistics: Statistics, normalization: Normalization, *, nonfinite: NonFinite = "error"
) -> ValueMap:
    """Return the map from source values to normalized values.

    Parameters
    ----------
    statistics : Statistics
        Statistics of the whole source.
    normalization : Normalization
        Normalization of the model.
    nonfinite : "error" or float
        Handling of NaN and infinite voxels: an error, or the source value that replaces them.

    Raises
    ------
    VoxelError
        If there are non-finite voxels and `nonfinite` is "error", or the percentiles are equal.
    """
    total = int(statistics.counts.sum()) + statistics.nonfinite
    if statistics.nonfinite and nonfinite == "error":
        raise VoxelError(
            f"{statistics.nonfinite} of {total} voxels are NaN or infinite: correct the file, or "
            "set input.nonfinite of the task to the source value that replaces them"
        )
    fill = None if nonfinite == "error" else float(nonfinite)
    if normalization.method != "percentile":
        return fixed_value_map(normalization, fill=fill)
    low, high = statistics.percentile(normalization.low), statistics.percentile(normalization.high)
    if low >= high:
        raise VoxelError(
            f"the volume has no contrast: percentiles {normalization.low:g} and "
            f"{normalization.high:g} of the voxels are both {low:g} (range "
            f"{statistics.minimum:g} to {statistics.maximum:g}): check the file, or override the "
            "model's normalization with method: window"
        )
    return ValueMap(low, high, normalization.clip, fill)


def fixed_value_map(normalization: Normalization, *, fill: float | None = None) -> ValueMap:
    """Return the value map of a normalization that needs no statistics.

    Parameters
    ----------
    normalization : Normalization
        Normalization with method "window" or "none".
    fill : float, optional
        Source value that replaces NaN and infinity.
    """
    if normalization.method == "none":
        return ValueMap(fill=fill)
    return ValueMap(normalization.low, normalization.high, normalization.clip, fill)
