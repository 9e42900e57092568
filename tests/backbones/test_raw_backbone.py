import numpy as np
import pytest
import torch

from parafovea.backbones import feature_channels, load_backbone
from parafovea.errors import GridError
from parafovea.settings.recipe import BackboneSpec


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
