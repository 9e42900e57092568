import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.morphology import local_maxima

from parafovea.errors import VoxelError
from parafovea.postprocess.detection.peaks import scan_heatmap


def scan(heat, threshold, **options):
    return scan_heatmap(lambda box: heat[box.slices], heat.shape, threshold, **options)


@st.composite
def heatmaps(draw):
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    levels = draw(st.integers(1, 8))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    return (random.integers(0, levels + 1, shape) / levels).astype(dtype)


@given(heatmaps(), st.sampled_from([0.2, 0.5, 0.9]), st.integers(1, 5))
def test_maxima_and_plateaus_are_those_of_scikit_image(heat, threshold, planes):
    found = scan(heat, threshold, planes=planes, keep_values=True)
    reached = heat.astype(np.float64) >= threshold
    np.testing.assert_array_equal(found.foreground.positions(), np.flatnonzero(reached))
    np.testing.assert_array_equal(found.values, heat[reached].astype(np.float32))
    component, count = found.highest.components()
    rises = np.zeros(count, bool)
    np.logical_or.at(rises, component, found.rises)
    tops = found.highest.take(~rises[component]).positions()
    outside = np.pad(heat.astype(np.float64), 1, constant_values=-1)
    expected = local_maxima(outside, connectivity=3)[1:-1, 1:-1, 1:-1] & reached
    np.testing.assert_array_equal(tops, np.flatnonzero(expected))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -0.5, 1.5])
def test_what_is_no_probability_is_refused_with_its_planes(dtype, wrong):
    heat = np.zeros((9, 4, 5), dtype)
    heat[7, 2, 3] = wrong
    with pytest.raises(VoxelError, match=r"planes 6 to 8 .* probabilities from 0 to 1"):
        scan(heat, 0.5, planes=3)


def test_integers_are_refused():
    with pytest.raises(VoxelError, match="dtype uint8"):
        scan(np.zeros((2, 2, 2), np.uint8), 0.5)


def test_a_half_is_compared_with_the_threshold_and_not_with_its_rounded_value():
    below = np.float16(0.1)  # 0.09998 as a half
    heat = np.full((1, 1, 2), below)
    heat[0, 0, 1] = np.nextafter(below, np.float16(1))
    assert scan(heat, 0.1).foreground.positions().tolist() == [1]
