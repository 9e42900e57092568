import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from parafovea.postprocess.detection.voxel_runs import Runs, measure_extents


@st.composite
def masks(draw):
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    density = draw(st.sampled_from([0.0, 0.1, 0.4, 0.9, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 99))).random(shape) < density


def runs_of(mask):
    return Runs.from_positions(mask.shape, np.flatnonzero(mask))


@given(masks())
def test_runs_hold_the_voxels_that_made_them(mask):
    runs = runs_of(mask)
    np.testing.assert_array_equal(runs.positions(), np.flatnonzero(mask))
    holder = runs.containing(runs.positions())
    np.testing.assert_array_equal(holder, np.repeat(np.arange(len(runs)), runs.lengths))


@given(masks())
def test_components_are_those_of_scipy_over_26_neighbours_in_scan_order(mask):
    runs = runs_of(mask)
    component, count = runs.components()
    expected, n = ndimage.label(mask, np.ones((3, 3, 3)))
    assert count == n
    np.testing.assert_array_equal(np.repeat(component, runs.lengths) + 1, expected[mask])


@given(masks())
def test_extents_are_those_of_the_voxels(mask):
    runs = runs_of(mask)
    component, count = runs.components()
    found = measure_extents(runs, component, count)
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    for label in range(1, count + 1):
        where = np.argwhere(labels == label)
        assert found.voxels[label - 1] == len(where)
        np.testing.assert_array_equal(found.start[label - 1], where.min(axis=0))
        np.testing.assert_array_equal(found.stop[label - 1], where.max(axis=0) + 1)
        assert found.centroid[label - 1] == pytest.approx(where.mean(axis=0), abs=1e-12)
