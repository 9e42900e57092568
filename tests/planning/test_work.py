"""The size of a view's features is that of what its backbone computes."""

import math

import pytest
import torch
from tiny_vit import MODELS, saved_model

from parafovea.backbones import load_backbone
from parafovea.geometry.grid import Grid
from parafovea.planning.work import PATCH, WIDEST, ViewWork
from parafovea.settings.recipe import BackboneSpec


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layers", [[], [1, 2]])
def test_features_of_a_vision_model_are_counted_from_its_configuration(tmp_path, name, layers):
    folder = saved_model(tmp_path / "model", name)
    spec = BackboneSpec(
        name="huggingface", arguments={"weights": str(folder), "layers": layers, "overlap": 0}
    )
    backbone = load_backbone(spec, spacing=(1.0, 1.0, 1.0), dimensions=2)
    shape = (2, *(n * 5 for n in backbone.stride[1:]))
    grid = Grid(shape=shape, spacing=(1.0, 1.0, 1.0), unit="nanometer")
    found = backbone(torch.zeros(shape))
    assert ViewWork(grid, spec).values(2) == math.prod(found.shape)
    assert ViewWork(grid, spec).backbone_memory > 0


def test_a_model_of_the_hub_is_taken_for_a_large_one():
    spec = BackboneSpec(name="huggingface", arguments={"weights": "owner/name"})
    grid = Grid(shape=(1, 4 * PATCH, PATCH), spacing=(1.0, 1.0, 1.0), unit="nanometer")
    assert ViewWork(grid, spec).values(2) == 4 * WIDEST
