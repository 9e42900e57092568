"""Closeness to the truth, against the definitions."""

import math

import numpy as np
import pytest
from scipy import ndimage

from parafovea.quality.tiles.image_metrics import psnr, psnr_of, ssim

RNG = np.random.default_rng(0)
TRUTH = np.clip(ndimage.gaussian_filter(RNG.random((4, 40, 50)), (0, 2, 2)) * 3 - 1, 0, 1)
IMAGE = np.clip(TRUTH + RNG.normal(0, 0.05, TRUTH.shape), 0, 1)


def wang(image, truth):
    """Return the SSIM of one band by the paper: windows of 11 x 11 that lie within the image."""
    side = np.arange(-5, 6)
    weights = np.exp(-(side**2) / (2 * 1.5**2))
    window = np.outer(weights, weights) / weights.sum() ** 2
    found = []
    for row in range(image.shape[0] - 10):
        for column in range(image.shape[1] - 10):
            x, y = (e[row : row + 11, column : column + 11] for e in (image, truth))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * x**2).sum() - mx**2, (window * y**2).sum() - my**2
            both = (window * x * y).sum() - mx * my
            found.append(
                (2 * mx * my + 1e-4)
                * (2 * both + 9e-4)
                / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
            )
    return float(np.mean(found))


def test_ssim_is_that_of_the_paper_in_every_band():
    wanted = np.mean([wang(*bands) for bands in zip(IMAGE, TRUTH, strict=True)])
    assert ssim(IMAGE, TRUTH) == pytest.approx(wanted, abs=1e-7)
    assert ssim(TRUTH, TRUTH) == pytest.approx(1)


def test_psnr_is_ten_log_of_the_squared_error():
    wanted = 10 * math.log10(1 / np.mean((IMAGE - TRUTH) ** 2))
    assert psnr(IMAGE, TRUTH) == pytest.approx(wanted)
    assert psnr(TRUTH + 0.1, TRUTH) == pytest.approx(20)


def test_what_is_the_same_has_no_finite_psnr_and_says_so():
    assert psnr(TRUTH, TRUTH) is None
    assert psnr_of(None) is None


def test_holes_do_not_count():
    valid = np.ones(TRUTH.shape[1:], bool)
    valid[:, 30:] = False
    holed = np.where(valid, IMAGE, np.nan)
    cut = IMAGE[..., :30], TRUTH[..., :30]
    assert psnr(holed, TRUTH, valid) == pytest.approx(psnr(*cut))
    assert ssim(holed, TRUTH, valid) == pytest.approx(ssim(*cut))
    assert ssim(holed, TRUTH, valid & False) is None


def test_a_tile_smaller_than_a_window_has_no_ssim():
    assert ssim(IMAGE[:, :10], TRUTH[:, :10]) is None
    assert ssim(IMAGE[:, :11, :11], TRUTH[:, :11, :11]) is not None
