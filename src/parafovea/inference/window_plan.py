"""Windows of a prediction, their division into jobs, and their memory; torch-free."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import GridError
from parafovea.geometry.grid import Box, Shape
from parafovea.geometry.windows import Layout
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe, check_window
from parafovea.storage.blocks import CHUNK

#: Voxels along an axis that the network's four poolings reduce to one.
POOLED = 16

#: Windows along y and x of a column, which is processed along z.
COLUMN = (2, 2)

#: (lattice z, y, x) bool, True for windows to compute, False for empty ones; None for all.
Wanted = NDArray[np.bool_] | None

#: Maximum number of jobs of a sample with automatic shards: Snakemake takes minutes to plan more.
MOST_SHARDS = 10_000


def planned_layout(shape: Shape, recipe: Recipe, settings: InferenceSettings) -> Layout:
    """Return the windows of a volume for a task's settings.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the volume along z, y, x.
    recipe : Recipe
        Recipe of the model; gives the window if the settings have none.
    settings : InferenceSettings
        Mode, window, and overlap or stride.

    Raises
    ------
    GridError
        If the window does not fit the network, or the stride does not fit the window.
    """
    flat = recipe.network.dimensions == 2
    if settings.mode == "whole_volume":
        z, y, x = (-(-n // POOLED) * POOLED for n in shape)
        window = (1 if flat else z, y, x)
        return Layout.strided(shape, window, stride=window)
    window = settings.window or recipe.window
    try:
        check_window(window, recipe.network.dimensions)
    except ValueError as error:
        raise GridError(f"inference.window: {error}") from error
    if settings.stride is not None:
        return Layout.strided(shape, window, stride=settings.stride)
    return Layout.regular(shape, window, overlap=settings.overlap or 0.0)


def group_shape(window: Shape) -> Shape:
    """Return the number of windows along z, y, x of a column that are read together.

    They are at least as deep as a chunk of the volume, which is decompressed as a whole even if a
    window is one plane.
    """
    return (max(1, CHUNK[0] // window[0]), *COLUMN)


def shard_count(layout: Layout, settings: InferenceSettings) -> int:
    """Return the number of jobs that share a volume's windows.

    Parameters
    ----------
    layout : Layout
        The windows.
    settings : InferenceSettings
        Number of shards, or for `auto` the maximum number of windows per job over all views.
    """
    if settings.shards != "auto":
        return settings.shards
    wanted = math.ceil(layout.lattice.size * settings.views / settings.windows_per_shard)
    return min(max(1, wanted), MOST_SHARDS)


def window_bytes(window: Shape, *, base_channels: int, classes: int, itemsize: int = 4) -> int:
    """Return the approximate peak memory of the prediction of a window in bytes.

    The first decoder level is the widest: with its input, its output and what it convolves, the
    peak was measured at 7.2 to 9.9 maps of `base_channels` at full resolution, the network's
    input included (96³ voxels on a CPU, in float32 and bfloat16); ten are counted. Beside them
    are the window's logits, probabilities and fixed-point sums, and its weights.

    Parameters
    ----------
    window : tuple of int
        Voxels along z, y, x.
    base_channels : int
        Channels of the network's first level.
    classes : int
        Number of classes, including a background.
    itemsize : int
        Bytes per number in the convolutions.
    """
    maps = 10 * base_channels * itemsize
    results = classes * (itemsize + 2 * 4 + 2 * 8) + 2 * 8
    return math.prod(window) * (maps + results)


def wanted_windows(layout: Layout, part: Box, wanted: Wanted = None) -> list[Box]:
    """Return the windows of a part of the lattice to compute, in z, y, x order.

    Parameters
    ----------
    layout : Layout
        All windows of the volume.
    part : Box
        Which windows, as a box of the lattice.
    wanted : ndarray, optional
        (lattice z, y, x) bool, of the whole lattice.
    """
    boxes = list(layout.windows(part)) if part.size else []
    if wanted is None:
        return boxes
    return [box for box, chosen in zip(boxes, wanted[part.slices].flat, strict=True) if chosen]


def wanted_count(part: Box, wanted: Wanted = None) -> int:
    """Return the number of windows of a part of the lattice to compute."""
    return part.size if wanted is None else int(np.count_nonzero(wanted[part.slices]))
