import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parafovea.quality.detections.reliability import (
    brier_score,
    log_loss,
    reliability,
)


def test_the_calibration_error_of_two_bins_by_hand():
    scores, labels = np.array([0.1, 0.3, 0.5, 0.9]), np.array([0, 1, 0, 1])
    bins = reliability(scores, labels, bins=2)
    assert bins.count.tolist() == [3, 1]
    assert bins.predicted == pytest.approx([0.3, 0.9])
    assert bins.observed == pytest.approx([1 / 3, 1])
    assert bins.expected_calibration_error == pytest.approx(0.75 * (1 / 3 - 0.3) + 0.25 * 0.1)


def test_a_bin_holds_its_upper_edge_and_the_first_holds_0():
    assert reliability(np.array([0, 0.5, 1]), np.ones(3), bins=2).count.tolist() == [2, 1]


def test_log_loss_and_brier_score_by_hand():
    scores, labels = np.array([0.9, 0.2]), np.array([1, 0])
    assert log_loss(scores, labels) == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)
    assert brier_score(scores, labels) == pytest.approx((0.01 + 0.04) / 2)
    assert math.isfinite(log_loss(np.array([0.0]), np.array([1])))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1), st.integers(1, 20))
def test_the_calibration_error_is_between_the_gap_of_the_means_and_1(rows, bins):
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    got = reliability(scores, labels, bins=bins)
    assert got.count.sum() == len(rows)
    error = got.expected_calibration_error
    assert abs(scores.mean() - labels.mean()) - 1e-9 <= error <= 1
