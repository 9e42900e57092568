"""Errors of the config in plain words: no type of Python, every value said once."""

import pytest

from parafovea.config.loading import checked_settings
from parafovea.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"inference": {"window": [16, 16]}}, "window.2 is missing: the list needs a value for"),
        ({"inference": {"window": [1, 2, 3, 4]}}, "has too many values: one for each of z, y, x"),
        ({"inference": {"window": 64}}, "window = 64: must be a list, such as [1, 2, 3]"),
        ({"inference": {"shards": 0}}, "shards = 0: must be greater than or equal to 1 or must be"),
        ({"inference": {"overlap": "50%"}}, "overlap = '50%': must be a number"),
        ({"inference": {"batch_size": 1.5}}, "batch_size = 1.5: must be a whole number"),
        (
            {"quality": {"limits": {"iou": 3}}},
            "iou = 3: must hold keys and values of its own, such",
        ),
        ({"quality": {"limits": {"iou": 3}}}, "; keys are min, max"),
        ({"model": None}, "model = None: must be text, in double quotes if it looks like a number"),
        ({"predict_training": "x"}, "predict_training = 'x': must be true or false"),
    ],
)
def test_a_wrong_value_is_explained_in_plain_words(values, words):
    with pytest.raises(ConfigError) as caught:
        checked_settings({"tasks": {"cell": {"model": "models/cell", **values}}})
    assert words in str(caught.value)
    assert "Input" not in str(caught.value)


def test_a_name_that_yaml_takes_for_something_else_needs_quotes():
    with pytest.raises(ConfigError, match="the name False is not text: put it in double quotes"):
        checked_settings({"tasks": {False: {"model": "models/cell"}}})
    with pytest.raises(ConfigError, match="tasks must hold at least 1"):
        checked_settings({"tasks": {}})
