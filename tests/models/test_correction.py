"""Correction of bands by scores, and what doubt holds back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from parafovea.models.activation import activated, filtered
from parafovea.models.correction import EXPECTED, PLACE, corrections, held_back, place_mean
from parafovea.settings.networks import correction_channels

BANDS = 4


def image(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((1, BANDS, 40, 48), np.float32))


def scores(**parts: np.ndarray) -> torch.Tensor:
    """Return scores that are the same at all pixels, 0 for what is not given."""
    shapes = {"offset": BANDS, "factors": BANDS**2, "gains": 2 * BANDS, "error": BANDS}
    flat = np.concatenate(
        [np.ravel(parts.get(name, np.zeros(size))) for name, size in shapes.items()]
    )
    assert len(flat) == correction_channels(BANDS)
    return torch.from_numpy(np.tile(flat[None, :, None, None], (1, 1, 40, 48)).astype(np.float32))


def test_a_spectral_shift_is_undone_for_any_brightness() -> None:
    rng = np.random.default_rng(1)
    mixing = np.eye(BANDS) + 0.1 * rng.normal(size=(BANDS, BANDS))
    offset = 0.02 * rng.normal(size=BANDS)
    truth = image()
    shifted = torch.einsum("oi,niyx->noyx", torch.tensor(mixing, dtype=torch.float32), truth)
    shifted = shifted + torch.tensor(offset, dtype=torch.float32)[None, :, None, None]
    inverse = np.linalg.inv(mixing)
    undo = scores(offset=-inverse @ offset, factors=inverse - np.eye(BANDS))
    change, _ = corrections(undo, shifted)
    torch.testing.assert_close(shifted + change, truth, atol=1e-5, rtol=0)


def test_gains_of_details_are_of_differences_of_gaussians() -> None:
    sharpened = corrections(scores(gains=np.repeat([0.7, 0.3], BANDS)), image())[0][0].numpy()
    for band, values in enumerate(image()[0].numpy()):
        fine, coarse = (
            ndimage.gaussian_filter(values, sigma, mode="nearest", radius=int(3 * sigma))
            for sigma in (1, 2)
        )
        wanted = 0.7 * (values - fine) + 0.3 * (fine - coarse)
        np.testing.assert_allclose(sharpened[band], wanted, atol=1e-5)


def test_brightness_is_held_back_by_the_expected_error_and_details_are_not() -> None:
    change = image(2) - 0.3
    error = torch.tensor([0.2, 0.4, 0.2, 0.8])[None, :, None, None].expand_as(change)
    held, trust = held_back(change, error, 1.0)
    mean = place_mean(change)
    torch.testing.assert_close(held - trust * mean, change - mean)
    ratio = (mean**2 / error**2).max(dim=1, keepdim=True).values
    torch.testing.assert_close(trust, ratio / (ratio + 1))
    more = held_back(change, 3 * error, 1.0)[1]
    assert bool((more < trust).all())
    free, full = held_back(change, error, 0.0)
    torch.testing.assert_close(free, change)
    assert bool((full == 1).all())


def test_the_mean_of_a_place_is_that_of_the_pixels_inside_the_image() -> None:
    values = image()[0, 0].numpy()
    half = PLACE // 2
    found = place_mean(image())[0, 0].numpy()
    assert found[0, 0] == pytest.approx(values[: half + 1, : half + 1].mean(), abs=1e-5)
    assert found[20, 24] == pytest.approx(
        values[20 - half : 21 + half, 24 - half : 25 + half].mean(), abs=1e-5
    )


def test_scores_of_zero_leave_the_image_and_scores_of_other_bands_are_refused() -> None:
    torch.testing.assert_close(activated(scores(), "residual", image()), image())
    assert float(corrections(scores(), image())[1].mean()) == pytest.approx(EXPECTED)
    with pytest.raises(ValueError, match="32 scores do not correct 3 bands, which takes 21"):
        corrections(scores(), image()[:, :3])


def test_planes_of_a_volume_are_corrected_like_images() -> None:
    flat = filtered(scores(offset=np.full(BANDS, 0.1)), image(), caution=1.0)
    deep = filtered(
        scores(offset=np.full(BANDS, 0.1)).unsqueeze(2), image().unsqueeze(2), caution=1.0
    )
    for one, other in zip(flat, deep, strict=True):
        torch.testing.assert_close(one, other.squeeze(2))
