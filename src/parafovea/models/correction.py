"""Correction of an image's bands by a network's scores, held back where the network has doubts.

A camera's errors mix, scale and blur the bands. Scores of the form "filter" undo exactly that: for
each pixel an offset of each band, a matrix that mixes the bands, and gains of the bands' details
at two scales. Bright pixels, such as clouds, are then corrected by the same factors as others,
however rare they were in training.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from parafovea.settings.networks import correction_channels

#: Standard deviations in pixels of the Gaussians between which details lie.
DETAILS = (1.0, 2.0)

#: Side in pixels of the mean that separates the brightness of a place from its details.
PLACE = 17

#: Expected error at a score of 0, and the range of the scores that tell it.
EXPECTED, WIDEST = 0.02, 4.0


def corrections(scores: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """Return the change of each band, and the error that is expected of its mean at a place.

    Parameters
    ----------
    scores : Tensor
        (N, channel, y, x): for B bands, B offsets, B x B factors (output band first), B gains of
        each scale of `DETAILS`, and B expected errors (logarithms).
    base : Tensor
        (N, B, y, x), the bands.

    Returns
    -------
    change : Tensor
        (N, B, y, x), to be added to `base`.
    error : Tensor
        (N, B, y, x), the expected root mean squared error of the mean of a band in a square of
        `PLACE` pixels, after the change.
    """
    bands = base.shape[1]
    if scores.shape[1] != correction_channels(bands):
        raise ValueError(
            f"{scores.shape[1]} scores do not correct {bands} bands, which takes "
            f"{correction_channels(bands)}: was the network trained for other bands?"
        )
    offset, rest = scores[:, :bands], scores[:, bands:]
    factors = torch.unflatten(rest[:, : bands**2], 1, (bands, bands))
    gains = torch.unflatten(rest[:, bands**2 : -bands], 1, (len(DETAILS), bands))
    change = offset
    for band in range(bands):
        change = torch.addcmul(change, factors[:, :, band], base[:, band : band + 1])
    finer = base
    for number, sigma in enumerate(DETAILS):
        coarser = _blurred(base, sigma)
        change = torch.addcmul(change, gains[:, number], finer - coarser)
        finer = coarser
    error = EXPECTED * rest[:, -bands:].clamp(-WIDEST, WIDEST).exp()
    return change, error


def place_mean(values: Tensor) -> Tensor:
    """Return the mean of a square of `PLACE` pixels around each pixel, (N, band, y, x).

    At the border it is the mean of the pixels of the square that are in the image.
    """
    return _line_mean(_line_mean(values, 3), 2)


def held_back(change: Tensor, error: Tensor, caution: float) -> tuple[Tensor, Tensor]:
    """Return a change with its mean at each place held back where it is doubtful.

    The mean m of the change at a place, its brightness and colour, is multiplied by
    r² / (r² + caution), Wiener's weight of a signal in noise, where r is the largest ratio of m to
    the expected error over the bands. One weight for all bands keeps their ratios, such as the
    NDVI. Details are kept.

    Parameters
    ----------
    change, error : Tensor
        (N, band, y, x), of `corrections`.
    caution : float
        At least 0, where nothing is held back.

    Returns
    -------
    change : Tensor
        (N, band, y, x).
    trust : Tensor
        (N, 1, y, x), the weights, in [0, 1].
    """
    mean = place_mean(change)
    ratio = (mean / error).square().amax(dim=1, keepdim=True)
    trust = ratio / (ratio + caution) if caution else torch.ones_like(ratio)
    return change - (1 - trust) * mean, trust


def _line_mean(values: Tensor, axis: int) -> Tensor:
    """Return the mean of `PLACE` pixels along an axis, as a difference of running sums.

    Both axes of 8 images of 4 bands and 120 x 120 pixels took 3 to 4 ms on one busy CPU core, where
    `avg_pool2d` took 63 to 125 ms, and 16 to 30 ms along one axis after the other.
    """
    count, radius = values.shape[axis], PLACE // 2
    sums = values.cumsum(axis)
    none = torch.zeros_like(sums.narrow(axis, 0, 1))
    every = sums.narrow(axis, count - 1, 1)
    sums = torch.cat([*[none] * (radius + 1), sums, *[every] * radius], axis)
    place = torch.arange(count, device=values.device)
    pixels = (place + radius + 1).clamp(max=count) - (place - radius).clamp(min=0)
    spread = pixels.to(values.dtype).view(-1, *[1] * (values.dim() - 1 - axis))
    return (sums.narrow(axis, PLACE, count) - sums.narrow(axis, 0, count)) / spread


@cache
def _taps(sigma: float) -> tuple[float, ...]:
    radius = math.ceil(3 * sigma)
    line = [math.exp(-0.5 * (place / sigma) ** 2) for place in range(-radius, radius + 1)]
    return tuple(tap / sum(line) for tap in line)


def _blurred(values: Tensor, sigma: float) -> Tensor:
    """Return bands blurred by a Gaussian; border pixels are repeated."""
    bands = values.shape[1]
    taps = torch.tensor(_taps(sigma), dtype=values.dtype, device=values.device)
    radius = len(taps) // 2
    padded = F.pad(values, (radius, radius, radius, radius), mode="replicate")
    along = F.conv2d(padded, taps.view(1, 1, 1, -1).expand(bands, -1, -1, -1), groups=bands)
    return F.conv2d(along, taps.view(1, 1, -1, 1).expand(bands, -1, -1, -1), groups=bands)
