"""The loop over windows: prefetching, prediction and weighting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from parafovea.geometry.grid import Box
from parafovea.geometry.windows import Layout
from parafovea.inference.blending import VALUE_BITS
from parafovea.inference.sample_inputs import RegionInputs
from parafovea.inference.window_plan import (
    COLUMN,
    Wanted,
    group_shape,
    wanted_count,
    wanted_windows,
)


class ReadsRegions(Protocol):
    """Reader of the inputs of a region: a sample or an augmented view of it."""

    def read(self, box: Box) -> RegionInputs:
        """Read the inputs of the windows in a box of the volume."""
        ...


class PredictsWindows(Protocol):
    """Predictor of the probabilities of windows; see `Predictor`."""

    @property
    def batch_size(self) -> int:
        """Windows per forward pass."""
        ...

    def __call__(self, region: RegionInputs, boxes: Sequence[Box]) -> NDArray[np.float32]:
        """Return (window, class, z, y, x) float32."""
        ...


def columns(part: Box) -> Iterator[Box]:
    """Yield the columns of windows in a part of the lattice, each over its whole depth.

    Successive windows of a column share tiles, so that the memory depends on the size of windows
    rather than that of the volume.
    """
    if part.size:
        yield from part.tiles((part.shape[0], *COLUMN))


def windows_in_order(layout: Layout) -> Iterator[Box]:
    """Yield all windows of a volume column by column, the order required by `TileSums`."""
    for column in columns(layout.lattice):
        yield from layout.windows(column)


def predicted(
    inputs: ReadsRegions,
    predictor: PredictsWindows,
    layout: Layout,
    part: Box,
    wanted: Wanted = None,
) -> Iterator[tuple[Box, NDArray[np.float32]]]:
    """Yield the probabilities of every wanted window of a part of the lattice.

    The inputs of the next windows are read while the network runs.

    Parameters
    ----------
    inputs : SampleInputs or AugmentedInputs
        Reader of volume and features.
    predictor : Predictor or AugmentedPredictor
        Predictor of windows.
    layout : Layout
        All windows of the volume.
    part : Box
        Windows as a box of the lattice.
    wanted : ndarray, optional
        (lattice z, y, x) bool, windows to compute; by default all.

    Yields
    ------
    box : Box
        The window's voxels; extends beyond a volume smaller than a window.
    probabilities : ndarray
        (class, z, y, x) float32.
    """
    together = group_shape(layout.window)
    groups = [
        wanted_windows(layout, group, wanted)
        for column in columns(part)
        for group in column.tiles(together)
        if wanted_count(group, wanted)
    ]
    with ThreadPoolExecutor(max_workers=1) as reader:
        # The box around windows extends beyond the volume as they do.
        pending = reader.submit(inputs.read, reduce(Box.union, groups[0])) if groups else None
        for group, following in pairwise([*groups, None]):
            if group is None or pending is None:
                break
            region = pending.result()
            if following is not None:
                pending = reader.submit(inputs.read, reduce(Box.union, following))
            yield from predict_region(region, predictor, group)


def predict_region(
    region: RegionInputs, predictor: PredictsWindows, windows: Sequence[Box]
) -> Iterator[tuple[Box, NDArray[np.float32]]]:
    """Yield the probabilities of the windows of a region batch by batch, as `predicted`."""
    for first in range(0, len(windows), predictor.batch_size):
        boxes = windows[first : first + predictor.batch_size]
        yield from zip(boxes, predictor(region, boxes), strict=True)


def weighed(
    box: Box, probabilities: NDArray[np.float32], weights: NDArray[np.int64], volume: Box
) -> tuple[Box, NDArray[np.int64]]:
    """Return the part of a window inside the volume, and its weighted fixed-point values.

    Parameters
    ----------
    box : Box
        The window.
    probabilities : ndarray
        (class, z, y, x) float32 in [0, 1].
    weights : ndarray
        (z, y, x) int64, from `blending.fixed_weights`.
    volume : Box
        All voxels of the volume.

    Returns
    -------
    inside : Box
        The part of the window inside the volume.
    values : ndarray
        (class, z, y, x) int64 of the shape of `inside`.
    """
    inside = box.intersection(volume)
    place = inside.relative_to(box.start).slices
    values = torch.from_numpy(probabilities[(slice(None), *place)])
    fixed = (values * float(2**VALUE_BITS)).round_().to(torch.int64)
    return inside, fixed.mul_(torch.from_numpy(weights[place])).numpy()
