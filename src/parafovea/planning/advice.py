"""Advice on wasteful settings of a sample, with better values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache

from parafovea.chain.cost import Rates
from parafovea.chain.volume_stages import extract_features, infer_shard, resample_volume
from parafovea.geometry.grid import Shape, shape3
from parafovea.geometry.windows import Layout
from parafovea.inference.automatic_windows import chosen_stride
from parafovea.planning.amplification import Amplification, amplification
from parafovea.planning.reference_rates import cost
from parafovea.planning.work import TileWork, Work
from parafovea.settings.networks import POOLED, ImageNetworkSpec

#: A better window is suggested if it saves this share of computing or of reading.
SAVING, READ_SAVING = 0.2, 0.5

#: Candidate windows: range of their voxels and sides relative to the current window's.
VOXELS, SIDES = (0.7, 1.3), (0.75, 1.5)

#: Seconds: a shorter shard is dominated by the start of its job; a longer one loses much work when
#: it is killed.
SHORT_SHARD, LONG_SHARD = 30.0, 4 * 3600.0

#: A coarser token grid is suggested if features take this many times the bytes of the volume.
LARGE_FEATURES = 4.0


def advice(work: Work | TileWork, rates: Rates | None = None) -> Iterator[str]:
    """Yield a sentence for each setting that wastes time or disk space.

    Parameters
    ----------
    work : Work or TileWork
        The sample; there is no advice on tiles.
    rates : Rates, optional
        Measured rates; by default reference rates of two CPU cores.
    """
    if isinstance(work, TileWork):
        return
    yield from _on_window(work)
    yield from _on_shards(work, cost(infer_shard, work, rates).seconds)
    ratio = extract_features.stored(work) / resample_volume.stored(work)
    if ratio > LARGE_FEATURES:
        yield (
            f"features take {ratio:.1f} times the bytes of the volume: train with a larger "
            "`stride` of the backbone, or set keep_features: false to remove them after use"
        )


def _on_window(work: Work) -> Iterator[str]:
    settings = work.inference
    network = work.recipe.network
    fixed = isinstance(network, ImageNetworkSpec) and (network.fixed_window or any(network.margin))
    chosen = settings.window == settings.overlap == "auto"
    if settings.mode != "sliding_window" or chosen or fixed:
        return
    layout = work.layout
    present = amplification(layout, 1)
    largest = work.recipe.window if work.recipe.context_ratio is not None else None
    stride = chosen_stride(layout.window, work.recipe, settings)
    z, y, x = (s / w for s, w in zip(stride, layout.window, strict=True))
    found = _better(layout, (z, y, x), network.multiple_of, largest)
    if found is None:
        return
    window, better = found
    yield (
        f"windows of {_times(layout.window)} compute every voxel {present.computed:.2f} times and "
        f"read it {present.read:.2f} times: inference.window: {list(window)} would compute "
        f"{better.computed:.2f} and read {better.read:.2f} times"
    )


@cache
def _better(
    layout: Layout,
    share: tuple[float, float, float],
    multiple_of: Shape,
    largest: Shape | None,
) -> tuple[Shape, Amplification] | None:
    """Return the most efficient window, None if the current one is about as good."""
    present = amplification(layout, 1)
    size = math.prod(layout.window)
    best: tuple[float, Shape, Amplification] | None = None
    for window in _candidates(layout.window, multiple_of, largest):
        if not VOXELS[0] <= math.prod(window) / size <= VOXELS[1]:
            continue
        stride = shape3([max(1, round(w * s)) for w, s in zip(window, share, strict=True)])
        tried = amplification(Layout.strided(layout.shape, window, stride=stride), 1)
        # Reading is cheap compared to the network unless it is many times the volume.
        loss = tried.computed / present.computed + 0.2 * tried.read / present.read
        if best is None or loss < best[0]:
            best = (loss, window, tried)
    if best is None:
        return None
    _, window, tried = best
    saves = tried.computed <= (1 - SAVING) * present.computed
    reads_less = tried.read <= (1 - READ_SAVING) * present.read
    worse = tried.computed > 1.02 * present.computed
    return (window, tried) if (saves or reads_less) and not worse else None


def _candidates(window: Shape, multiple_of: Shape, largest: Shape | None) -> Iterator[Shape]:
    """Yield the windows that fit the network, with sides close to the current window's."""
    axes = []
    for axis, (side, multiple) in enumerate(zip(window, multiple_of, strict=True)):
        if side == 1:
            axes.append([1])
            continue
        step = math.lcm(multiple, POOLED)
        most = SIDES[1] * side if largest is None else largest[axis]
        first = max(1, math.ceil(SIDES[0] * side / step))
        axes.append([step * n for n in range(first, int(most) // step + 1)])
    yield from itertools.product(axes[0], axes[1], axes[2])


def _on_shards(work: Work, seconds: float) -> Iterator[str]:
    windows = work.layout.lattice.size
    if work.shards > windows:
        yield (
            f"{work.shards} shards share only {windows} windows, so that some jobs are "
            "empty: set shards: auto"
        )
    elif work.shards > 1 and seconds < SHORT_SHARD:
        enough = max(1, math.floor(work.shards * seconds / SHORT_SHARD))
        yield (
            f"each of {work.shards} shards computes for {seconds:.0f} s, less than a job takes to "
            f"start: shards: {enough} is enough"
        )
    elif seconds > LONG_SHARD:
        needed = math.ceil(work.shards * seconds / (LONG_SHARD / 4))
        yield (
            f"a shard computes for {seconds / 3600:.1f} hours, which is lost if its job is "
            f"killed: shards: {needed} reduces it to one hour"
        )


def _times(shape: Shape) -> str:
    return " x ".join(str(n) for n in shape)
