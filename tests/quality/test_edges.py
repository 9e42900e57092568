"""Edges of tiles, against the users' guide, and shifts that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tile_results import landscape

from parafovea.quality.tiles.image_metrics import (
    edge_correlation,
    edge_displacement,
    edge_strength,
    sobel_valid,
)

SCENE = landscape(np.random.default_rng(5), (150, 150))[1][3]


def seen(shift=(0.0, 0.0), *, blur=0.0, noise=0.0):
    """Return the middle of the scene, moved by a shift in pixels."""
    moved = ndimage.shift(SCENE, shift, order=3, mode="nearest")
    values = ndimage.gaussian_filter(moved, blur) if blur else moved
    values = values + noise * np.random.default_rng(0).normal(size=SCENE.shape)
    return values[20:-20, 20:-20].astype(np.float32)


@pytest.mark.parametrize("blur", [0.5, 2.0])
def test_the_edge_correlation_is_that_of_the_users_guide(blur):
    before, after = seen(), seen(blur=blur, noise=0.01)

    def guide(image):
        across, down = ndimage.sobel(image, axis=0), ndimage.sobel(image, axis=1)
        return np.sqrt(across**2 + down**2)

    wanted = np.corrcoef(guide(before).flatten(), guide(after).flatten())[0, 1]
    assert edge_correlation(after, before) == pytest.approx(wanted, abs=1e-6)
    np.testing.assert_allclose(edge_strength(before), guide(before), atol=1e-6)


@settings(max_examples=20)
@given(st.floats(-6, 6), st.floats(-6, 6))
def test_a_known_shift_is_found_to_a_fifth_of_a_pixel(down, across):
    found = edge_displacement(seen((down, across), blur=0.8, noise=0.003), seen())
    assert found == pytest.approx(np.hypot(down, across), abs=0.2)


def test_an_image_does_not_move_against_itself():
    assert edge_displacement(seen(), seen()) == 0
    assert edge_correlation(seen(), seen()) == pytest.approx(1)


def test_the_strength_of_a_ramp_is_eight_times_its_slope():
    ramp = np.arange(12)[:, None] * 0.01 + np.zeros((12, 9))
    np.testing.assert_allclose(edge_strength(ramp)[1:-1], 0.08)


@pytest.mark.parametrize("flat", [np.full((30, 30), 0.3, np.float32), np.zeros((30, 30))])
def test_a_flat_tile_has_no_correlation_and_no_displacement(flat):
    busy = seen()[:30, :30]
    noise = np.random.default_rng(0).normal(0, 3e-8, flat.shape)
    for one, other in ((flat, busy), (busy, flat), (flat, flat), (flat + noise, busy)):
        assert edge_correlation(one, other) is None
        assert edge_displacement(one, other) is None


def test_only_pixels_whose_neighbourhood_is_valid_count():
    before, after = seen(), seen(blur=1, noise=0.01)
    valid = np.ones(before.shape, bool)
    valid[30:50, 40:70] = False
    inside = sobel_valid(valid)
    assert valid.sum() - inside.sum() == 2 * (20 + 30) + 4
    maps = [edge_strength(each)[inside] for each in (after, before)]
    holed = np.where(valid, after, np.nan)
    assert edge_correlation(holed, before, valid) == pytest.approx(np.corrcoef(*maps)[0, 1])
    moved = edge_displacement(np.where(valid, seen((2, -1)), np.nan), before, valid)
    assert moved == pytest.approx(5**0.5, abs=0.2)
    assert edge_correlation(after, before, valid & False) is None
