import numpy as np
import pytest

from parafovea.geometry.grid import Box, Grid
from parafovea.quality.segmentation.uncertainty import (
    ProbabilityProfile,
    ProbabilitySums,
    seam_energy,
    sum_probabilities,
)
from parafovea.storage.store import Stored


def stored(values):
    grid = Grid(values.shape[1:], (1.0, 1.0, 1.0))
    return Stored(values, grid, tuple(f"c{i}" for i in range(len(values))))


def random_probabilities(shape=(3, 7, 9, 8)):
    values = np.random.default_rng(0).random(shape)
    return (values / values.sum(axis=0)).astype(np.float32)


def profile(values) -> ProbabilityProfile:
    whole = stored(values)
    return sum_probabilities(whole, whole.grid.box).profile(len(values))


def test_the_profile_is_that_of_the_whole_array():
    values = random_probabilities()
    got = profile(values)
    wide = values.astype(np.float64)
    for axis, steps in enumerate(got.steps):
        others = tuple(a for a in range(4) if a != axis + 1)
        expected = np.abs(np.diff(wide, axis=axis + 1)).mean(axis=others)
        np.testing.assert_allclose(steps, expected, rtol=1e-6)
    entropy = -(wide * np.log(wide)).sum(axis=0).mean() / np.log(3)
    assert got.entropy == pytest.approx(entropy, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("block", [(7, 9, 8), (1, 1, 1), (3, 4, 5), (64, 256, 256)])
@pytest.mark.parametrize("part", [(7, 9, 8), (4, 9, 8), (2, 5, 3)])
def test_sums_of_parts_are_exactly_those_of_the_whole(dtype, block, part):
    whole = stored(random_probabilities().astype(dtype))
    expected = sum_probabilities(whole, whole.grid.box)
    sums = ProbabilitySums.zeros(whole.grid.shape)
    for box in Box.whole(whole.grid.shape).tiles(part):
        sums += sum_probabilities(whole, box, block=block)
    assert (sums.entropy, sums.covered) == (expected.entropy, expected.covered)
    for got, steps in zip(sums.steps, expected.steps, strict=True):
        np.testing.assert_array_equal(got, steps)


def test_entropy_is_one_for_ignorance_and_zero_for_certainty():
    even = np.full((4, 2, 3, 3), 0.25, np.float16)
    certain = np.zeros((4, 2, 3, 3), np.float16)
    certain[1] = 1
    assert profile(even).entropy == pytest.approx(1)
    assert profile(certain).entropy == 0


def test_voxels_that_no_window_covers_do_not_count_as_certain():
    values = np.full((2, 2, 3, 3), 0.5, np.float32)
    values[:, 1] = 0
    assert profile(values).entropy == pytest.approx(1)
    assert profile(np.zeros_like(values)).entropy is None


def test_a_step_at_window_faces_raises_the_seam_energy():
    steps = np.ones(15)
    assert seam_energy(steps, [0, 8], 8) == 1.0
    steps[7] = 4.0  # between planes 7 and 8
    assert seam_energy(steps, [0, 8], 8) == 4.0
    # Windows 0:8, 4:12 and 8:16 have faces before the planes 4, 8 and 12.
    assert seam_energy(steps, [0, 4, 8], 8) == 2.0


@pytest.mark.parametrize(
    ("steps", "starts", "window"),
    [(np.ones(15), [0], 16), (np.zeros(15), [0, 8], 8), (np.ones(0), [0], 1), (np.ones(1), [1], 1)],
)
def test_seam_energy_is_undefined_without_faces_or_without_anything_to_compare(
    steps, starts, window
):
    assert seam_energy(steps, starts, window) is None


def test_window_faces_are_found_in_a_prediction_on_a_finer_or_coarser_grid():
    steps = np.ones(31)
    steps[[15]] = 4.0
    assert seam_energy(steps, [0, 8], 8, scale=2.0) == 4.0
    assert seam_energy(steps, [0, 32], 32, scale=0.5) == 4.0
