"""Scores against the published test values of other tools."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from parafovea.quality.segmentation.contingency import count_pairs
from parafovea.quality.segmentation.object_scores import compare_partitions, panoptic_quality
from parafovea.quality.segmentation.overlap import confusion_matrix, overlap_metrics

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def vectors():
    root = os.environ.get("PARAFOVEA_REAL_DATA")
    if not root:
        pytest.skip("PARAFOVEA_REAL_DATA is not set")
    return json.loads((Path(root) / "vectors" / "metric_vectors.json").read_text())


def test_partition_scores_are_those_of_funlib_evaluate(vectors):
    for case in vectors["funlib_rand_voi"]["cases"]:
        got = compare_partitions(count_pairs(np.array(case["truth"]), np.array(case["test"])))
        for name in ("voi_split", "voi_merge"):
            assert getattr(got, name) == pytest.approx(case[name], abs=1e-7), (name, case)


def boxes(spans, shape):
    labels = np.zeros(shape, np.uint8)
    for index, (y0, y1, x0, x1) in enumerate(spans, start=1):
        labels[y0:y1, x0:x1] = index
    return labels


def test_panoptic_quality_is_that_of_panoptica(vectors):
    cases = {case["name"]: case for case in vectors["panoptica"]["cases"]}
    case = cases["instance"]
    truth, found = (boxes(case[k], case["shape"]) for k in ("ref_boxes", "pred_boxes"))
    expected = case["expected"]
    ids = [np.unique(v[v > 0]) for v in (truth, found)]
    got = panoptic_quality(count_pairs(truth, found), *ids)
    assert (got.tp, got.fp, got.fn) == (expected["tp"], expected["fp"], expected["fn"])
    assert got.tp / (got.tp + got.fp) == pytest.approx(expected["prec"], rel=1e-9)
    assert got.tp / (got.tp + got.fn) == pytest.approx(expected["rec"], rel=1e-9)
    for name in ("rq", "sq", "pq"):
        assert getattr(got, name) == pytest.approx(expected[name], rel=1e-9), name
    binary = confusion_matrix(truth > 0, (found > 0).astype(np.uint8), 2)
    overlap = overlap_metrics(binary, ("background", "object"))
    assert overlap["dice", "object"] == pytest.approx(expected["global_bin_dsc"], rel=1e-9)
    assert overlap["iou", "object"] == pytest.approx(expected["global_bin_iou"], rel=1e-9)


def masks(case):
    truth, found = np.zeros((2, *case["shape"]), np.uint8)
    if "gt_box" in case:
        for mask, key in ((truth, "gt_box"), (found, "pred_box")):
            start, stop = case[key].strip("[]").split(",")[0].split(":")
            mask[int(start) : int(stop)] = 1
    else:
        for mask, key in ((truth, "gt_voxels"), (found, "pred_voxels")):
            for voxel in case[key]:
                mask[tuple(voxel)] = 1
    return truth, found


def test_dice_is_that_of_surface_distance_and_null_where_theirs_is_not_a_number(vectors):
    for case in vectors["surface_distance"]["cases"]:
        matrix = confusion_matrix(*masks(case), 2)
        got = overlap_metrics(matrix, ("background", "object"))["dice", "object"]
        if case["dice"] == "nan":
            assert got is None, case["name"]
        else:
            assert got == pytest.approx(case["dice"], abs=5e-4), case["name"]
