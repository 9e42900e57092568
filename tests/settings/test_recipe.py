"""Recipes and specs: what cannot be right is refused when it is read."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError
from tiny_sample import tiny_recipe, tiny_refinement

from parafovea.settings.networks import FusedUNetSpec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "parsec"}, "unknown unit 'parsec'"),
        ({"classes": ("a", "a")}, "names must be unique"),
        ({"classes": ("a",)}, "at least 2"),
        ({"classes": (), "kind": "detection"}, "at least 1"),
        (
            {"kind": "detection", "network": {"output": "affinities"}},
            "a detection cannot output affinities",
        ),
        ({"window": (16, 20, 32)}, r"window \(16, 20, 32\) must be a multiple of 16 along z, y, x"),
        ({"network": {"fusion": "none"}}, "fusion is 'none', but context is given"),
        ({"spacing": (8, 0, 8)}, "greater than 0"),
        ({"normalization": {"low": 99, "high": 1}}, r"low \(99.0\) must be smaller"),
        ({"normalization": {"low": -5, "high": 50}}, "must be between 0 and 100"),
        ({"colour": "blue"}, "Extra inputs"),
    ],
)
def test_impossible_recipes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_recipe(**changes)


@pytest.mark.parametrize(
    ("window", "message"),
    [((1, 40, 32), "must be a multiple of 16 along y, x$"), ((16, 32, 32), "must be 1 along z")],
)
def test_windows_of_flat_networks_are_one_slice(window: tuple[int, int, int], message: str) -> None:
    problem = FusedUNetSpec(dimensions=2).window_problem(window, window)
    assert problem is not None
    assert re.search(message, problem)


def test_objects_and_activation_follow_from_the_kind() -> None:
    detection = tiny_recipe(kind="detection", classes=("nodule",))
    assert (detection.objects, detection.activation) == (("nodule",), "sigmoid")
    segmentation = tiny_recipe()
    assert (segmentation.objects, segmentation.activation) == (("dark", "bright"), "softmax")
    affinities = tiny_recipe(network={"output": "affinities"})
    assert affinities.activation == "sigmoid"


@pytest.mark.parametrize(
    ("unit", "image"), [("nanometer", False), ("millimeter", False), ("meter", True)]
)
def test_bands_are_channels_of_a_volume_unless_the_unit_is_that_of_the_ground(
    unit: str, image: bool
) -> None:
    names = ("T1", "FLAIR")
    recipe = tiny_recipe(bands=names, unit=unit)
    assert recipe.is_image == image
    assert recipe.channels == 2
    assert recipe.image_bands == (names if image else ())
    assert recipe.volume_channels == (() if image else names)
    assert not tiny_recipe(unit=unit).is_image


def test_a_refinement_takes_images_in_any_unit() -> None:
    assert tiny_refinement(unit="centimeter").is_image


def test_reading_a_spec_does_not_import_torch() -> None:
    code = "import sys, parafovea.settings.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
