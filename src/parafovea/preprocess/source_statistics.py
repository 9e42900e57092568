"""Statistics of all voxels of a source, in passes whose parts may be counted by several jobs.

A source is read in slabs that follow from its shape alone. Each pass counts every slab; counts of
different slabs are added, so that it does not matter which job counted which.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import VoxelError
from parafovea.geometry.grid import Box, Grid, Shape
from parafovea.geometry.resample import ReadBox
from parafovea.storage.array_files import loaded_arrays
from parafovea.storage.blocks import SCANNED_VOXELS

#: Bins of the histogram of floating-point sources; integers of up to 16 bits are counted exactly.
BINS = 2**16

#: Passes over a source of 64 bits, 16 bits at a time.
MOST_PASSES = 4

#: Values of a source with bands that are read at once, and what the side of a piece of a plane is
#: a multiple of, so that blocks of a file are not decoded twice.
BAND_VALUES, PIECE_SIDE = 2**22, 512


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
        Hash of dtype, shape and the hashes of all slabs in z, y, x order: equal for equal content
        in any format.
    order : OrderStatistics, optional
        The exact values by rank, where the bins are wider than a value.
    moments : tuple of Moments, optional
        Those of each slab, where the bins are wider than a value and they were asked for.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    nonfinite: int
    sha256: str
    order: OrderStatistics | None = field(default=None, compare=False)
    moments: tuple[Moments, ...] = field(default=(), compare=False)

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
        """Return percentiles of the voxels, exact whatever their distribution.

        Those of a type that is not counted one by one must have been asked for before the scan.
        """
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

    def spread(self, *, nonzero: bool = False) -> tuple[float, float]:
        """Return mean and deviation of the voxels, the deviation of all and not of a sample.

        Those of a type that is not counted one by one must have been asked for before the scan.

        Parameters
        ----------
        nonzero : bool
            Leave voxels of exactly 0 out.

        Returns
        -------
        mean, deviation : float
            0 and 0 without a voxel.
        """
        if self.order is None:
            bins = np.flatnonzero(self.counts)
            pairs = [(int(self.edges[n]), int(self.counts[n])) for n in bins]
            pairs = [(value, count) for value, count in pairs if value or not nonzero]
            total = sum(count for _, count in pairs)
            first = sum(value * count for value, count in pairs)
            second = sum(value * value * count for value, count in pairs)
            # whole numbers, so that nothing is lost before the division
            squared = (total * second - first * first) / (total * total or 1)
            return first / (total or 1), math.sqrt(squared)
        parts = [each.of(nonzero=nonzero) for each in self.moments]
        voxels = math.fsum(size for size, _, _ in parts) or 1.0
        mean = math.fsum(size * part for size, part, _ in parts) / voxels
        squares = math.fsum(own + size * (part - mean) ** 2 for size, part, own in parts)
        return mean, math.sqrt(squares / voxels)


class Moments(NamedTuple):
    """Numbers, means and sums of squared differences from these means, of finite voxels of a slab.

    Parameters
    ----------
    voxels, mean, squares : float
        Of all voxels.
    voxels_nonzero, mean_nonzero, squares_nonzero : float
        Of those that are not 0.
    """

    voxels: float
    mean: float
    squares: float
    voxels_nonzero: float
    mean_nonzero: float
    squares_nonzero: float

    @classmethod
    def measured(cls, finite: NDArray[Any]) -> Moments:
        """Return the moments of finite values, (n,)."""
        values = finite.astype(np.float64)
        return cls(*_moments(values), *_moments(values[values != 0]))

    def of(self, *, nonzero: bool) -> tuple[float, float, float]:
        """Return number, mean and sum of squares, of all voxels or of those that are not 0."""
        if nonzero:
            return self.voxels_nonzero, self.mean_nonzero, self.squares_nonzero
        return self.voxels, self.mean, self.squares


def _moments(values: NDArray[np.float64]) -> tuple[float, float, float]:
    mean = float(values.mean()) if values.size else 0.0
    return float(values.size), mean, float(np.square(values - mean).sum())


class OrderStatistics:
    """The finite values of a source by rank, found 16 bits at a time.

    Values are turned into integers of the same order, whose leading bits are counted first; then
    the next ones of those values alone that begin like the one that is looked for. No bin has a
    width, so that neither outliers nor offsets cost precision. Each 16 bits need one pass.

    Parameters
    ----------
    dtype : dtype
        Of the source: integers or floats of at most 64 bits.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype.newbyteorder("=")
        self._counts: dict[tuple[int, ...], NDArray[np.int64]] = {}
        self._levels = dtype.itemsize // 2

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
        """Return the values of ranks, 0 the smallest, once they are counted."""
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


def slabs_of(shape: Shape, bands: int = 0) -> list[Box]:
    """Return the slabs in which a source is read, in z, y, x order: whole planes, if they fit.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the source along z, y, x.
    bands : int
        Number of bands of the source; 0 for a single unnamed channel.
    """
    depth, height, width = 1, *shape[1:]
    most = SCANNED_VOXELS if not bands else BAND_VALUES // bands
    if height * width <= most:
        depth = max(1, most // (height * width))
    else:
        height = width = max(PIECE_SIDE, math.isqrt(most) // PIECE_SIDE * PIECE_SIDE)
    return list(Box.whole(shape).tiles((depth, height, width)))


def is_exact(dtype: np.dtype[Any]) -> bool:
    """Return whether values of a type are counted one by one, in a single pass."""
    return dtype.kind in "iu" and dtype.itemsize <= 2


def passes_of(dtype: np.dtype[Any] | None) -> int:
    """Return how many passes may be needed for a source of a type, or of an unknown one."""
    if dtype is None:
        return MOST_PASSES
    return 1 if is_exact(dtype) else max(2, _counted(dtype).itemsize // 2)


@dataclass
class Counts:
    """What one pass has counted in some slabs of a source.

    Parameters
    ----------
    digests : dict of int to bytes
        SHA-256 of each slab by its number, in the first pass.
    histogram : ndarray
        (bins,) int64.
    order : dict of tuple to ndarray
        (bins,) int64 by prefix: see `OrderStatistics`.
    nonfinite : int
        Number of NaN and infinite voxels.
    low, high : float
        Smallest and largest finite value, inf and -inf without one.
    moments : dict of int to Moments
        Those of each slab by its number, in the first pass, where they were asked for.
    """

    digests: dict[int, bytes] = field(default_factory=dict)
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    order: dict[tuple[int, ...], NDArray[np.int64]] = field(default_factory=dict)
    nonfinite: int = 0
    low: float = math.inf
    high: float = -math.inf
    moments: dict[int, Moments] = field(default_factory=dict)

    def added(self, other: Counts) -> Counts:
        """Return the counts of the slabs of both, which have none in common."""
        return Counts(
            self.digests | other.digests,
            self.histogram + other.histogram,
            {prefix: counts + other.order[prefix] for prefix, counts in self.order.items()},
            self.nonfinite + other.nonfinite,
            min(self.low, other.low),
            max(self.high, other.high),
            self.moments | other.moments,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the counts as arrays by name, for a file."""
        numbers = sorted(self.digests)
        hashes = b"".join(self.digests[number] for number in numbers)
        prefixes = sorted(self.order)
        depth = len(prefixes[0]) if prefixes else 0
        return {
            "slabs": np.array(numbers, np.int64),
            "digests": np.frombuffer(hashes, np.uint8).reshape(len(numbers), 32),
            "histogram": self.histogram,
            "prefixes": np.array(prefixes, np.int64).reshape(len(prefixes), depth),
            "order": np.array([self.order[p] for p in prefixes], np.int64).reshape(-1, BINS),
            "nonfinite": np.array(self.nonfinite, np.int64),
            "extremes": np.array([self.low, self.high], np.float64),
            "moments": np.array(
                [self.moments[n] for n in numbers if n in self.moments], np.float64
            ).reshape(-1, len(Moments._fields)),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Counts:
        """Return the counts that `arrays` returned."""
        hashes = [bytes(row) for row in arrays["digests"]]
        prefixes = [tuple(int(n) for n in row) for row in arrays["prefixes"]]
        low, high = arrays["extremes"]
        return cls(
            dict(zip(arrays["slabs"].tolist(), hashes, strict=True)),
            arrays["histogram"],
            dict(zip(prefixes, arrays["order"], strict=True)),
            int(arrays["nonfinite"]),
            float(low),
            float(high),
            {
                number: Moments(*map(float, row))
                for number, row in zip(arrays["slabs"].tolist(), arrays["moments"], strict=False)
            },
        )


def save_counts(path: Path, channels: Sequence[Counts]) -> None:
    """Write the counts of each channel of a source to a .npz."""
    named = {
        f"{number}.{name}": values
        for number, counts in enumerate(channels)
        for name, values in counts.arrays().items()
    }
    with path.open("wb") as file:
        np.savez_compressed(file, **named)  # type: ignore[arg-type]


def load_counts(path: Path) -> list[Counts]:
    """Read the counts of each channel that `save_counts` wrote.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    with loaded_arrays(path) as arrays:
        count = max(1, sum(key.endswith(".slabs") for key in arrays))
        names = Counts().arrays()
        return [
            Counts.of_arrays({name: arrays[f"{number}.{name}"] for name in names})
            for number in range(count)
        ]


class SourceScan:
    """Passes over a source, from which its statistics follow.

    Integers of up to 16 bits are counted one by one in a single pass. Of other values, the first
    pass finds the extremes and the leading bits, the second a histogram; the percentiles that are
    asked for may need one or two more.

    Parameters
    ----------
    dtype : dtype
        Data type of the source: integer or floating point.
    shape : tuple of int
        Voxels of the source along z, y, x.
    bands : int
        Number of bands of the source; 0 for a single unnamed channel.
    percentiles : sequence of float
        Those that will be asked for.
    spread : bool
        Whether mean and deviation will be asked for.
    """

    def __init__(
        self,
        dtype: np.dtype[Any],
        shape: Shape,
        *,
        bands: int = 0,
        percentiles: Sequence[float] = (),
        spread: bool = False,
    ) -> None:
        self._dtype = dtype
        self._shape = shape
        self._bands = bands
        self._percentiles = percentiles
        self._spread = spread
        self._exact = is_exact(dtype)
        self._order = OrderStatistics(_counted(dtype))
        self._passes: list[Counts] = []

    @property
    def is_complete(self) -> bool:
        """Whether no further pass is needed."""
        if self._exact:
            return len(self._passes) == 1
        return len(self._passes) >= 2 and not self._order.prepare(self._ranks())

    def begin(self) -> Counts:
        """Return empty counts of the next pass."""
        if self._exact:
            return Counts()
        if not self._passes:
            return Counts(order={(): np.zeros(BINS, np.int64)})
        return Counts(order=self._order.prepare(self._ranks()))

    def count(self, counts: Counts, number: int, slab: NDArray[Any]) -> None:
        """Add a slab to the counts of the pass that `begin` began.

        Parameters
        ----------
        counts : Counts
            The counts.
        number : int
            Number of the slab in `slabs_of`.
        slab : ndarray
            ([band,] z, y, x) its voxels.
        """
        if not self._passes:
            plain = np.ascontiguousarray(slab).astype(self._dtype.newbyteorder("<"), copy=False)
            counts.digests[number] = hashlib.sha256(plain.data).digest()
        if self._exact:
            shifted = slab.ravel().astype(np.int64) - self._offset
            counts.histogram += np.bincount(shifted, minlength=BINS)
            return
        finite = slab[np.isfinite(slab)]
        if not self._passes:
            counts.nonfinite += slab.size - finite.size
            if self._spread:
                counts.moments[number] = Moments.measured(finite)
            if finite.size:
                counts.low = min(counts.low, float(finite.min()))
                counts.high = max(counts.high, float(finite.max()))
        elif len(self._passes) == 1:
            bins = np.rint((finite.astype(np.float64) - self._passes[0].low) / self._width)
            counts.histogram += np.bincount(bins.astype(np.int64), minlength=BINS)
        self._order.count(finite, counts.order)

    def keep(self, counts: Counts) -> None:
        """Take the counts of all slabs as a complete pass.

        Raises
        ------
        VoxelError
            If no voxel is finite.
        """
        if not self._passes and not self._exact and counts.high < counts.low:
            raise VoxelError("all voxels are NaN or infinite: check how the file was written")
        self._passes.append(counts)
        self._order.keep(counts.order)

    def statistics(self) -> Statistics:
        """Return the statistics, once all passes are complete."""
        first = self._passes[0]
        header = f"{self._dtype.newbyteorder('<').str}{self._shape}".encode()
        slabs = slabs_of(self._shape, self._bands)
        digest = hashlib.sha256(header + b"".join(first.digests[n] for n in range(len(slabs))))
        if self._exact:
            edges = np.arange(BINS, dtype=np.float64) + self._offset
            return Statistics(edges, first.histogram, 0, digest.hexdigest())
        edges = first.low + self._width * np.arange(BINS, dtype=np.float64)
        histogram = self._passes[1].histogram
        moments = tuple(first.moments[number] for number in sorted(first.moments))
        return Statistics(
            edges, histogram, first.nonfinite, digest.hexdigest(), self._order, moments
        )

    @property
    def _offset(self) -> int:
        return int(np.iinfo(self._dtype).min)

    @property
    def _width(self) -> float:
        first = self._passes[0]
        return (first.high - first.low) / (BINS - 1) or 1.0

    def _ranks(self) -> list[int]:
        total = math.prod(self._shape) * max(1, self._bands) - self._passes[0].nonfinite
        return _ranks(self._percentiles, total)


def scan(
    read: ReadBox,
    grid: Grid,
    dtype: np.dtype[Any],
    *,
    bands: int = 0,
    seen: Callable[[Box, NDArray[Any]], None] | None = None,
    percentiles: Sequence[float] = (),
    spread: bool = False,
) -> Statistics:
    """Stream over a source and return the statistics of its voxels.

    Parameters
    ----------
    read : callable
        Returns the voxels ([band,] z, y, x) of a box.
    grid : Grid
        Grid of the source.
    dtype, bands, percentiles, spread
        As for `SourceScan`.
    seen : callable, optional
        Called with every box of the first pass and its voxels, in z, y, x order; without bands a
        box consists of whole planes, of up to 2**24 voxels.

    Raises
    ------
    VoxelError
        If no voxel is finite.
    """
    passes = SourceScan(dtype, grid.shape, bands=bands, percentiles=percentiles, spread=spread)
    slabs = slabs_of(grid.shape, bands)
    watch = seen
    while not passes.is_complete:
        counts = passes.begin()
        for number, box in enumerate(slabs):
            voxels = read(box)
            if watch is not None:
                watch(box, voxels)
            passes.count(counts, number, voxels)
        passes.keep(counts)
        watch = None
    return passes.statistics()


def merged(tables: Iterable[Counts]) -> Counts:
    """Return the counts of all slabs from those of parts; at least one."""
    first, *others = tables
    for other in others:
        first = first.added(other)
    return first


def _counted(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type as which values are ordered."""
    if 2 <= dtype.itemsize <= 8:
        return dtype
    # floats of 80 bits and more count as doubles, booleans as numbers
    return np.dtype("f8" if dtype.itemsize > 8 else "u2")


def _ranks(percentiles: Sequence[float], total: int) -> list[int]:
    ranks = [percent / 100 * (total - 1) for percent in percentiles]
    return [int(end) for rank in ranks for end in (np.floor(rank), np.ceil(rank))]
