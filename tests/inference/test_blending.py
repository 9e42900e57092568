"""Importance maps against their published values, and sums in fixed point."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.inference.blending import (
    VALUE_BITS,
    WEIGHT_BITS,
    fixed_weights,
    importance_map,
    normalized,
)
from parafovea.settings.inference import BlendingMode

SMALL, FLAT = (8, 8, 8), (16, 32, 32)
MODES = get_args(BlendingMode)

#: Mode, shape, then corner, face, centre and sum, as measured on the systems that users know.
#: `bump_wu` at (16, 32, 32) has the corner 9.00092e-9 before its floor of 1e-5.
GOLDEN = [
    ("gaussian_radial", SMALL, 1e-4, 1.02237e-4, 0.465291, 5.45127),
    ("gaussian_radial", FLAT, 1e-4, 1.03631e-4, 0.921768, 228.669),
    ("bump", SMALL, 1e-4, 1e-4, 1.0001, 15.708),
    ("bump", FLAT, 1e-4, 1e-4, 1.0001, 271.295),
    ("bump_wu", SMALL, 0.0105014, 0.218985, 1, 168.296),
    ("bump_wu", FLAT, 1e-5, 0.0298326, 1, 4089.02),
    ("gaussian", SMALL, 0.001, 0.00170362, 0.687289, 15.9949),
    ("gaussian", FLAT, 0.001, 0.001, 0.954207, 511.898),
]


@pytest.mark.parametrize(("mode", "shape", "corner", "face", "centre", "total"), GOLDEN)
def test_importance_maps_have_their_golden_values(
    mode: BlendingMode,
    shape: tuple[int, int, int],
    corner: float,
    face: float,
    centre: float,
    total: float,
) -> None:
    weights = importance_map(mode, shape)
    z, y, x = (n // 2 for n in shape)
    found = [weights[0, 0, 0], weights[0, y, x], weights[z, y, x], weights.sum()]
    assert weights.dtype == np.float64
    assert found == pytest.approx([corner, face, centre, total], rel=5e-6)  # six digits


@settings(max_examples=30)
@given(st.sampled_from(MODES), st.tuples(*[st.integers(1, 24)] * 3))
def test_every_map_is_positive_and_symmetric(
    mode: BlendingMode, shape: tuple[int, int, int]
) -> None:
    weights = importance_map(mode, shape)
    assert weights.shape == shape
    assert np.isfinite(weights).all()
    assert weights.min() > 0
    assert fixed_weights(weights).min() >= 1
    for axis in range(3):
        np.testing.assert_allclose(weights, np.flip(weights, axis), rtol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_the_centre_counts_most(mode: BlendingMode) -> None:
    weights = importance_map(mode, (9, 11, 7))
    assert weights[4, 5, 3] == weights.max()


def test_the_linear_ramp_reaches_the_border_without_becoming_zero() -> None:
    weights = importance_map("linear", (4, 1, 5))
    np.testing.assert_allclose(
        weights[:, 0], np.outer([0.5, 1, 1, 0.5], np.array([1, 2, 3, 2, 1]) / 3)
    )


def test_sigma_widens_the_gaussian_maps() -> None:
    for mode in ("gaussian", "gaussian_radial"):
        narrow, wide = (importance_map(mode, SMALL, sigma=s) for s in (0.1, 0.4))
        assert wide[0, 4, 4] / wide[4, 4, 4] > narrow[0, 4, 4] / narrow[4, 4, 4]


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'cosine' is not known: use one of gaussian, "):
        importance_map("cosine", SMALL)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_fixed_weights_differ_by_less_than_a_ten_thousandth(mode: BlendingMode) -> None:
    weights = importance_map(mode, (32, 64, 64))
    np.testing.assert_allclose(fixed_weights(weights) / 2.0**WEIGHT_BITS, weights, rtol=1e-4)


@settings(max_examples=20)
@given(st.integers(1, 200), st.integers(0, 1000))
def test_normalized_sums_are_the_weighted_mean(windows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = fixed_weights(rng.uniform(1e-5, 1, (windows, 1, 1, 1)))
    values = rng.uniform(0, 1, (windows, 3, 1, 1, 1))
    fixed = np.rint(values * 2.0**VALUE_BITS).astype(np.int64)
    sums = (weights[:, None] * fixed).sum(axis=0)
    found = normalized(sums, weights.sum(axis=0), np.float64)
    wanted = (values * weights[:, None]).sum(axis=0) / weights.sum(axis=0)
    np.testing.assert_allclose(found, wanted, atol=2.0**-VALUE_BITS)


def test_the_largest_allowed_number_of_windows_does_not_overflow() -> None:
    largest = fixed_weights(np.ones((1, 1, 1))) * 2**15
    sums = (largest - 1)[None] * 2**VALUE_BITS
    assert sums.min() > 0
    np.testing.assert_allclose(normalized(sums, largest - 1, np.float32), 1, rtol=1e-6)
