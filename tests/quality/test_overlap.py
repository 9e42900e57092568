import numpy as np
import pytest

from parafovea.quality.segmentation.overlap import confusion_matrix, overlap_metrics


def measured(truth, found, names=("background", "a", "b")):
    return overlap_metrics(confusion_matrix(np.array(truth), np.array(found), len(names)), names)


def test_the_confusion_matrix_has_true_rows_and_found_columns():
    matrix = confusion_matrix(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2], np.uint8), 3)
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_overlap_of_classes_and_its_mean_over_the_foreground():
    got = measured([0, 1, 1, 1, 2], [0, 1, 1, 2, 2])
    assert got["iou", "a"] == pytest.approx(2 / 3)
    assert got["dice", "a"] == pytest.approx(4 / 5)
    assert (got["precision", "a"], got["recall", "a"]) == (1.0, pytest.approx(2 / 3))
    assert (got["precision", "b"], got["recall", "b"]) == (0.5, 1.0)
    assert got["iou", "overall"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_metrics_of_absent_classes_are_undefined_and_left_out_of_the_mean():
    got = measured([0, 1, 1], [0, 1, 0])
    assert [got[m, "b"] for m in ("iou", "dice", "precision", "recall")] == [None] * 4
    assert got["iou", "overall"] == got["iou", "a"] == 0.5
    missed = measured([0, 2], [0, 0])
    assert (missed["iou", "b"], missed["precision", "b"], missed["recall", "b"]) == (0, None, 0)
    assert measured([0], [0])["dice", "overall"] is None


def test_dice_is_that_of_surface_distance_for_two_cubes():
    # google-deepmind/surface-distance, surface_distance_test.py: cubes of 50 and 51 planes, 0.99
    truth, found = np.zeros((2, 100, 10, 10), np.uint8)
    truth[:50], found[:51] = 1, 1
    matrix = confusion_matrix(truth, found, 2)
    got = overlap_metrics(matrix, ("background", "cube"))
    assert got["dice", "cube"] == pytest.approx(0.990, abs=5e-4)
