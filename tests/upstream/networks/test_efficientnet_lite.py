"""EfficientNet-Lite0 as restated: its shape; tests/networks compares it with the published one."""

import pytest
import torch
from tiny_networks import seeded

from parafovea.errors import ModelError
from parafovea.upstream.networks.efficientnet_lite import (
    EfficientNetLite0,
    load_efficientnet_lite0,
)


@pytest.fixture(scope="module")
def network():
    return seeded(EfficientNetLite0())


def test_it_has_the_published_number_of_weights_and_layers(network):
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008
    assert len(network.state_dict()) == 296


def test_its_outputs_lie_at_the_strides_of_its_stages(network):
    with torch.inference_mode():
        outputs = dict(zip(network.output_names, network(torch.rand(1, 3, 64, 96)), strict=True))
    shapes = {name: tuple(found.shape[1:]) for name, found in outputs.items()}
    assert shapes["stem"] == (32, 32, 48)
    assert shapes["block_2"] == (24, 16, 24)
    assert shapes["block_4"] == (40, 8, 12)
    assert shapes["block_10"] == (112, 4, 6)
    assert shapes["block_15"] == (320, 2, 3)
    assert shapes["head"] == (1280, 2, 3)
    assert shapes["classes"] == (1000,)


def test_weights_are_read_from_an_old_file_of_torch(network, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    loaded = load_efficientnet_lite0(path)
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert all(map(torch.equal, loaded(images), network(images)))


def test_weights_that_do_not_fit_are_one_error_with_layer_and_shapes(network, tmp_path):
    path, tensors = tmp_path / "weights.pth", dict(network.state_dict())
    tensors["_conv_head.weight"] = torch.zeros(1280, 192, 1, 1)
    torch.save(tensors, path)
    with pytest.raises(ModelError, match=r"_conv_head.weight has the shape \(1280, 192, 1, 1\)"):
        load_efficientnet_lite0(path)
    tensors = dict(network.state_dict())
    tensors["_fc.bias"] = torch.full((1000,), torch.nan)
    torch.save(tensors, path)
    with pytest.raises(ModelError, match=r"1000 of 1000 values of layer _fc.bias are NaN"):
        load_efficientnet_lite0(path)
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="no dictionary of tensors"):
        load_efficientnet_lite0(path)
