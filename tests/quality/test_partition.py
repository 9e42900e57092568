import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import adapted_rand_error, variation_of_information

from parafovea.quality.segmentation.contingency import count_pairs
from parafovea.quality.segmentation.object_scores import PartitionScores, compare_partitions


def scores(truth, found):
    return compare_partitions(count_pairs(np.asarray(truth), np.asarray(found)))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_scores_agree_with_scikit_image_where_the_truth_has_objects(seed, labels):
    truth, found = np.random.default_rng(seed).integers(0, labels + 1, (2, 3, 6, 7))
    got = scores(truth, found)
    inside = truth > 0
    split, merge = variation_of_information(truth[inside], found[inside])
    assert got.voi_split == pytest.approx(split, abs=1e-12)
    assert got.voi_merge == pytest.approx(merge, abs=1e-12)
    # Predicted background is an object a voxel, as SNEMI3D and CREMI have it.
    alone = np.where(found > 0, found, labels + 1 + np.arange(found.size).reshape(found.shape))
    error, truth_side, found_side = adapted_rand_error(truth, alone)
    assert got.arand_error == pytest.approx(error, abs=1e-12)
    # scikit-image divides its "precision" by the pairs of the true image.
    assert got.arand_recall == pytest.approx(truth_side, abs=1e-12)
    assert got.arand_precision == pytest.approx(found_side, abs=1e-12)


def test_scores_of_a_small_case_are_those_of_funlib_evaluate():
    # funkelab/funlib.evaluate, funlib/tests/test_rand_voi.py
    truth, found = [1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4], [3, 3, 3, 3, 4, 5, 6, 6, 5, 5, 5]
    got = scores(truth, found)
    assert got.voi_split == pytest.approx(0.6140806820148608)
    assert got.voi_merge == pytest.approx(0.7272727272727271)


def test_a_perfect_result_has_no_error_whatever_its_ids():
    got = scores([1, 1, 2, 2, 0], [7, 7, 3, 3, 9])
    assert (got.voi_split, got.voi_merge, got.arand_error) == (0.0, 0.0, 0.0)


def test_a_cut_object_is_a_split_and_a_missing_border_a_merge():
    cut, merged = scores([1, 1, 1, 1], [1, 1, 2, 2]), scores([1, 1, 2, 2], [1, 1, 1, 1])
    assert (cut.voi_split, cut.voi_merge) == (1.0, 0.0)
    assert (merged.voi_split, merged.voi_merge) == (0.0, 1.0)


def test_scores_without_true_objects_are_undefined():
    assert scores([0, 0], [1, 2]) == PartitionScores()
    single = scores([1], [1])
    assert (single.arand_error, single.arand_precision, single.arand_recall) == (None, None, None)


def test_an_empty_prediction_finds_no_pair():
    empty = scores([1, 1, 1, 2, 2, 0], [0] * 6)
    assert (empty.arand_error, empty.arand_recall, empty.arand_precision) == (1.0, 0.0, None)


def test_the_adapted_rand_error_is_that_of_cremi_to_one_part_in_the_size_of_objects():
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 5, 20), 5000)
    found = np.where(rng.random(truth.size) < 0.1, 0, np.repeat(rng.integers(0, 4, 50), 2000))
    # cremi_python, evaluation/rand.py, in numbers of voxels: a lone voxel has a square of 1
    table = np.zeros((5, 4))
    np.add.at(table, (truth, found), 1)
    inside, lone = table[1:, 1:], table[1:, 0].sum()
    both = (inside**2).sum() + lone
    precision = both / ((inside.sum(axis=0) ** 2).sum() + lone)
    recall = both / (table[1:].sum(axis=1) ** 2).sum()
    got = scores(truth, found)
    assert got.arand_error == pytest.approx(
        1 - 2 * precision * recall / (precision + recall), abs=1e-3
    )
    assert got.arand_recall == pytest.approx(recall, abs=1e-3)
