"""Lesions are matched by overlap, with the numbers of PI-CAI's own package for its own maps."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from parafovea.errors import VoxelError
from parafovea.quality.detections.lesions import (
    CaseResult,
    LesionResult,
    LesionScore,
    detection_map,
    score_case,
)

#: What tests/test_case_evaluation.py of picai_eval 1.4 states for its maps: (lesion, confidence,
#: overlap) of each.
EXPECTED = {
    "case-0": [],
    "case-1": [(1, 0, 0)],
    "case-2": [(0, 1, 0)],
    "case-3": [(1, 0, 0), (0, 1, 0)],
    "case-4": [(1, 1, 1 / 3)],
    "case-5": [(1, 1, 9 / 41), (0, 2, 0)],
    "case-6": [(1, 1, 1 / 3)],
    "case-7": [(1, 1, 1 / 3), (1, 0, 0)],
    "case-8": [(1, 1, 5 / 11), (1, 0, 0)],
    "case-9": [(1, 0, 0), (0, 1, 0)],
}

#: The highest value of each map.
HIGHEST = [0, 0, 1, 1, 1, 2, 2, 1, 1, 1]


@pytest.fixture(scope="module")
def maps():
    root = os.environ.get("PARAFOVEA_REAL_DATA")
    if not root:
        pytest.skip("PARAFOVEA_REAL_DATA is not set")
    return Path(root) / "vectors/picai_eval/test-maps"


def _rows(case):
    return [(int(each.is_lesion), each.confidence, each.overlap) for each in case.lesions]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_maps_of_picai_eval_give_its_results(maps, name):
    files = [maps / f"{name}_{part}.nii.gz" for part in ("detection_map", "label")]
    if not files[0].is_file():
        pytest.skip(f"{name} is not there")
    found, truth = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(f))) for f in files)
    np.testing.assert_allclose(_rows(score_case(found, truth)), EXPECTED[name])


def _stated():
    return {
        name: CaseResult(tuple(LesionResult(bool(a), b, c) for a, b, c in rows), float(highest))
        for (name, rows), highest in zip(EXPECTED.items(), HIGHEST, strict=True)
    }


def test_the_ten_cases_of_picai_eval_give_its_metrics():
    score = LesionScore(_stated())
    # tests/output-expected/metrics-expected.json
    assert score.average_precision == pytest.approx(0.2777777777777778)
    assert score.auroc == pytest.approx(0.75)
    assert score.score == pytest.approx((0.2777777777777778 + 0.75) / 2)
    assert score.counts == {
        "scans": 10,
        "scans_with_lesions": 8,
        "lesions": 10,
        "found": 5,
        "missed": 5,
        "false_positives": 4,
    }
    assert score.sensitivity_at(0.1) == 0
    assert score.sensitivity_at(1) == 0.5


def _boxes(*boxes):
    volume = np.zeros((12, 12, 12), np.float32)
    for start, stop, value in boxes:
        volume[start:stop, 2:6, 2:6] = value
    return volume


def test_as_many_lesions_as_possible_are_found_before_overlaps_count():
    # both candidates overlap the first lesion, the second one also the second lesion
    truth = _boxes((0, 4, 1), (5, 9, 1))
    found = np.zeros_like(truth)
    found[0:2, 2:6, 2:6] = 0.5
    found[3:7, 2:6, 2:6] = 0.9
    case = score_case(found, truth)
    assert [each.confidence for each in case.lesions] == pytest.approx([0.5, 0.9])


def test_an_unmatched_candidate_on_a_lesion_counts_neither_way():
    truth = _boxes((0, 8, 1))
    case = score_case(_boxes((0, 4, 0.4), (5, 8, 0.8)), truth)
    assert _rows(case) == [(1, pytest.approx(0.4), 0.5)]
    assert case.confidence == pytest.approx(0.8)


@pytest.mark.parametrize(("size", "found"), [(10, True), (11, False)])
def test_a_tenth_is_enough_overlap(size, found):
    truth, marks = np.zeros((1, 1, 20)), np.zeros((1, 1, 20))
    truth[..., :size] = 1
    marks[..., 0] = 0.7
    assert score_case(marks, truth).lesions[0].overlap == pytest.approx(found / size)


def test_components_touch_at_corners():
    truth = np.zeros((4, 4, 4))
    truth[0, 0, 0] = truth[1, 1, 1] = 1
    assert len(score_case(np.zeros((4, 4, 4)), truth).lesions) == 1


def test_a_heatmap_is_refused_and_a_threshold_makes_candidates_of_it():
    z = np.arange(12.0)[:, None, None]
    heat = np.broadcast_to(np.exp(-((z - 3) ** 2) / 4) + 0.5 * np.exp(-((z - 9) ** 2)), (12,) * 3)
    with pytest.raises(VoxelError, match="several values in one component"):
        score_case(heat, np.zeros((12,) * 3))
    found = detection_map(heat, 0.4)
    assert np.unique(found) == pytest.approx([0, heat[9].max(), heat[3].max()])
    assert np.array_equal(found > 0, heat >= 0.4)
    assert not detection_map(heat, 2.0).any()


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(VoxelError, match=r"shape \(2, 2, 2\), but the lesions \(2, 2, 3\)"):
        score_case(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))
    with pytest.raises(VoxelError, match="negative"):
        score_case(np.full((2, 2, 2), -1.0), np.zeros((2, 2, 2)))


def test_what_is_not_defined_is_none():
    ill = CaseResult((LesionResult(True, 0.5, 0.5),), 0.5)
    well = CaseResult((), 0.0)
    assert LesionScore({"a": ill}).auroc is None
    assert LesionScore({"a": ill}).score is None
    assert LesionScore({"a": well}).average_precision is None
    assert LesionScore({"a": well}).sensitivity_at(1) is None
    assert LesionScore({"a": ill, "b": well}).score == 1
