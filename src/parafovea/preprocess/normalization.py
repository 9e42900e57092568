"""Global normalization: streaming statistics of a whole source, and the value map based on them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
    """Statistics of a source's voxels, from one pass (two or more for wide types).

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
    order : OrderStatistics, optional
        The exact values by rank, where the bins are wider than a value; it may read the source.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    nonfinite: int
    sha256: str
    order: OrderStatistics | None = field(default=None, compare=False)

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
        return self.percentiles(percent)[0]

    def percentiles(self, *percents: float) -> tuple[float, ...]:
        """Return percentiles of the voxels, exact whatever their distribution."""
        total = int(self.counts.sum())
        ranks = [percent / 100 * (total - 1) for percent in percents]
        ends = _ranks(percents, total)
        if self.order is None:
            cumulative = np.cumsum(self.counts)
            found = self.edges[np.searchsorted(cumulative, ends, side="right")]
        else:
            found = self.order.values(ends)
        pairs = zip(found[::2], found[1::2], ranks, strict=True)
        return tuple(
            float(below) + (float(above) - float(below)) * float(rank - np.floor(rank))
            for below, above, rank in pairs
        )


class OrderStatistics:
    """The finite values of a source by rank, found 16 bits at a time.

    Values are turned into integers of the same order, whose leading bits are counted first; then
    the next ones of those values alone that begin like the one that is looked for. No bin has a
    width, so that neither outliers nor offsets cost precision. Each 16 bits need one pass.

    Parameters
    ----------
    dtype : dtype
        Of the source: integers or floats of at most 64 bits.
    slabs : callable
        Reads the source: returns an iterator over its voxels.
    """

    def __init__(self, dtype: np.dtype[Any], slabs: Callable[[], Iterator[NDArray[Any]]]) -> None:
        self._dtype = dtype.newbyteorder("=")
        self._slabs = slabs
        self._counts: dict[tuple[int, ...], NDArray[np.int64]] = {(): np.zeros(BINS, np.int64)}
        self._levels = dtype.itemsize // 2

    def add(self, finite: NDArray[Any]) -> None:
        """Count the leading bits of finite values, (n,), in the first pass."""
        leading = self._digits(self._keys(finite), 0)
        self._counts[()] += np.bincount(leading, minlength=BINS)

    def prepare(self, ranks: Sequence[int]) -> dict[tuple[int, ...], NDArray[np.int64]]:
        """Return new counts for what is still to be counted to find values by rank; see `count`."""
        wanted = {prefix for rank in ranks for prefix in [self._known(rank)[0]]}
        return {prefix: np.zeros(BINS, np.int64) for prefix in wanted if len(prefix) < self._levels}

    def count(self, finite: NDArray[Any], counts: dict[tuple[int, ...], NDArray[np.int64]]) -> None:
        """Add finite values, (n,), to the counts of prefixes that `prepare` returned."""
        keys = self._keys(finite)
        for prefix, counted in counts.items():
            alike = keys
            for level, digits in enumerate(prefix):
                alike = alike[self._digits(alike, level) == digits]
            counted += np.bincount(self._digits(alike, len(prefix)), minlength=BINS)

    def keep(self, counts: dict[tuple[int, ...], NDArray[np.int64]]) -> None:
        """Use counts that are complete."""
        self._counts |= counts

    def values(self, ranks: Sequence[int]) -> NDArray[Any]:
        """Return the values of ranks, 0 the smallest, reading the source where needed."""
        while counts := self.prepare(ranks):
            for slab in self._slabs():
                self.count(slab[np.isfinite(slab)], counts)
            self.keep(counts)
        return np.concatenate([self._value(self._known(rank)[0]) for rank in ranks])

    def _known(self, rank: int) -> tuple[tuple[int, ...], int]:
        """Return how the value of a rank begins as far as it is counted, and its rank there."""
        prefix: tuple[int, ...] = ()
        while len(prefix) < self._levels and prefix in self._counts:
            cumulative = np.cumsum(self._counts[prefix])
            digits = int(np.searchsorted(cumulative, rank, side="right"))
            rank -= int(cumulative[digits - 1]) if digits else 0
            prefix = (*prefix, digits)
        return prefix, rank

    def _digits(self, keys: NDArray[Any], level: int) -> NDArray[np.int64]:
        shift = keys.dtype.type(16 * (self._levels - 1 - level))
        digits: NDArray[np.int64] = ((keys >> shift) & keys.dtype.type(0xFFFF)).astype(np.int64)
        return digits

    def _keys(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return unsigned integers in the order of the values."""
        unsigned = np.dtype(f"u{self._dtype.itemsize}")
        bits: NDArray[Any] = np.array(values, self._dtype).view(unsigned)
        sign = unsigned.type(1 << (8 * unsigned.itemsize - 1))
        if self._dtype.kind == "u":
            return bits
        if self._dtype.kind == "i":
            bits ^= sign
            return bits
        keys: NDArray[Any] = np.where(bits & sign, ~bits, bits | sign)
        return keys

    def _value(self, prefix: tuple[int, ...]) -> NDArray[Any]:
        unsigned = np.dtype(f"u{self._dtype.itemsize}")
        key = sum(d << (16 * (self._levels - 1 - level)) for level, d in enumerate(prefix))
        sign = 1 << (8 * unsigned.itemsize - 1)
        if self._dtype.kind == "i":
            key ^= sign
        elif self._dtype.kind == "f":
            key = key ^ sign if key & sign else key ^ (2 * sign - 1)
        return np.array([key], unsigned).view(self._dtype)


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
    percentiles: Sequence[float] = (),
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
    percentiles : sequence of float
        Those that will be asked for: they are found in the passes that are made anyway. Others
        read the source again, unless it has integers of up to 16 bits.

    Returns
    -------
    Statistics
        Integers of up to 16 bits are counted one by one, others binned between their extremes.

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
    # floats of 80 bits and more count as doubles, booleans as numbers
    narrow = dtype if 2 <= dtype.itemsize <= 8 else np.dtype("f8" if dtype.itemsize > 8 else "u2")
    order = OrderStatistics(narrow, lambda: (read(box) for box in _slabs(grid, bands)))
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
                order.add(finite)
    if exact:
        return Statistics(np.arange(BINS, dtype=np.float64) + offset, counts, 0, digest.hexdigest())
    if high < low:
        raise VoxelError("all voxels are NaN or infinite: check how the file was written")
    # The same pass that fills the histogram finds the usual percentiles.
    total = math.prod(grid.shape) * max(1, bands) - nonfinite
    wanted = order.prepare(_ranks(percentiles, total))
    width = (high - low) / (BINS - 1) or 1.0
    for box in _slabs(grid, bands):
        slab = read(box)
        finite = slab[np.isfinite(slab)]
        bins = np.rint((finite.astype(np.float64) - low) / width)
        counts += np.bincount(bins.astype(np.int64), minlength=BINS)
        order.count(finite, wanted)
    order.keep(wanted)
    edges = low + width * np.arange(BINS, dtype=np.float64)
    return Statistics(edges, counts, nonfinite, digest.hexdigest(), order)


def _ranks(percentiles: Sequence[float], total: int) -> list[int]:
    ranks = [percent / 100 * (total - 1) for percent in percentiles]
    return [int(end) for rank in ranks for end in (np.floor(rank), np.ceil(rank))]


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

    Raises
    ------
    VoxelError
        If the difference of `low` and `high` is not a positive number of float32.
    """

    low: float = 0.0
    high: float = 1.0
    clip: bool = False
    fill: float | None = None

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            span = float(np.float32(self.high - self.low))
        if not 0 < span < math.inf:
            raise VoxelError(
                f"values from {self.low:g} to {self.high:g} cannot be normalized in float32: "
                "their difference must be positive and at most 3.4e38"
            )

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
        if self.fill is not None and statistics.nonfinite:
            extremes = [min(*extremes, self.fill), max(*extremes, self.fill)]
        with np.errstate(over="ignore"):
            reached = np.abs(self(np.asarray(extremes))).max()
        if not reached <= np.finfo(np.float16).max:
            raise VoxelError(
                f"source values from {extremes[0]:g} to {extremes[1]:g} reach {reached:g} after "
                f"normalization, above the float16 maximum of {np.finfo(np.float16).max:g}: "
                "override the model's normalization with method: window, or set clip: true"
            )

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return the normalized values, float32, in the shape of `values`."""
        if is_wide(np.asarray(values).dtype):
            shifted = self.above_low(values)
        else:
            shifted = np.asarray(values, dtype=np.float32) - np.float32(self.low)
        return self.of_shifted(shifted)

    def above_low(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return how far values lie above `low`, float32: no level is lost in a large offset."""
        above: NDArray[np.float32] = (np.asarray(values, np.float64) - self.low).astype(np.float32)
        return above

    def of_shifted(self, above: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the normalized values of what lies `above` low."""
        scaled: NDArray[np.float32] = above / np.float32(self.high - self.low)
        return np.clip(scaled, 0, 1) if self.clip else scaled


def percentiles_of(normalization: Normalization) -> tuple[float, ...]:
    """Return the percentiles that a normalization asks for; none for a fixed one."""
    is_asked = normalization.method == "percentile"
    return (normalization.low, normalization.high) if is_asked else ()


def is_wide(dtype: np.dtype[Any]) -> bool:
    """Return whether values of a type lose digits as float32, in which volumes are resampled."""
    return dtype.itemsize > (4 if dtype.kind == "f" else 2)


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
    low, high = statistics.percentiles(normalization.low, normalization.high)
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
