"""Colours of tiles, against the formulas that users know, written anew."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from parafovea.quality.tiles import image_metrics as spectral

TILES = nps.arrays(np.float32, (4, 5, 6), elements=st.floats(0, 1, width=32))


def pair(seed=0, shape=(4, 40, 31), dtype=np.float32):
    rng = np.random.default_rng(seed)
    first = rng.uniform(0.01, 0.6, shape)
    return first.astype(dtype), np.clip(first + rng.normal(0, 0.03, shape), 0, 1).astype(dtype)


@pytest.mark.parametrize("seed", range(5))
def test_the_ndvi_rmse_is_that_of_the_users_guide(seed):
    before, after = pair(seed)

    def guide(optical):
        red, nir = optical[2], optical[3]
        return (nir - red) / (nir + red + 1e-8)

    wanted = np.sqrt(np.mean((guide(before) - guide(after)) ** 2))
    assert spectral.ndvi_rmse(after, before) == pytest.approx(float(wanted), abs=1e-6)
    np.testing.assert_allclose(spectral.ndvi(before), guide(before), atol=1e-6)


def test_the_ndvi_of_bright_pixels_leaves_out_what_is_dark_in_the_reference():
    after, before = (np.full((4, 2, 2), 0.2) for _ in range(2))
    after[3] += 0.1
    # (0.3 - 0.2) / 0.5
    assert spectral.bright_ndvi_rmse(after, before) == pytest.approx(0.2)
    before[:, 0] = 0.04
    assert spectral.ndvi_rmse(after, before) == pytest.approx(0.2)
    after[2, 0] = 0
    assert spectral.ndvi_rmse(after, before) == pytest.approx(math.sqrt((1 + 0.04) / 2))
    assert spectral.bright_ndvi_rmse(after, before) == pytest.approx(0.2)
    assert spectral.bright_ndvi_rmse(after, before * 0.1) is None
    # a pixel that is dark in the image alone counts
    assert spectral.bright_ndvi_rmse(before, after) == pytest.approx(math.sqrt((1 + 0.04) / 2))


def test_evi_and_its_rmse_are_those_of_the_formula():
    before, after = (each.astype(float) for each in pair(3))

    def formula(t):
        return 2.5 * (t[3] - t[2]) / (t[3] + 6 * t[2] - 7.5 * t[0] + 1)

    keep = np.ones(before.shape[1:], bool)
    for each in (before, after):
        keep &= each[3] + 6 * each[2] - 7.5 * each[0] + 1 >= spectral.EVI_LEAST
    assert 0.3 < keep.mean() < 1
    wanted = math.sqrt(np.mean((formula(before) - formula(after))[keep] ** 2))
    assert spectral.evi_rmse(after, before) == pytest.approx(wanted, abs=1e-12)
    dark = np.zeros((4, 2, 2))
    dark[3] = 0.5
    # 2.5 * 0.5 / 1.5
    assert spectral.evi(dark)[0, 0] == pytest.approx(5 / 6)
    cloud = np.ones((4, 2, 2)) * np.array([1, 1, 0.5, 0.5])[:, None, None]
    assert np.isnan(spectral.evi(cloud)).all()
    assert spectral.evi_rmse(cloud, dark) is None


def test_the_spectral_angle_does_not_see_brightness_and_knows_a_right_angle():
    tile, _ = pair(1)
    assert spectral.spectral_angle(tile * 0.5, tile) == pytest.approx(0, abs=1e-5)
    one, other = np.zeros((4, 3, 3)), np.zeros((4, 3, 3))
    one[0], other[3] = 0.2, 0.7
    assert spectral.spectral_angle(one, other) == pytest.approx(90)
    other[0] = 0.7
    assert spectral.spectral_angle(one, other) == pytest.approx(45)
    # a black pixel has no spectrum
    one[:, 0], other[:, 0] = 0, 0
    assert spectral.spectral_angle(one, other) == pytest.approx(45)
    assert spectral.spectral_angle(one * 0, other) is None


def test_the_spectral_angle_is_the_mean_arc_cosine():
    first, second = (each.astype(float) for each in pair(7))
    lengths = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    wanted = np.degrees(np.arccos((first * second).sum(0) / lengths)).mean()
    assert spectral.spectral_angle(first, second) == pytest.approx(wanted, abs=1e-9)


def test_the_bias_has_a_sign_and_a_band():
    tile, _ = pair(2)
    shifted = tile + np.array([0.1, 0, -0.05, 0], np.float32)[:, None, None]
    bias = spectral.band_bias(shifted, tile)
    np.testing.assert_allclose(bias, [0.1, 0, -0.05, 0], atol=1e-7)


def test_pixels_that_are_not_valid_do_not_count_whatever_they_hold():
    before, after = pair(4)
    valid = np.zeros(before.shape[1:], bool)
    valid[5:20, 3:17] = True
    cut = before[:, 5:20, 3:17], after[:, 5:20, 3:17]
    spoiled = after.copy()
    spoiled[:, ~valid] = np.nan
    measures = ("rmse", "ndvi_rmse", "bright_ndvi_rmse", "evi_rmse", "spectral_angle", "band_bias")
    for name in measures:
        measure = getattr(spectral, name)
        assert measure(spoiled, before, valid) == pytest.approx(measure(cut[1], cut[0])), name
        assert measure(after, before, valid & False) is None, name


@given(TILES, TILES)
def test_measures_are_finite_and_symmetric_for_any_reflectances(first, second):
    for measure in (spectral.ndvi_rmse, spectral.evi_rmse, spectral.spectral_angle, spectral.rmse):
        there, back = measure(first, second), measure(second, first)
        assert (there is None) == (back is None)
        if there is not None:
            assert math.isfinite(there)
            assert there == pytest.approx(back, abs=1e-9)
            assert measure(first, first) == pytest.approx(0, abs=1e-9)
