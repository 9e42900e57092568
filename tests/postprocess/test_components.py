import numpy as np
import pytest

from parafovea.postprocess.segmentation.components import label_box, slabs


@pytest.mark.parametrize(("connectivity", "count"), [(6, 4), (18, 3), (26, 2)])
def test_connectivity_decides_what_is_connected(connectivity, count):
    values = np.zeros((2, 5, 5), np.uint8)
    values[0, 0, 0] = values[1, 1, 1] = 1  # share a corner
    values[0, 4, 3] = values[1, 4, 4] = 1  # share an edge
    labels, found = label_box(values, connectivity)
    assert found == labels.max() == count
    np.testing.assert_array_equal(labels > 0, values > 0)


def test_voxels_of_different_classes_are_never_connected():
    labels, count = label_box(np.array([[[1, 2]], [[2, 2]]], np.uint8), 26)
    assert count == 2
    assert labels[0, 0, 0] != labels[0, 0, 1] == labels[1, 0, 0]


def test_slabs_are_whole_planes_in_order():
    boxes = slabs((5, 3, 4), 2)
    assert [(box.start[0], box.stop[0]) for box in boxes] == [(0, 2), (2, 4), (4, 5)]
    assert {box.shape[1:] for box in boxes} == {(3, 4)}
