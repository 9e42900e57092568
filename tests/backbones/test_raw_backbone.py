import numpy as np
import pytest
import torch

from parafovea.backbones import feature_channels, load_backbone
from parafovea.backbones.views import View, token_array
from parafovea.errors import GridError, ModelError
from parafovea.geometry.grid import Grid
from parafovea.inference.array_inputs import ArrayOnGrid
from parafovea.settings.backbones.model_inputs import check_backbone
from parafovea.settings.recipe import BackboneSpec, Recipe


def raw(dimensions=3, **arguments):
    spec = BackboneSpec(name="raw", arguments=arguments)
    return load_backbone(spec, spacing=(1.0, 1.0, 1.0), dimensions=dimensions)


def test_raw_tokens_are_the_voxels():
    block = torch.rand(4, 5, 6)
    backbone = raw()
    assert backbone.halo == (0, 0, 0)
    assert torch.equal(backbone(block), block[None])
    assert feature_channels(BackboneSpec(name="raw"), dimensions=3) == len(backbone.channels) == 1


def test_raw_tokens_are_means_over_the_stride():
    block = torch.rand(4, 6, 9)
    expected = block.numpy().reshape(2, 2, 3, 2, 3, 3).mean((1, 3, 5))
    np.testing.assert_allclose(raw(stride=[2, 2, 3])(block)[0], expected, atol=1e-6)


def test_one_number_leaves_z_alone_in_two_dimensions():
    assert raw(dimensions=2, stride=4).stride == (1, 4, 4)
    assert raw(dimensions=3, stride=4).stride == (4, 4, 4)


def test_a_block_of_broken_tokens_is_refused_with_the_axis_and_the_stride():
    with pytest.raises(GridError, match=r"has 5 voxels along y.*multiple of the stride 2"):
        raw(stride=2)(torch.zeros(4, 5, 6))


def test_fingerprint_follows_the_stride():
    assert raw(stride=2).fingerprint == raw(stride=[2, 2, 2]).fingerprint
    assert raw(stride=2).fingerprint != raw(stride=1).fingerprint


@pytest.mark.parametrize("planes", [1, 2, 5])
def test_neighbours_are_the_mirrored_planes_around_each(planes):
    voxels = np.random.default_rng(0).random((planes, 6, 8), dtype=np.float32)
    backbone = raw(dimensions=2, neighbours=2, stride=2)
    assert backbone.channels == ("raw", "raw_z-1", "raw_z+1", "raw_z-2", "raw_z+2")
    grid = Grid(voxels.shape, (50, 8, 8))
    view = View(ArrayOnGrid(voxels, grid), grid)
    means = voxels.reshape(planes, 3, 2, 4, 2).mean((2, 4))
    padded = np.pad(means, ((2, 2), (0, 0), (0, 0)), mode="reflect" if planes > 1 else "edge")
    wanted = [padded[2 + step : 2 + step + planes] for step in (0, -1, 1, -2, 2)]
    for depth in (1, None):  # however the planes are cut into blocks
        found = token_array(view, backbone, device=torch.device("cpu"), depth=depth)
        np.testing.assert_allclose(found, np.stack(wanted), atol=1e-3)


def test_neighbours_are_channels_of_each_band():
    spec = BackboneSpec(name="raw", arguments={"neighbours": 1})
    bands = ("red", "green")
    backbone = load_backbone(spec, spacing=(5.0, 1.0, 1.0), dimensions=2, bands=bands)
    block = torch.rand(2, 4, 3, 3)
    wanted = [block[band, first : first + 2] for band in (0, 1) for first in (1, 0, 2)]
    assert torch.equal(backbone(block), torch.stack(wanted))
    assert feature_channels(spec, dimensions=2, bands=bands) == len(backbone.channels) == 6


def test_without_neighbours_cached_features_stay_valid():
    assert raw().fingerprint == '{"name":"raw","stride":[1,1,1]}'
    flat = {"dimensions": 2}
    assert raw(**flat, neighbours=1).fingerprint != raw(**flat).fingerprint


def test_neighbours_need_planes_in_order():
    with pytest.raises(ModelError, match=r"neighbours 1 are for a network of 2 dimensions"):
        raw(dimensions=3, neighbours=1)
    spec = BackboneSpec(name="raw", arguments={"neighbours": 1})
    values = {
        "kind": "refinement",
        "bands": ["B04", "B08"],
        "classes": ["B04", "B08"],
        "unit": "meter",
        "spacing": (1, 10, 10),
        "normalization": {"method": "none"},
        "backbone": spec,
        "network": {"dimensions": 2, "fusion": "none"},
        "window": (1, 32, 32),
    }
    with pytest.raises(ModelError, match=r"neighbours 1 .*tiles, which have no order: remove it"):
        check_backbone(spec, Recipe.model_validate(values))
