import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from luna16_rules import curve, sensitivity

from parafovea.errors import TableError
from parafovea.quality.detections.bootstrap import Marks, interval, resample
from parafovea.quality.detections.froc import (
    OPERATING_POINTS,
    competition_score,
    froc_curve,
)

level = st.integers(0, 12).map(lambda n: n / 12)


def test_a_curve_counted_by_hand():
    # from the top: a hit, a false positive, a hit and a false positive at once, a miss
    got = froc_curve(np.array([0.9, 0.5]), np.array([0.7, 0.5]), findings=3, scans=2)
    assert got.false_positives.tolist() == [0, 0, 0.5, 1]
    assert got.sensitivity.tolist() == [0, 1 / 3, 1 / 3, 2 / 3]
    assert got.threshold.tolist() == [math.inf, 0.9, 0.7, 0.5]
    assert got.sensitivity_at([0.25, 0.5, 0.75, 8]).tolist() == [1 / 3, 1 / 3, 0.5, 2 / 3]
    assert got.threshold_at([0.25, 0.5, 0.75, 8]).tolist() == [0.9, 0.7, 0.7, 0.5]


def test_perfect_detections_score_one_and_none_score_zero():
    perfect = froc_curve(np.ones(4), np.array([]), findings=4, scans=3)
    nothing = froc_curve(np.array([]), np.array([]), findings=4, scans=3)
    assert competition_score(perfect.sensitivity_at()) == 1
    assert competition_score(nothing.sensitivity_at()) == 0
    assert np.isinf(nothing.threshold_at()).all()


def test_where_the_most_probable_candidates_are_too_many_there_is_no_threshold():
    got = froc_curve(np.array([]), np.array([0.9, 0.9]), findings=1, scans=1)
    assert got.threshold_at([1.0, 2.0]).tolist() == [math.inf, 0.9]


def test_a_threshold_allows_exactly_the_false_positives_of_its_point():
    # 37 of 296 scans are 1/8, and 1/8 must admit the 37th
    wrong = np.linspace(0.9, 0.1, 50)
    got = froc_curve(np.array([0.95]), wrong, findings=1, scans=296)
    assert got.threshold_at([1 / 8])[0] == wrong[36]


@given(st.lists(level), st.lists(level), st.integers(0, 5), st.integers(1, 9))
def test_any_curve_is_that_of_one_threshold_after_the_other(hits, wrong, missed, scans):
    truth = [("", p) for p in hits] + [("", None)] * missed
    if not truth:
        with pytest.raises(TableError, match="0 hits of 0 findings"):
            froc_curve(np.array(hits), np.array(wrong), findings=0, scans=scans)
        return
    points = curve(truth, [("", p) for p in wrong], scans)
    got = froc_curve(np.array(hits), np.array(wrong), findings=len(truth), scans=scans)
    mine = np.stack([got.false_positives, got.sensitivity, got.threshold], axis=1)
    np.testing.assert_allclose(mine, points, rtol=1e-12)
    for x, y in zip(OPERATING_POINTS, got.sensitivity_at(), strict=True):
        assert y == pytest.approx(sensitivity(points, x), abs=1e-12)
    corners = got.corners()
    grid = np.linspace(0, 20, 101)
    np.testing.assert_allclose(corners.sensitivity_at(grid), got.sensitivity_at(grid), atol=1e-12)


def cohort(seed, scans=7, hits=15, wrong=60):
    random = np.random.default_rng(seed)
    found = random.integers(scans, size=hits)
    missed = random.integers(scans, size=5)
    return Marks(
        random.integers(1, 20, hits) / 20,
        found,
        random.integers(0, 15, wrong) / 20,
        random.integers(scans, size=wrong),
        np.bincount(np.append(found, missed), minlength=scans),
    )


def one_draw(marks, chosen):
    """Return the curve of a draw of scans, each taken as often as it was drawn."""
    hits = [p for s in chosen for p in marks.hits[marks.hit_scans == s]]
    wrong = [p for s in chosen for p in marks.false_positives[marks.false_positive_scans == s]]
    findings = int(marks.findings[chosen].sum())
    return froc_curve(np.array(hits), np.array(wrong), findings=findings, scans=len(chosen))


@pytest.mark.parametrize("seed", range(4))
def test_every_draw_of_the_bootstrap_is_the_curve_of_the_scans_that_were_drawn(seed):
    marks = cohort(seed)
    got = resample(marks, draws=50, seed=seed)
    random = np.random.default_rng(seed)
    for row in got.at_points:
        drawn = one_draw(marks, random.integers(7, size=7))
        np.testing.assert_allclose(row, drawn.sensitivity_at(), rtol=1e-12)


def test_a_seed_gives_the_same_draws_and_another_seed_others():
    marks = cohort(0)
    first, again, other = (resample(marks, draws=20, seed=s).at_points for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_draws_without_a_finding_are_left_out_and_counted():
    none = np.array([])
    marks = Marks(np.array([0.9]), np.array([0]), none, none.astype(int), np.array([1, 0, 0]))
    got = resample(marks, draws=200, seed=0)
    # (2 / 3)^3 of the draws, 59 of 200, miss the only scan with a finding
    assert 40 < got.without_findings < 80
    assert got.at_points.shape == (200 - got.without_findings, 7)
    assert (got.at_points == 1).all()


def test_an_interval_ends_at_the_draws_that_the_official_script_takes():
    values = np.random.default_rng(0).permutation(1000).astype(float)
    assert interval(values) == (25, 975)
    assert interval(values[values < 10]) == (0, 9)
