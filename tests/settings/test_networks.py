"""Descriptions of networks of other projects: what cannot be right is refused when it is read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from parafovea.settings.networks import ImageNetworkSpec
from parafovea.settings.recipe import Recipe, TrainingRecipe

NETWORK = {"type": "onnx", "dimensions": 3, "output_channels": 2}


def recipe(network: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    values = {
        "spacing": (1, 1, 1),
        "unit": "millimeter",
        "backbone": {"name": "none"},
        "network": {**NETWORK, **(network or {})},
        "classes": ("background", "liver"),
        "window": (32, 64, 64),
        **changes,
    }
    return Recipe.model_validate(values)


def test_a_network_of_another_project_takes_the_voxels_alone() -> None:
    found = recipe()
    assert not found.uses_features
    assert found.channels == 1
    assert found.network_files == ("network.onnx",)
    assert found.activation == "softmax"
    assert recipe({"files": {"w.bin": "0" * 64}}).network_files == ("network.onnx", "w.bin")


@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        ({}, {"backbone": {"name": "raw"}}, "takes the voxels alone"),
        ({}, {"raw_input": False}, "takes the voxels alone"),
        ({"output_channels": 3}, {}, "output has 3 channels, but 2 of the classes"),
        ({"output_channels": 1, "complement": True}, {}, ""),
        ({"channels": (0, 2)}, {}, "but the output has 2, counted from 0"),
        ({"mean": (1, 2)}, {}, "mean has 2 numbers, but the input has 1 channels"),
        ({"deviation": (0,)}, {}, "greater than 0"),
        ({"multiple_of": (5, 64, 64)}, {}, r"must be a multiple of \(5, 64, 64\)"),
        ({"margin": (16, 0, 0)}, {}, "positive multiple of the output's stride"),
        ({"margin": (1, 0, 0), "stride": (4, 1, 1)}, {}, "positive multiple of the output's"),
        ({"dimensions": 2}, {}, "must be 1 along z"),
        ({"dimensions": 2, "stride": (2, 1, 1)}, {"window": (1, 64, 64)}, "planes are independent"),
        ({"architecture": "UNet"}, {}, "`architecture` is the class of a network of type monai"),
        ({"type": "monai"}, {}, "`architecture` is the class of a network of type monai"),
        (
            {"type": "pickle"},
            {},
            "Input should be 'onnx', 'torchscript', 'exported', 'monai' or 'pivot'",
        ),
        ({"files": {"w.bin": "abc"}}, {}, "should match pattern"),
        (
            {"complement": True, "output_channels": 1},
            {"kind": "detection", "classes": ("nodule", "other")},
            "complement is for a background class",
        ),
    ],
)
def test_descriptions_that_contradict_themselves_are_refused(
    network: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    if not message:
        assert recipe(network, **changes).exclusive
        return
    with pytest.raises(ValidationError, match=message):
        recipe(network, **changes)


def test_a_fixed_window_is_the_only_one() -> None:
    network = ImageNetworkSpec(**NETWORK, fixed_window=True)
    assert network.window_problem((32, 64, 64), (32, 64, 64)) is None
    problem = network.window_problem((32, 64, 128), (32, 64, 64))
    assert (
        problem == "window (32, 64, 128) must be (32, 64, 64), the only size that the network takes"
    )


def test_networks_of_other_projects_are_not_trained() -> None:
    with pytest.raises(ValidationError, match="fused_unet"):
        TrainingRecipe.model_validate(recipe().model_dump())


def test_a_fused_unet_takes_features() -> None:
    values = {"spacing": (1, 1, 1), "classes": ("a", "b"), "window": (16, 16, 16)}
    none = {"backbone": {"name": "none"}, "network": {"fusion": "none"}}
    with pytest.raises(ValidationError, match="a FusedUNet takes features"):
        Recipe.model_validate({**values, **none})
