"""What a first stage does to a landscape, each step by itself and all together."""

from __future__ import annotations

import numpy as np
import pytest

from parafovea_phantoms.landscapes.degradation import (
    SHADOW_BANDS,
    Acquisition,
    blurred,
    noisy,
    shaded,
    shifted,
    spectral_shift,
    striped,
)
from parafovea_phantoms.landscapes.landscape import landscape_mosaic
from parafovea_phantoms.landscapes.radar import DECIBELS, LOOKS, scaled, speckle
from parafovea_phantoms.landscapes.random_fields import cells, hashed, normal, rough, slopes, smooth

PIXELS = np.arange(200)
METRES = 10.0 * (PIXELS + 0.5)
FLAT = np.full((4, 40, 40), 0.2)


@pytest.mark.parametrize("sigma", [0.9, 1.3])
def test_blur_keeps_the_light_and_spreads_a_point_by_sigma(sigma: float) -> None:
    point = np.zeros((4, 41, 41))
    point[:, 20, 20] = 1
    seen = blurred(point, sigma)
    np.testing.assert_allclose(seen.sum(axis=(1, 2)), 1, rtol=1e-6)
    away = np.arange(41) - 20
    variance = (seen[0].sum(axis=0) * away**2).sum()
    # a Gaussian on pixels that ends at eight of them
    assert variance == pytest.approx(sigma**2, rel=0.01)


def test_a_spectral_shift_can_be_undone_exactly_by_who_knows_month_and_biome() -> None:
    image = np.random.default_rng(0).uniform(0, 0.5, (4, 8, 9))
    for month, biome in ((1, 0), (6, 4), (10, 15)):
        shift = spectral_shift(month, biome)
        np.testing.assert_allclose(shift.mixing.sum(axis=1), 1)
        seen = shifted(image, shift)
        back = (seen - shift.offset[:, None, None]) / shift.gain[:, None, None]
        undone = np.einsum("ij,jyx->iyx", np.linalg.inv(shift.mixing), back)
        np.testing.assert_allclose(undone, image, atol=1e-12)


def test_every_month_and_every_biome_has_a_shift_of_its_own() -> None:
    seen = [
        shifted(FLAT, spectral_shift(month, biome))[:, 0, 0]
        for month in range(1, 13)
        for biome in range(16)
    ]
    apart = np.abs(np.array(seen)[:, None] - np.array(seen)[None]).max(axis=-1)
    assert apart[~np.eye(len(seen), dtype=bool)].min() > 1e-5
    assert np.abs(np.array(seen) - 0.2).max() < 0.08


def test_a_shadow_takes_light_from_every_band_and_most_from_the_infrared() -> None:
    shadow = np.zeros((40, 40))
    shadow[10:] = 0.4
    seen = shaded(FLAT, shadow)
    np.testing.assert_array_equal(seen[:, :10], FLAT[:, :10])
    np.testing.assert_allclose(seen[:, 20, 20], 0.2 * (1 - 0.4 * np.array(SHADOW_BANDS)))
    assert (np.diff(seen[:, 20, 20]) < 0).all()


def test_shadows_are_smooth_and_cover_a_part_of_the_land() -> None:
    shares = []
    for seed in range(12):
        shadow = Acquisition.of(seed, month=5, biome=4).shadow(METRES, METRES)
        assert 0 <= shadow.min() <= shadow.max() <= 0.45
        assert np.abs(np.diff(shadow)).max() < 0.12
        shares.append((shadow > 0.05).mean())
    assert np.ptp(shares) > 0.05
    assert np.mean(shares) == pytest.approx(0.15, abs=0.1)


def test_stripes_run_along_columns_and_average_out() -> None:
    gains = Acquisition.of(1, month=5, biome=4).gains(np.arange(3000))
    seen = striped(np.ones((4, 5, 3000)), gains)
    np.testing.assert_array_equal(seen, np.broadcast_to(gains[:, None], seen.shape))
    assert 0.006 < gains.std() < 0.03
    assert gains.mean() == pytest.approx(1, abs=0.003)


def test_noise_grows_with_the_signal() -> None:
    white = Acquisition.of(1, month=5, biome=4).white(PIXELS, PIXELS)
    assert white.std() == pytest.approx(1, abs=0.02)
    assert np.abs(np.corrcoef(white.reshape(4, -1)) - np.eye(4)).max() < 0.03
    dark, bright = (
        noisy(np.full(white.shape, level), white, dark=0.004, bright=0.02).std()
        for level in (0.0, 0.25)
    )
    assert dark == pytest.approx(0.004, rel=0.03)
    assert bright == pytest.approx(np.hypot(0.004, 0.01), rel=0.03)


def patches(image: np.ndarray) -> np.ndarray:
    """Return a row for each pixel: the bands of the 25 pixels about it, and a one."""
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
    seen = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
    rows = seen.transpose(1, 2, 0, 3, 4).reshape(image[0].size, -1)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


def linearly_refined(month: int, biome: int) -> tuple[float, float]:
    """Return the square error of a place, as seen and as mended by what three others teach."""
    views = [landscape_mosaic(seed, (96, 96), month, biome) for seed in (31, 32, 33, 21)]
    inputs = [patches(view.degraded.astype(np.float64)) for view in views]
    wanted = [view.truth.reshape(4, -1).T.astype(np.float64) for view in views]
    known, sought = np.concatenate(inputs[:3]), np.concatenate(wanted[:3])
    normal_matrix = known.T @ known + 0.05 * np.eye(known.shape[1])
    mended = inputs[3] @ np.linalg.solve(normal_matrix, known.T @ sought)
    before = np.mean((views[3].degraded - views[3].truth) ** 2, dtype=np.float64)
    return float(before), float(np.mean((mended - wanted[3]) ** 2))


def test_what_is_learned_of_a_month_and_a_biome_mends_other_places() -> None:
    errors = [linearly_refined(*date) for date in ((7, 4), (1, 0), (10, 1), (4, 8))]
    before, after = np.sqrt(np.mean(errors, axis=0))
    assert 0.015 < before < 0.06
    assert after < 0.75 * before


def test_speckle_is_gamma_of_four_looks() -> None:
    values = speckle(5, np.arange(300), np.arange(300))
    assert values.mean() == pytest.approx(1, abs=0.01)
    assert values.var() == pytest.approx(1 / LOOKS, rel=0.06)
    # the share below a tenth of the mean is that of a gamma distribution of shape 4
    assert (values < 0.1).mean() == pytest.approx(0.00078, abs=0.0006)


def test_decibels_become_zero_to_one() -> None:
    (low, high), (low_vh, high_vh) = DECIBELS
    ends = 10 ** (np.array([[[low, high]], [[low_vh, high_vh]]]) / 10)
    np.testing.assert_allclose(scaled(ends), [[[0, 1]], [[0, 1]]], atol=1e-12)
    assert scaled(np.zeros((2, 1, 1))).max() == 0


def test_noise_is_normal_smooth_and_as_steep_as_its_slopes() -> None:
    white = normal(hashed(1, np.arange(-300, 300)[:, None], np.arange(400)[None]))
    assert abs(white.mean()) < 0.01
    assert white.std() == pytest.approx(1, abs=0.01)
    places = np.arange(0.0, 30000, 50)
    for field in (smooth(2, places, places, 200), rough(2, places, places, 200)):
        assert abs(field.mean()) < 0.05
        assert field.std() == pytest.approx(1, abs=0.05)
    step = 1e-3
    down, right = slopes(2, METRES, METRES, 300)
    ahead = smooth(2, METRES + step, METRES, 300) - smooth(2, METRES - step, METRES, 300)
    np.testing.assert_allclose(down, ahead / (2 * step), atol=1e-8)
    beside = smooth(2, METRES, METRES + step, 300) - smooth(2, METRES, METRES - step, 300)
    np.testing.assert_allclose(right, beside / (2 * step), atol=1e-8)


def test_edges_of_cells_lie_where_cells_change() -> None:
    found = cells(3, METRES[:, None], METRES[None, :], 400)
    changes = found.bits[:, 1:] != found.bits[:, :-1]
    assert changes.any()
    # a change between two pixels of 10 m is an edge within 10 m of both
    assert found.edge[:, 1:][changes].max() <= 10 + 1e-9
    assert found.edge[:, :-1][changes].max() <= 10 + 1e-9
    assert (found.edge >= 0).all()
    assert np.hypot(found.y, found.x).max() < 400 * np.sqrt(2)
