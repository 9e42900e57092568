import pytest

from parafovea.chain.cleaning import cleanings_of, splits_objects


@pytest.mark.parametrize(
    ("classes", "cleanings", "splits"),
    [
        ([], (), False),
        ([{}, {"min_voxels": 1}], (), False),
        ([{}, {"min_voxels": 2}], ("small",), False),
        ([{"fill_holes": True}, {"min_voxels": 9}], ("small", "holes"), False),
        ([{"split_distance": 3.0}], (), True),
        ([{"split_distance": 3.0, "instances": False}], (), False),
    ],
)
def test_settings_ask_for_the_steps_that_change_something(classes, cleanings, splits):
    assert cleanings_of(classes) == cleanings
    assert splits_objects(classes) == splits
