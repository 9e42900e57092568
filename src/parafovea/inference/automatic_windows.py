"""The windows that `window: auto` and `overlap: auto` stand for; torch-free.

They follow from the model and the shape of the sample alone, never from the machine: it has the
same windows wherever it is computed. `docs/inference.md` has the measurements behind the constants.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Shape, shape3
from parafovea.geometry.windows import axis_starts, stride_of
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.networks import FusedUNetSpec
from parafovea.settings.recipe import Recipe

#: Voxels that neighbouring windows of a FusedUNet share along an axis.
OVERLAP = 16

#: Share of a window that neighbours share for a network whose reach is not known.
UNKNOWN_OVERLAP = 0.5

#: Most voxels of a window times the network's channels at full resolution; see `window_bytes`.
LARGEST = 16 * 96**3

#: Fewest voxels along an axis of a window, unless the volume has fewer: most of them are then far
#: from the window's border.
SHORTEST = 4 * OVERLAP

#: Most voxels along an axis of a window.
LONGEST = 512


def chosen_window(shape: Shape, recipe: Recipe, settings: InferenceSettings) -> Shape:
    """Return the window for a sample: as stated, the model's own, or the one chosen for it.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the volume along z, y, x.
    recipe : Recipe
        Recipe of the model.
    settings : InferenceSettings
        Window, overlap and stride.
    """
    if settings.window != "auto":
        return settings.stated_window or recipe.window
    network = recipe.network
    if not isinstance(network, FusedUNetSpec) or not _any_window(recipe, settings):
        return recipe.window
    return _cheapest(
        shape,
        network.multiple_of,
        flat=network.dimensions == 2,
        most=LARGEST // network.base_channels,
    )


def _any_window(recipe: Recipe, settings: InferenceSettings) -> bool:
    """Return whether windows of any size mean the same to the network and the settings."""
    return recipe.context_ratio is None and settings.overlap == "auto" and settings.do_eval


def chosen_stride(window: Shape, recipe: Recipe, settings: InferenceSettings) -> Shape:
    """Return the voxels from one window to the next along z, y, x.

    Parameters
    ----------
    window : tuple of int
        Voxels for which the network has results.
    recipe : Recipe
        Recipe of the model.
    settings : InferenceSettings
        Overlap or stride.
    """
    if settings.stride is not None:
        return settings.stride
    overlap = settings.overlap or 0.0
    if overlap == "auto":
        if isinstance(recipe.network, FusedUNetSpec):
            return shape3([_step(side) for side in window])
        overlap = UNKNOWN_OVERLAP
    return stride_of(window, overlap)


def _step(side: int) -> int:
    return max(side - OVERLAP, -(-side // 2))


@lru_cache(maxsize=1024)
def _cheapest(shape: Shape, multiple_of: Shape, *, flat: bool, most: int) -> Shape:
    """Return the window of at most `most` voxels with which the fewest voxels are computed.

    Of equal ones, that with the fewest windows, then the one least deep, then the least high. If
    none is that small, the smallest that the network takes.
    """
    axes = [_axis(n, m) for n, m in zip(shape, multiple_of, strict=True)]
    if flat:
        axes[0] = np.array([(1, shape[0])])
    z, y, x = np.meshgrid(*(np.arange(len(axis)) for axis in axes), indexing="ij")
    table = np.stack([axes[0][z], axes[1][y], axes[2][x]]).reshape(3, -1, 2)
    sides, counts = table[..., 0], table[..., 1]
    sizes, windows = sides.prod(0), counts.prod(0)
    small = np.flatnonzero(sizes <= max(most, int(sizes.min())))
    order = np.lexsort((sides[1, small], sides[0, small], windows[small], (sizes * windows)[small]))
    return shape3(sides[:, small[order[0]]].tolist())


def _axis(count: int, multiple: int) -> NDArray[np.int64]:
    """Return the possible sides of a window along an axis, each with its number of windows."""
    longest = min(-(-count // multiple) * multiple, LONGEST // multiple * multiple)
    shortest = min(-(-SHORTEST // multiple) * multiple, longest)
    sides = range(shortest, longest + 1, multiple)
    return np.array([(side, len(axis_starts(count, side, _step(side)))) for side in sides])
