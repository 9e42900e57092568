import numpy as np
import pytest

from parafovea.errors import VoxelError
from parafovea.postprocess.segmentation.classify import classify


def volume(*voxels, dtype=np.float32):
    """Return probabilities (class, 1, 1, voxels)."""
    return np.array(voxels, dtype=dtype).T[:, None, None, :]


def test_argmax_takes_the_most_probable_class_and_the_first_of_equals():
    values = volume((0.2, 0.5, 0.3), (0.4, 0.2, 0.4), (0.1, 0.2, 0.7))
    assert classify(values, method="argmax", thresholds=[1, 1]).tolist() == [[[1, 0, 2]]]


def test_threshold_takes_the_most_probable_of_the_classes_that_reach_theirs():
    values = volume((0.4, 0.3, 0.3), (0.1, 0.5, 0.4), (0.1, 0.4, 0.5), (0.9, 0.1, 0.0))
    found = classify(values, method="threshold", thresholds=[0.3, 0.45])
    assert found.tolist() == [[[1, 1, 2, 0]]]


def test_a_class_below_its_threshold_leaves_the_voxel_to_a_less_probable_one():
    values = volume((0.1, 0.5, 0.4))
    assert classify(values, method="threshold", thresholds=[0.6, 0.3]).tolist() == [[[2]]]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
def test_a_probability_stored_in_half_precision_reaches_the_threshold_of_its_name(threshold):
    values = volume((1 - threshold, threshold), dtype=np.float16)
    assert classify(values, method="threshold", thresholds=[threshold]).item() == 1


def test_a_probability_that_is_not_a_number_is_refused():
    with pytest.raises(VoxelError, match="contains NaN probabilities"):
        classify(volume((np.nan, 0.5)), method="argmax", thresholds=[0.5])
