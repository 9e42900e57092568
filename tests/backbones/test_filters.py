import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from parafovea.backbones.filterbank import (
    TRUNCATE,
    differences,
    eigenvalues,
    gaussian_radius,
    gaussian_taps,
    laplacian,
    smooth,
)


@pytest.mark.parametrize("sigma", [(1.0, 1.0, 1.0), (0.1, 1.3, 4.0), (2.0, 0.0, 0.31)])
def test_smoothing_is_that_of_scipy(sigma):
    volume = np.random.default_rng(0).random((40, 45, 150), dtype=np.float32)
    # Where scipy would smooth by less than the smallest sigma, this filter does not.
    used = [s if gaussian_radius(s) else 0.0 for s in sigma]
    expected = ndimage.gaussian_filter(volume, used, truncate=TRUNCATE)
    inner = tuple(slice(r, -r or None) for r in map(gaussian_radius, sigma))
    np.testing.assert_allclose(smooth(torch.from_numpy(volume), sigma), expected[inner], atol=1e-6)


@given(st.floats(0.0, 20.0))
@settings(max_examples=30)
def test_gaussian_weights_are_symmetric_and_sum_to_one(sigma):
    taps = gaussian_taps(sigma)
    assert len(taps) == 2 * gaussian_radius(sigma) + 1
    assert float(taps.sum()) == pytest.approx(1.0, abs=1e-12)
    assert torch.equal(taps, taps.flip(0))


def test_differences_and_laplacian_of_a_quadratic_are_exact():
    ranges = [torch.arange(n, dtype=torch.float32) for n in (5, 6, 7)]
    z, y, x = torch.meshgrid(*ranges, indexing="ij")
    volume = 3 * z**2 + 2 * y**2 + x**2 + z * y
    ratio = (0.1, 1.0, 0.5)
    inner = tuple(slice(1, -1) for _ in range(3))
    slopes = differences(volume, ratio, axes=(0, 1, 2))
    expected = [(6 * z + y) * 0.1, 4 * y + z, 2 * x * 0.5]
    for slope, truth in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope, truth[inner])
    curvature = laplacian(volume, ratio, axes=(0, 1, 2))
    torch.testing.assert_close(curvature, torch.full((3, 4, 5), 6 * 0.01 + 4 + 2 * 0.25))
    assert laplacian(volume, ratio, axes=(1, 2)).shape == (5, 4, 5)


def _symmetric(seed, size, rank):
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(500, size, rank, generator=generator) * 0.1
    return factors @ factors.transpose(1, 2)


@given(seed=st.integers(0, 1000), size=st.sampled_from([2, 3]), rank=st.integers(1, 3))
@settings(max_examples=30)
def test_closed_form_eigenvalues_are_those_of_lapack(seed, size, rank):
    matrices = _symmetric(seed, size, rank)
    rows, columns = np.triu_indices(size)
    found = eigenvalues([matrices[:, r, c] for r, c in zip(rows, columns, strict=True)])
    expected = torch.linalg.eigvalsh(matrices.double()).flip(1).T.float()
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1e-12, 0.25, 1e4])
def test_equal_eigenvalues_are_found_without_nan(value):
    same, zero = torch.full((4,), value), torch.zeros(4)
    found = eigenvalues([same, zero, zero, same, zero, same])
    torch.testing.assert_close(found, torch.full((3, 4), value))
    plane = eigenvalues([same, zero, zero, zero, zero, zero])
    torch.testing.assert_close(plane, torch.tensor([[value], [0.0], [0.0]]).expand(3, 4))
