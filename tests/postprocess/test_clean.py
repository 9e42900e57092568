import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from parafovea.postprocess.segmentation.clean import with_filled_holes, without_small
from parafovea.postprocess.segmentation.components import slabs


def cleaned(step, values, choices, *, planes=2, connectivity=26):
    boxes = slabs(values.shape, planes)
    read = lambda box: values[box.slices]  # noqa: E731
    parts = list(step(read, boxes, choices, connectivity=connectivity))
    assert [box for box, _ in parts] == boxes
    return np.concatenate([slab for _, slab in parts])


def random_volume(seed, share=0.7, classes=1, shape=(7, 8, 8)):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, classes + 1, shape) * (rng.random(shape) < share)
    return values.astype(np.uint8)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.sampled_from([6, 18, 26]))
def test_holes_of_one_class_are_filled_as_in_the_whole_volume(seed, planes, connectivity):
    values = random_volume(seed)
    outside = ndimage.generate_binary_structure(3, 3 if connectivity == 6 else 1)
    # SciPy lets the outside leak in at the border, which is what touching the border means.
    expected = ndimage.binary_fill_holes(values > 0, structure=outside)
    found = cleaned(with_filled_holes, values, [True], planes=planes, connectivity=connectivity)
    np.testing.assert_array_equal(found > 0, expected)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_filling_does_not_depend_on_slabs_where_classes_meet(seed, planes):
    values = random_volume(seed, share=0.85, classes=2)
    whole = cleaned(with_filled_holes, values, [True, False], planes=7)
    parts = cleaned(with_filled_holes, values, [True, False], planes=planes)
    np.testing.assert_array_equal(parts, whole)


def box_with_hole():
    values = np.zeros((7, 7, 7), np.uint8)
    values[1:6, 1:6, 1:6] = 1
    values[2:5, 3, 3] = 0
    return values


def test_a_hole_that_crosses_slabs_is_filled():
    found = cleaned(with_filled_holes, box_with_hole(), [True], planes=1)
    assert np.count_nonzero(found) == 125


def test_holes_stay_where_their_class_does_not_ask_for_filling():
    values = box_with_hole()
    np.testing.assert_array_equal(cleaned(with_filled_holes, values, [False]), values)


def test_background_that_reaches_the_border_is_no_hole():
    values = box_with_hole()
    values[5:, 3, 3] = 0
    np.testing.assert_array_equal(cleaned(with_filled_holes, values, [True]), values)


def test_background_between_two_classes_belongs_to_neither():
    values = box_with_hole()
    values[3, 3, 4] = 2
    np.testing.assert_array_equal(cleaned(with_filled_holes, values, [True, True]), values)


def test_a_single_plane_is_filled_as_a_plane():
    values = np.zeros((1, 5, 5), np.uint8)
    values[0, 1:4, 1:4] = 1
    values[0, 2, 2] = 0
    assert np.count_nonzero(cleaned(with_filled_holes, values, [True])) == 9


@pytest.mark.parametrize("planes", [1, 2, 7])
def test_components_below_the_least_size_of_their_class_are_removed(planes):
    values = np.zeros((7, 4, 8), np.uint8)
    values[0:3, 0, 0] = 1
    values[0:4, 3, 3] = 1
    values[2:5, 0, 7] = 2
    found = cleaned(without_small, values, [4, 3], planes=planes)
    expected = values.copy()
    expected[0:3, 0, 0] = 0
    np.testing.assert_array_equal(found, expected)
