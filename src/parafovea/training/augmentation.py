"""Random augmentation of training windows: warps, flips, and changes of values and planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from torch import Tensor

from parafovea.geometry.grid import Box, Grid, shape3
from parafovea.settings.training import AugmentationSettings

#: Control points of an elastic displacement along each axis of a window.
CONTROL_POINTS = 6

#: Shares of windows that are blurred and that have noise, where the settings ask for it.
BLURRED, NOISY = 1 / 3, 1 / 2


def warped_places(
    box: Box,
    grid: Grid,
    settings: AugmentationSettings,
    rng: np.random.Generator,
    *,
    dimensions: int,
) -> NDArray[np.float64] | None:
    """Return the positions of a window's voxels after random rotation, zoom and deformation.

    Parameters
    ----------
    box : Box
        The window.
    grid : Grid
        Grid of the window; positions beyond it are mirrored at its border.
    settings : AugmentationSettings
        Strength of each augmentation.
    rng : Generator
        Random generator.
    dimensions : {2, 3}
        2 leaves z unchanged.

    Returns
    -------
    ndarray or None
        (z, y, x, 3) float64, fractional voxels of the grid along z, y, x; None if the settings do
        not move voxels.
    """
    if not (settings.rotate or settings.zoom or settings.elastic):
        return None
    axes = [1, 2] if dimensions == 2 else [0, 1, 2]
    middle = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    offsets = [np.arange(a, b) - m for a, b, m in zip(box.start, box.stop, middle, strict=True)]
    places = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1)
    angle = rng.uniform(-math.pi, math.pi) if settings.rotate else 0.0
    factor = math.exp(rng.uniform(-1, 1) * math.log1p(settings.zoom))
    turn = np.eye(3)
    turn[1:, 1:] = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    turn[axes] *= factor
    places = places @ turn.T + middle
    if settings.elastic:
        finest = min(grid.spacing[axis] for axis in axes)
        for axis in axes:
            deviation = settings.elastic * finest / grid.spacing[axis]
            places[..., axis] += deviation * _smooth_noise(box.shape, rng)
    return mirrored_places(places, grid.shape)


def _smooth_noise(shape: Sequence[int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return cubic interpolation between independent normal values at the control points."""
    noise = rng.standard_normal([min(CONTROL_POINTS, n) for n in shape])
    for axis, count in enumerate(shape):
        along = _interpolation(noise.shape[axis], count)
        noise = np.moveaxis(np.tensordot(along, noise, axes=(1, axis)), 0, axis)
    return noise


@cache
def _interpolation(control: int, count: int) -> NDArray[np.float64]:
    """Return the (count, control) matrix of cubic interpolation along one axis."""
    rows: NDArray[np.float64] = zoom(np.eye(control), (count / control, 1), order=3)
    return rows


def mirrored_places(places: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return positions (..., 3) mirrored at the first and the last voxel of each axis.

    Equivalent to `parafovea.geometry.resample.reflected_indices` for fractional voxels.
    """
    last = np.asarray(shape) - 1
    folded = np.mod(places, np.maximum(2 * last, 1))
    mirrored: NDArray[np.float64] = np.where(
        last > 0, np.minimum(folded, 2 * last - folded), np.zeros(())
    )
    return mirrored


def jittered(channels: Tensor, jitter: float, rng: np.random.Generator) -> Tensor:
    """Return (channel, z, y, x) values with a random gain and offset per channel.

    Parameters
    ----------
    channels : Tensor
        (channel, z, y, x) float32.
    jitter : float
        Standard deviation of gain and offset, relative to the channel's own.
    rng : Generator
        Random generator.
    """
    if jitter == 0:
        return channels
    noise = jitter * rng.standard_normal((2, len(channels), 1, 1, 1))
    gain, offset = torch.from_numpy(noise.astype(np.float32)).to(channels.device)
    spread = channels.std(dim=(1, 2, 3), correction=0, keepdim=True)
    moved: Tensor = channels * (1 + gain) + offset * spread
    return moved


def redeveloped(
    voxels: Tensor, settings: AugmentationSettings, rng: np.random.Generator, *, flat: bool
) -> Tensor:
    """Return voxels with a random exponent, blur and noise, alike in all channels but for noise.

    Parameters
    ----------
    voxels : Tensor
        (channel, z, y, x) float32, normalized.
    settings : AugmentationSettings
        `gamma`, `blur` and `noise`.
    rng : Generator
        Random generator; not used by settings of 0.
    flat : bool
        Whether planes are independent, so that none is blurred with another.
    """
    if settings.gamma:
        exponent = math.exp(settings.gamma * rng.standard_normal())
        voxels = voxels.sign() * voxels.abs() ** exponent
    if settings.blur and rng.random() < BLURRED:
        sigma = rng.uniform(0, settings.blur)
        blurred = gaussian_filter(
            voxels.cpu().numpy(), (0, 0 if flat else sigma, sigma, sigma), mode="mirror"
        )
        voxels = torch.from_numpy(blurred).to(voxels.device)
    if settings.noise and rng.random() < NOISY:
        noise = rng.standard_normal(tuple(voxels.shape), dtype=np.float32)
        noise *= np.float32(rng.uniform(0, settings.noise))
        voxels = voxels + torch.from_numpy(noise).to(voxels.device)
    return voxels


def with_missing_planes(
    channels: Tensor,
    steps: Sequence[int],
    share: float,
    rng: np.random.Generator,
    *,
    reverse: bool = False,
) -> Tensor:
    """Return planes with their neighbours as they are at the ends of a volume, for some windows.

    Neighbours beyond the first or the last section are mirrored, and those of a section alone are
    the section itself, as in inference.

    Parameters
    ----------
    channels : Tensor
        (channel, z, y, x): for each band the planes of `steps`.
    steps : sequence of int
        Plane of each channel relative to its own: 0, -1, 1, -2, 2, ...
    share : float
        Share of windows that change, a third of them each to a first, a last or a lone section.
    rng : Generator
        Random generator.
    reverse : bool
        Reverse the order of the sections in half of the windows.
    """
    seen = list(steps)
    if rng.random() < share:
        end = (1, -1, 0)[int(rng.integers(3))]
        seen = [end * abs(step) if step * end <= 0 else step for step in seen]
    if reverse and rng.random() < 0.5:
        seen = [-step for step in seen]
    places = [list(steps).index(step) for step in seen]
    bands = channels.reshape(-1, len(steps), *channels.shape[1:])
    return bands[:, places].reshape(channels.shape)


def random_turns(axes: str, *, square: bool, rng: np.random.Generator) -> list[str]:
    """Return the random flips of a window by axis, and "yx" to swap axes of a square one."""
    turns = [axis for axis in axes if rng.random() < 0.5]
    if square and rng.random() < 0.5:
        turns.append("yx")
    return turns


def turned(values: Tensor, turns: Sequence[str]) -> Tensor:
    """Return (..., z, y, x) flipped along the named axes; "yx" swaps these two axes."""
    for turn in turns:
        values = values.transpose(-2, -1) if turn == "yx" else values.flip("zyx".index(turn) - 3)
    return values


def nearest(values: NDArray[Any], places: NDArray[np.float64]) -> NDArray[Any]:
    """Return the values (z, y, x) of the voxels nearest to positions (..., 3)."""
    z, y, x = np.moveaxis(np.rint(places).astype(np.int64), -1, 0)
    found: NDArray[Any] = values[z, y, x]
    return found


def box_around(places: NDArray[np.float64]) -> Box:
    """Return the box of voxels around fractional positions (z, y, x, 3)."""
    lowest = np.floor(places.min(axis=(0, 1, 2))).astype(int)
    highest = np.ceil(places.max(axis=(0, 1, 2))).astype(int) + 1
    return Box(shape3(lowest), shape3(highest))
