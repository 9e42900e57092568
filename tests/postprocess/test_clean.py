import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_blocks import EIGHTHS, divided, partitions, tiles
from scipy import ndimage

from parafovea.postprocess.segmentation.block_components import Margin, scan_block, unite
from parafovea.postprocess.segmentation.clean import Decided, Holes, SmallComponents


def without_small(least, connectivity=26):
    return SmallComponents(least, connectivity)


def with_filled_holes(fills, connectivity=26):
    return Holes.around(fills, connectivity=connectivity)


def cleaned(step, values, *, tile=(2, 3, 2), cuts=EIGHTHS):
    """Return the classes after a step in blocks, each of which knows its tiles and its margin."""
    read = lambda box: values[box.slices]  # noqa: E731
    blocks = divided(values.shape, tile, cuts)
    margins = [Margin.read(block, read) for block in blocks]
    found = [scan_block(step, read, *each) for each in zip(blocks, margins, strict=True)]
    rows, table = unite([each.surface() for each in found])
    result = values.copy()
    decisions = [
        Decided.of(step, components, step.decide(table)[row])
        for components, row in zip(found, rows, strict=True)
    ]
    for block, decided in zip(blocks, decisions, strict=True):
        for box, changed in decided.cleaned(block, read):
            result[box.slices] = changed
    # what a block knows of its margin afterwards is what the others made of it
    for block, decided, margin in zip(blocks, decisions, margins, strict=True):
        after = decided.cleaned_margin(block, margin)
        for box, piece in zip(after.boxes, after.pieces, strict=True):
            np.testing.assert_array_equal(piece, result[box.slices])
    return result


def random_volume(seed, share=0.7, classes=1, shape=(7, 8, 8)):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, classes + 1, shape) * (rng.random(shape) < share)
    return values.astype(np.uint8)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), tiles, partitions, st.sampled_from([6, 18, 26]))
def test_holes_of_one_class_are_filled_as_in_the_whole_volume(seed, tile, cuts, connectivity):
    values = random_volume(seed)
    outside = ndimage.generate_binary_structure(3, 3 if connectivity == 6 else 1)
    # SciPy lets the outside leak in at the border, which is what touching the border means.
    expected = ndimage.binary_fill_holes(values > 0, structure=outside)
    found = cleaned(with_filled_holes([True], connectivity), values, tile=tile, cuts=cuts)
    np.testing.assert_array_equal(found > 0, expected)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), tiles, partitions)
def test_filling_does_not_depend_on_blocks_where_classes_meet(seed, tile, cuts):
    values = random_volume(seed, share=0.85, classes=2)
    whole = cleaned(with_filled_holes([True, False]), values, tile=(7, 8, 8), cuts=[])
    parts = cleaned(with_filled_holes([True, False]), values, tile=tile, cuts=cuts)
    np.testing.assert_array_equal(parts, whole)


def box_with_hole():
    values = np.zeros((7, 7, 7), np.uint8)
    values[1:6, 1:6, 1:6] = 1
    values[2:5, 3, 3] = 0
    return values


def test_a_hole_that_crosses_blocks_is_filled():
    found = cleaned(with_filled_holes([True]), box_with_hole(), tile=(1, 2, 1))
    assert np.count_nonzero(found) == 125


def test_holes_stay_where_their_class_does_not_ask_for_filling():
    values = box_with_hole()
    np.testing.assert_array_equal(cleaned(with_filled_holes([False]), values), values)


def test_background_that_reaches_the_border_is_no_hole():
    values = box_with_hole()
    values[5:, 3, 3] = 0
    np.testing.assert_array_equal(cleaned(with_filled_holes([True]), values), values)


def test_background_between_two_classes_belongs_to_neither():
    values = box_with_hole()
    values[3, 3, 4] = 2
    np.testing.assert_array_equal(cleaned(with_filled_holes([True, True]), values), values)


def test_a_single_plane_is_filled_as_a_plane():
    values = np.zeros((1, 5, 5), np.uint8)
    values[0, 1:4, 1:4] = 1
    values[0, 2, 2] = 0
    assert np.count_nonzero(cleaned(with_filled_holes([True]), values)) == 9


@pytest.mark.parametrize("tile", [(1, 1, 1), (2, 3, 2), (7, 4, 8)])
def test_components_below_the_least_size_of_their_class_are_removed(tile):
    values = np.zeros((7, 4, 8), np.uint8)
    values[0:3, 0, 0] = 1
    values[0:4, 3, 3] = 1
    values[2:5, 0, 7] = 2
    found = cleaned(without_small([4, 3]), values, tile=tile)
    expected = values.copy()
    expected[0:3, 0, 0] = 0
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1), tiles, partitions, st.sampled_from([6, 18, 26]), st.integers(2, 9)
)
def test_removal_is_that_of_the_whole_volume(seed, tile, cuts, connectivity, least):
    values = random_volume(seed, share=0.3, classes=2)
    labels = cc3d.connected_components(values, connectivity=connectivity)
    sizes = np.bincount(labels.ravel())
    minimum = np.array([0, least, 3])[values]
    expected = np.where(sizes[labels] >= minimum, values, 0)
    found = cleaned(without_small([least, 3], connectivity), values, tile=tile, cuts=cuts)
    np.testing.assert_array_equal(found, expected)
