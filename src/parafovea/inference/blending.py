"""Importance maps of windows, and order-independent weighted sums.

A window's prediction has the largest weight at its centre. Weighted predictions are summed in fixed
point: integer sums do not depend on the order, so that any division into shards gives the same
result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from parafovea.geometry.grid import Shape, shape3
from parafovea.settings.inference import BlendingMode, InferenceSettings

Float64 = NDArray[np.float64]

#: Weights are multiples of 2**-30, probabilities of 2**-18. A product has 48 bits, so that 2**15
#: windows can overlap in a voxel before 63 bits overflow.
WEIGHT_BITS = 30
VALUE_BITS = 18


def _product(axes: Sequence[Float64]) -> Float64:
    z, y, x = axes
    product: Float64 = z[:, None, None] * y[None, :, None] * x[None, None, :]
    return product


def _outer_sum(axes: Sequence[Float64]) -> Float64:
    z, y, x = axes
    total: Float64 = z[:, None, None] + y[None, :, None] + x[None, None, :]
    return total


def _gaussian(shape: Shape, sigma: float) -> Float64:
    axes = []
    for n in shape:
        x = np.arange(n) - (n - 1) / 2
        axes.append(np.exp(-(x**2) / (2 * (sigma * n) ** 2)))
    weights = _product(axes)
    floored: Float64 = np.maximum(weights, max(float(weights.min()), 1e-3))
    return floored


def _gaussian_radial(shape: Shape, sigma: float) -> Float64:
    squares = [np.linspace(-1, 1, n) ** 2 if n > 1 else np.zeros(1) for n in shape]
    weights: Float64 = 1e-4 + np.exp(-_outer_sum(squares) / (2 * sigma**2))
    return weights


def _bump(shape: Shape) -> Float64:
    axes = []
    for n in shape:
        x = np.linspace(0, 1, n + 2)[1:-1]
        axes.append(-((x * (1 - x)) ** -1.5))
    depth = _outer_sum(axes)
    weights: Float64 = 1e-4 + np.exp(depth - depth.max())
    return weights


def _bump_wu(shape: Shape) -> Float64:
    axes = []
    for n in shape:
        u = 2 * np.arange(1, n + 1) / (n + 1) - 1
        bump = np.exp(-1 / (1 - u**2))
        axes.append(bump / bump.max())
    return np.maximum(_product(axes), 1e-5)


def _linear(shape: Shape) -> Float64:
    axes = []
    for n in shape:
        ramp = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)).astype(np.float64)
        axes.append(ramp / ramp.max())
    return _product(axes)


def importance_map(
    mode: BlendingMode, shape: Sequence[int], *, sigma: float | None = None
) -> Float64:
    """Return the weight of each voxel of a window.

    Parameters
    ----------
    mode : str
        ``gaussian``: product over the axes of exp(-x² / (2 (σ n)²)), σ = 0.125, at least 1e-3
        (the form of MONAI). ``gaussian_radial``: 1e-4 + exp(-d² / (2 σ²)), σ = 0.2, d the distance
        from the centre in half windows; ``bump``: 1e-4 + exp(d - max d) with
        d = -Σ (x (1 - x))^-1.5 (both: PyTorch Connectomics 1). ``bump_wu``: product of
        exp(-1 / (1 - u²)), each axis scaled to a peak of 1, at least 1e-5. ``linear``: product of
        ramps that reach the border without becoming zero. ``constant``: plain average.
    shape : sequence of int
        Voxels of the window along z, y, x.
    sigma : float, optional
        Width of the two Gaussian maps.

    Returns
    -------
    ndarray
        (z, y, x) float64, all positive.
    """
    window = shape3(shape, "window")
    if mode == "gaussian":
        return _gaussian(window, 0.125 if sigma is None else sigma)
    if mode == "gaussian_radial":
        return _gaussian_radial(window, 0.2 if sigma is None else sigma)
    if mode == "bump":
        return _bump(window)
    if mode == "bump_wu":
        return _bump_wu(window)
    if mode == "linear":
        return _linear(window)
    if mode == "constant":
        return np.ones(window)
    raise ValueError(
        f"blending {mode!r} is not known: use one of {', '.join(get_args(BlendingMode))}"
    )


def fixed_weights(weights: Float64) -> NDArray[np.int64]:
    """Return weights as multiples of 2**-30, at least 1.

    The same integers are used for the predictions and for the sum of weights, so that rounding
    changes the weight of a window by less than 1e-4, and never the scale of a result.
    """
    return np.maximum(1, np.rint(weights * 2.0**WEIGHT_BITS)).astype(np.int64)


def window_weights(settings: InferenceSettings, window: Shape) -> NDArray[np.int64]:
    """Return the fixed-point weights (z, y, x) of a window, all 1 if it is the only one."""
    if settings.mode == "whole_volume":
        return fixed_weights(importance_map("constant", window))
    return fixed_weights(importance_map(settings.blending, window, sigma=settings.sigma))


def normalized(sums: NDArray[np.int64], weights: NDArray[np.int64], dtype: Any) -> NDArray[Any]:
    """Return the weighted means of fixed-point sums.

    Parameters
    ----------
    sums : ndarray
        (class, z, y, x) int64, sums of weight times value.
    weights : ndarray
        (z, y, x) int64, sums of weights, all positive.
    dtype : dtype
        Data type of the result.

    Returns
    -------
    ndarray
        (class, z, y, x).
    """
    scale = 1.0 / (weights.astype(np.float64) * 2.0**VALUE_BITS)
    return np.stack([(channel * scale).astype(dtype) for channel in sums])
