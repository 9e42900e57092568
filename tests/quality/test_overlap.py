from dataclasses import dataclass

import numpy as np
import pytest
from skimage import measure

from parafovea.geometry.grid import Grid
from parafovea.quality.segmentation.comparison import (
    Truth,
    agreement_metrics,
    count_agreement,
    unite_counts,
)
from parafovea.quality.segmentation.overlap import confusion_matrix, overlap_metrics
from parafovea.quality.truth_on_grid import SampledTruth
from parafovea.storage.store import create, open_stored


@dataclass(frozen=True)
class _Volume:
    array: np.ndarray
    grid: Grid
    path: str = "truth"

    def read(self, box):
        return self.array[box.slices]


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


def test_voxels_that_nobody_has_labelled_count_neither_way(tmp_path):
    rng = np.random.default_rng(0)
    grid = Grid((6, 20, 20), (1, 1, 1))
    found = np.repeat(np.repeat(rng.integers(0, 3, (6, 5, 5)), 4, 1), 4, 2).astype(np.uint8)
    truth = found.copy()
    truth[:, :7] = rng.integers(0, 3, (6, 7, 20))
    ids = measure.label(found == 1, connectivity=3).astype(np.uint64)
    stores = {}
    for name, values in (("classes", found), ("objects", ids)):
        with create(tmp_path / name, grid, dtype=values.dtype, attributes={}) as array:
            array[...] = values
        stores[name] = open_stored(tmp_path / name)
    known = np.zeros(grid.shape, bool)
    known[:, 8:] = True
    scores = []
    for labels in (np.where(known, truth, 255), np.where(known, truth, found)):
        sampled = SampledTruth(_Volume(labels.astype(np.uint8), grid), grid, classes=3)
        counts = count_agreement(
            **stores,
            part=grid.box,
            truth=Truth(sampled, None, connectivity=26),
            names=("none", "a", "b"),
            instances=(1,),
        )
        scores.append(agreement_metrics(unite_counts([counts]), ("none", "a", "b"), (1,)))
    # all that is labelled is right, and a wrong voxel among it is wrong
    for each in scores:
        assert each["iou", "overall"] == 1
    expected = confusion_matrix(truth[known], found[known], 3)
    assert scores[0]["iou", "a"] == overlap_metrics(expected, ("none", "a", "b"))["iou", "a"]
