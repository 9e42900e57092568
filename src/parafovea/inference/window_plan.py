"""Windows of a prediction, their division into jobs, and their memory; torch-free."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from parafovea.errors import GridError
from parafovea.geometry.grid import Box, Grid, Shape, shape3
from parafovea.geometry.windows import Layout
from parafovea.inference.automatic_windows import chosen_stride, chosen_window
from parafovea.preprocess.coarse_view import CoarseArray
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.networks import FusedUNetSpec
from parafovea.settings.recipe import Recipe
from parafovea.storage.blocks import CHUNK

#: Bytes per voxel of a window that a network takes whose memory was not measured.
UNMEASURED = 2000.0

#: Maximum side in pixels of an image that is one window, if the settings state no window.
LARGEST_TILE = 512

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

    Notes
    -----
    The windows are those of the output: without the margin at which a network has none.
    """
    if settings.mode == "whole_volume":
        window = output_window(whole_window(shape, recipe), recipe)
        return Layout.strided(shape, window, stride=window)
    taken = chosen_window(shape, recipe, settings)
    try:
        recipe.check_window(taken)
    except ValueError as error:
        raise GridError(f"inference.window: {error}") from error
    window = output_window(taken, recipe)
    return Layout.strided(shape, window, stride=chosen_stride(window, recipe, settings))


def tile_layout(
    count: int, height: int, width: int, *, recipe: Recipe, settings: InferenceSettings
) -> Layout:
    """Return the windows of a batch of images: one each unless they are too large.

    Parameters
    ----------
    count, height, width : int
        Number of images, and their size in pixels.
    recipe : Recipe
        Recipe of the model.
    settings : InferenceSettings
        Mode, window, overlap or stride; by default, images up to `LARGEST_TILE` are one window,
        unless the network takes windows of one size only.
    """
    shape = (count, height, width)
    if settings.stated_window is not None or settings.mode == "whole_volume":
        return planned_layout(shape, recipe, settings)
    if not isinstance(recipe.network, FusedUNetSpec) and recipe.network.fixed_window:
        taken = recipe.window
    else:
        taken = whole_window((1, min(height, LARGEST_TILE), min(width, LARGEST_TILE)), recipe)
    settings = settings.model_copy(update={"window": taken})
    if settings.stride is not None:
        limits = zip(settings.stride, output_window(taken, recipe), strict=True)
        settings = settings.model_copy(update={"stride": shape3([min(p) for p in limits])})
    return planned_layout(shape, recipe, settings)


def output_window(taken: Shape, recipe: Recipe) -> Shape:
    """Return the voxels of a window for which a network that takes `taken` voxels has results."""
    z, y, x = (n - 2 * margin for n, margin in zip(taken, recipe.margin, strict=True))
    return z, y, x


def whole_window(shape: Shape, recipe: Recipe) -> Shape:
    """Return the smallest window of which a network has results for all voxels of a volume.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the volume along z, y, x; planes are independent for a network of 2 dimensions.
    recipe : Recipe
        Recipe of the model.

    Raises
    ------
    GridError
        If the network takes windows of one size only.
    """
    network = recipe.network
    covered = (1 if network.dimensions == 2 else shape[0], *shape[1:])
    if isinstance(network, FusedUNetSpec):
        strides: Shape = (1, 1, 1)
    elif network.fixed_window:
        raise GridError(
            f"the network takes windows of {recipe.window} only, and cannot take a whole volume of "
            f"{shape}: set inference.mode: sliding_window"
        )
    else:
        strides = network.stride
    z, y, x = (
        _whole_side(*each)
        for each in zip(covered, network.multiple_of, recipe.margin, strides, strict=True)
    )
    return z, y, x


def _whole_side(covered: int, multiple: int, margin: int, stride: int) -> int:
    side = -(-(covered + 2 * margin) // multiple) * multiple
    for tried in range(side, side + multiple * stride, multiple):
        if (tried - 2 * margin) % stride == 0:
            return tried
    raise GridError(
        f"no multiple of {multiple} voxels less {margin} at each border is a multiple of the "
        f"output's stride {stride}: set inference.mode: sliding_window"
    )


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


def window_bytes(window: Shape, recipe: Recipe, itemsize: int = 4) -> int:
    """Return the approximate peak memory of the prediction of a window in bytes.

    That of a network of another project was measured by its import. In a FusedUNet, the first
    decoder level is the widest: with its input, its output and what it convolves, the peak was
    measured at 7.2 to 9.9 maps of `base_channels` at full resolution, the network's input included
    (96³ voxels on a CPU, in float32 and bfloat16); ten are counted. Beside them are the window's
    logits, probabilities and fixed-point sums, and its weights.

    Parameters
    ----------
    window : tuple of int
        Voxels along z, y, x.
    recipe : Recipe
        Recipe of the model.
    itemsize : int
        Bytes per number in the convolutions.
    """
    classes = len(recipe.classes)
    if isinstance(recipe.network, FusedUNetSpec):
        maps = 10.0 * recipe.network.base_channels * itemsize
    else:
        known = recipe.network.window_bytes
        maps = UNMEASURED if known is None else known / math.prod(recipe.window)
    results = classes * (itemsize + 2 * 4 + 2 * 8) + 2 * 8
    return math.ceil(math.prod(window) * (maps + results))


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


def windows_with_body(layout: Layout, grid: Grid, body: CoarseArray) -> NDArray[np.bool_]:
    """Return which windows contain body; the others are left out of inference.

    Parameters
    ----------
    layout : Layout
        The windows.
    grid : Grid
        That the windows lie on, in the world of the scan's grid.
    body : CoarseArray
        Body of the scan.

    Returns
    -------
    (lattice z, y, x) bool
        True where a window has a voxel of the body; the order is that of `Layout.windows`.
    """
    found = [
        bool(body.values[body.box_of(window, grid).slices].any()) for window in layout.windows()
    ]
    return np.array(found, bool).reshape(layout.lattice.shape)
