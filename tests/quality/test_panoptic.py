import numpy as np
import pytest

from parafovea.quality.segmentation.contingency import count_pairs
from parafovea.quality.segmentation.object_scores import Panoptic, panoptic_quality


def quality(truth, found):
    ids = [np.unique(volume[volume > 0]) for volume in (truth, found)]
    return panoptic_quality(count_pairs(truth, found), *ids)


def boxes(*spans):
    labels = np.zeros((50, 50), np.uint32)
    for index, (y0, y1, x0, x1) in enumerate(spans, start=1):
        labels[y0:y1, x0:x1] = index
    return labels


def test_a_small_case_has_the_golden_values_of_panoptica():
    # BrainLesion/panoptica, unit_tests/test_golden_values.py, case "instance"
    got = quality(
        boxes((5, 15, 5, 15), (20, 30, 20, 30), (40, 48, 5, 13)),
        boxes((5, 15, 5, 15), (21, 30, 20, 30), (40, 48, 40, 48)),
    )
    assert (got.tp, got.fp, got.fn) == (2, 1, 1)
    assert got.rq == pytest.approx(2 / 3, rel=1e-9)
    assert got.sq == pytest.approx(0.95, rel=1e-9)
    assert got.pq == pytest.approx(0.6333333333333333, rel=1e-9)


def test_an_overlap_of_exactly_one_half_is_no_match():
    got = quality(boxes((0, 10, 0, 20)), boxes((0, 10, 0, 10)))
    assert got == Panoptic(tp=0, fp=1, fn=1, rq=0.0, sq=None, pq=0.0)


def test_without_objects_nothing_is_defined():
    assert quality(boxes(), boxes()) == Panoptic(tp=0, fp=0, fn=0, rq=None, sq=None, pq=None)


def test_objects_of_other_classes_do_not_match():
    labels = boxes((0, 10, 0, 10))
    got = panoptic_quality(count_pairs(labels, labels), np.array([1]), np.array([], np.uint64))
    assert (got.tp, got.fp, got.fn) == (0, 0, 1)
