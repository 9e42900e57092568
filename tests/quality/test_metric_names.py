import pytest
from pydantic import ValidationError

from parafovea.errors import ConfigError
from parafovea.quality.detections.detection_metrics import DETECTION_PATHS
from parafovea.quality.metrics import check_limits, judge, metric_names, nested
from parafovea.quality.segmentation.segmentation_metrics import segmentation_paths
from parafovea.settings.quality import Limit, QualitySettings

CLASSES = ("background", "mitochondrion", "membrane")


def test_metrics_have_the_names_that_the_config_uses():
    names = metric_names(segmentation_paths(CLASSES, ["mitochondrion"]))
    assert {
        "iou",
        "iou.mitochondrion",
        "dice.membrane",
        "coverage.uncovered_voxels",
        "seam_energy",
        "seam_energy.z",
        "entropy",
        "voi.split",
        "arand.error",
        "panoptic.mitochondrion.pq",
    } <= set(names)
    assert len(names) == len(set(names))
    assert not [n for n in names if n.startswith("panoptic.membrane")]


def test_a_limit_on_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"iou\.vesicle.*iou\.mitochondrion.*voi\.split"):
        check_limits({"iou.vesicle": Limit(min=0.5)}, segmentation_paths(CLASSES, ()))


def test_limits_include_their_ends_and_judge_only_what_is_defined():
    values = {("iou", "overall"): 0.5, ("voi", "split"): 2, ("entropy",): None, ("x",): 1.0}
    limits = {"iou": Limit(min=0.5), "voi.split": Limit(max=1), "entropy": Limit(max=1)}
    assert [one.passed for one in judge(values, limits)] == [True, False, None, None]


def test_paths_nest():
    values = {("iou", "overall"): 1.0, ("iou", "a"): None, ("entropy",): 0.5}
    assert nested(values) == {"iou": {"overall": 1.0, "a": None}, "entropy": 0.5}


@pytest.mark.parametrize(
    "limit", [{}, {"min": 2, "max": 1}, {"max": float("nan")}, {"minimum": 1}, {"min": "much"}]
)
def test_a_limit_that_is_no_range_is_refused(limit):
    with pytest.raises(ValidationError):
        QualitySettings.model_validate({"limits": {"iou": limit}})


def test_detections_have_metrics_of_their_own():
    names = metric_names(DETECTION_PATHS)
    assert len(set(names)) == len(names)
    assert {"sensitivity", "false_positives", "detections.high", "coverage.skipped_windows"} < set(
        names
    )
    assert "iou" not in names
    check_limits({"sensitivity": Limit(min=0.5)}, DETECTION_PATHS)
    with pytest.raises(ConfigError, match="centre_distance_mm"):
        check_limits({"iou": Limit(min=0.5)}, DETECTION_PATHS)
