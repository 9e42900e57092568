import pytest
from pydantic import ValidationError

from parafovea.errors import ConfigError
from parafovea.postprocess.settings import ClassSettings, PostprocessSettings, resolve_classes


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
