import pytest
from pydantic import ValidationError

from parafovea.errors import ConfigError
from parafovea.settings.postprocess import (
    ClassSettings,
    DetectionSettings,
    PostprocessSettings,
    resolve_classes,
)


def test_classes_that_are_not_named_get_the_defaults():
    chosen = ClassSettings(min_voxels=7)
    assert resolve_classes({"vesicle": chosen}, ["background", "mitochondrion", "vesicle"]) == (
        ClassSettings(),
        chosen,
    )


@pytest.mark.parametrize("name", ["mitochondria", "background"])
def test_a_name_that_is_no_class_is_refused_with_the_classes(name):
    with pytest.raises(ConfigError, match=rf"{name}.*mitochondrion, vesicle.*background"):
        resolve_classes({name: ClassSettings()}, ["background", "mitochondrion", "vesicle"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"connectivity": 8},
        {"method": "softmax"},
        {"classes": {"a": {"threshold": 1.5}}},
        {"classes": {"a": {"split_distance": 0}}},
        {"classes": {"a": {"min_size": 3}}},
    ],
)
def test_settings_refuse_what_makes_no_sense(wrong):
    with pytest.raises(ValidationError):
        PostprocessSettings.model_validate(wrong)


def test_the_defaults_of_detection_are_those_of_its_users():
    assert DetectionSettings().model_dump() == {
        "peak_detection": {
            "threshold": 0.5,
            "min_distance": 10.0,
            "method": "local_maxima",
            "max_saddle": 0.8,
        },
        "nms": {"enabled": True, "iou_threshold": 0.3},
        "size_filter": {"min_diameter": 3.0, "max_diameter": 30.0},
        "confidence_filter": {"min_confidence": 0.3},
        "calibrated": True,
        "body_filter": {"enabled": True},
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"peak_detection": {"threshold": 0}}, "greater than 0"),
        ({"peak_detection": {"method": "argmax"}}, "local_maxima"),
        ({"size_filter": {"min_diameter": 31}}, r"min_diameter \(31\) must not be larger than"),
        ({"nms": {"iou": 0.3}}, "Extra inputs"),
    ],
)
def test_wrong_settings_of_detection_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        DetectionSettings.model_validate(wrong)
