"""Networks of MONAI in model folders: every class as itself, what does not fit refused."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import monai.networks.nets as nets
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from parafovea.errors import ModelError
from parafovea.models.loading import load_network
from parafovea.models.networks import monai_network
from parafovea.models.networks.image_network import ImageNetwork
from parafovea.models.networks.monai_network import ARCHITECTURES, build
from parafovea.runtime.file_hash import file_sha256
from parafovea.upstream.networks.importing import Imported, import_network
from parafovea.upstream.networks.monai_class import read_monai_class
from parafovea.upstream.networks.stated import Stated

BOTH = {"in_channels": 1, "out_channels": 2}
SMALL = {"spatial_dims": 3, **BOTH}

#: Arguments of small networks as JSON states them, by class, and the side of a window.
SMALLEST: dict[str, tuple[dict[str, Any], int]] = {
    "AHNet": ({**SMALL, "layers": [1, 1, 1, 1], "psp_block_num": 0}, 32),
    "AttentionUnet": ({**SMALL, "channels": [4, 8], "strides": [2]}, 8),
    "BasicUNet": ({**SMALL, "features": [4, 4, 4, 4, 4, 4], "act": ["ELU", {"alpha": 0.5}]}, 32),
    "BasicUNetPlusPlus": ({**SMALL, "features": [4] * 6, "deep_supervision": True}, 32),
    "DynUNet": (
        {
            **SMALL,
            "kernel_size": [[1, 3, 3], 3, 3],
            "strides": [1, [1, 2, 2], 2],
            "upsample_kernel_size": [[1, 2, 2], 2],
            "filters": [4, 8, 8],
            "norm_name": ["GROUP", {"num_groups": 2, "affine": True}],
            "deep_supervision": True,
            "deep_supr_num": 1,
        },
        8,
    ),
    "FlexibleUNet": (
        {**SMALL, "backbone": "resnet10", "decoder_channels": [8, 8, 4, 4, 4]},
        64,
    ),
    "HighResNet": ({**SMALL, "norm_type": ["instance", {"affine": True}]}, 8),
    "MedNeXt": (
        {
            **SMALL,
            "init_filters": 4,
            "blocks_down": [1, 1, 1, 1],
            "blocks_up": [1, 1, 1, 1],
            "blocks_bottleneck": 1,
            "deep_supervision": True,
        },
        32,
    ),
    "SegResNet": (
        {
            **SMALL,
            "init_filters": 8,
            "blocks_down": [1, 1],
            "blocks_up": [1],
            "act": ["RELU", {"inplace": False}],
            "norm": ["GROUP", {"num_groups": 4}],
        },
        8,
    ),
    "SegResNetDS": ({**SMALL, "init_filters": 8, "blocks_down": [1, 1], "dsdepth": 2}, 8),
    "SegResNetDS2": ({**SMALL, "init_filters": 8, "blocks_down": [1, 1], "dsdepth": 2}, 8),
    "SegResNetVAE": (
        {
            **SMALL,
            "input_image_size": [16, 16, 16],
            "init_filters": 8,
            "blocks_down": [1, 1],
            "blocks_up": [1],
        },
        16,
    ),
    "SwinUNETR": (
        {**BOTH, "feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2]},
        64,
    ),
    "UNet": (
        {**SMALL, "channels": [4, 8], "strides": [2], "norm": ["instance", {"affine": True}]},
        8,
    ),
    "UNETR": (
        {
            **BOTH,
            "img_size": [32, 32, 32],
            "feature_size": 4,
            "hidden_size": 12,
            "mlp_dim": 16,
            "num_heads": 2,
        },
        32,
    ),
    "VNet": (SMALL, 16),
}


def seeded(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """Return a network of MONAI with random weights and statistics."""
    torch.manual_seed(0)
    network: nn.Module = getattr(nets, architecture)(**arguments).eval()
    for name, values in network.named_buffers():
        if name.endswith("running_mean"):
            values.uniform_(-0.2, 0.2)
        elif name.endswith("running_var"):
            values.uniform_(0.5, 1.5)
    return network


def imported(
    path: Path, architecture: str, arguments: dict[str, Any], side: int = 8, **stated: Any
) -> Imported:
    """Import weights, as windows of a cube that need not be searched for."""
    known = {
        "spacing": (1, 1, 1),
        "unit": "micrometer",
        "window": (side,) * 3,
        "fixed_window": True,
        **stated,
    }
    options = Stated(architecture=architecture, arguments=arguments, **known)
    return import_network(path, path.parent / "model", reader=read_monai_class, stated=options)


def outputs(network: ImageNetwork, images: Tensor) -> Tensor:
    """Return what a network from a model folder predicts."""
    run = network.runner(torch.device("cpu"), torch.float32, "torch")
    with torch.inference_mode():
        return network.selected(run(images))


def test_every_class_of_the_list_has_a_test():
    assert tuple(SMALLEST) == ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_class_predicts_what_it_does_in_monai(tmp_path, architecture):
    arguments, side = SMALLEST[architecture]
    network = seeded(architecture, arguments)
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    done = imported(path, architecture, json.loads(json.dumps(arguments)), side)
    spec, found = load_network(tmp_path / "model")
    assert isinstance(found, ImageNetwork)
    assert spec.network == done.spec.network
    images = torch.rand(1, 1, side, side, side)
    with torch.inference_mode():
        wanted = network(images)
    if not isinstance(wanted, Tensor):
        # the finest of the outputs that MONAI weighs in training
        wanted = wanted[3 if architecture == "BasicUNetPlusPlus" else 0]
    scores = outputs(found, images)
    torch.testing.assert_close(scores, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    module = found.module  # type: ignore[attr-defined]
    assert not any(each.is_meta for each in (*module.parameters(), *module.buffers()))
    assert not any(each.requires_grad for each in module.parameters())


def test_two_dimensions_and_axes_in_the_order_of_nifti(tmp_path):
    arguments = {**SMALL, "spatial_dims": 2, "channels": [4, 8], "strides": [2]}
    network = seeded("UNet", arguments)
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    imported(path, "UNet", arguments, window=(1, 8, 16), axes="xyz")
    _, found = load_network(tmp_path / "model")
    assert isinstance(found, ImageNetwork)
    images = torch.rand(2, 1, 8, 16)
    with torch.inference_mode():
        wanted = network(images.transpose(2, 3)).transpose(2, 3)
        plain = network(images)
    scores = outputs(found, found.ordered(images))
    torch.testing.assert_close(scores, wanted)
    assert not torch.allclose(wanted, plain)


def test_layers_that_a_network_holds_twice_are_stored_once(tmp_path):
    arguments, _ = SMALLEST["DynUNet"]
    network = seeded("DynUNet", arguments)
    state = network.state_dict()
    path = tmp_path / "weights.safetensors"
    # as safetensors writes a network with shared layers: one name of each
    kept: dict[int, str] = {}
    for name, tensor in state.items():
        kept[tensor.data_ptr()] = name
    save_file({name: state[name].clone() for name in kept.values()}, path)
    assert len(kept) < len(state)
    imported(path, "DynUNet", arguments)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert len(stored) == len(kept)
    _, found = load_network(tmp_path / "model")
    images = torch.rand(1, 1, 8, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(outputs(found, images), network(images))  # type: ignore[arg-type]


def test_weights_of_transformers_from_before_cross_attention_fit(tmp_path):
    arguments, _ = SMALLEST["UNETR"]
    network = seeded("UNETR", arguments)
    state = {k: v for k, v in network.state_dict().items() if "cross_attn" not in k}
    assert len(state) < len(network.state_dict())
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    old = {**arguments, "pos_embed": "conv"}
    done = imported(path, "UNETR", old, window=None, fixed_window=None)
    assert "the argument pos_embed of UNETR is called proj_type now" in done.notes
    # the size of its images is the only one that it takes
    assert (done.spec.window, done.spec.network.fixed_window) == ((32, 32, 32), True)


def test_buffers_that_are_no_weights_are_computed(tmp_path, monkeypatch):
    class Shifted(nets.UNet):
        __signature__ = inspect.signature(nets.UNet)

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.register_buffer("shift", torch.arange(2.0).view(1, 2, 1, 1, 1), persistent=False)

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + self.shift

    monkeypatch.setattr(nets, "UNet", Shifted)
    arguments = {**SMALL, "channels": [4, 8], "strides": [2]}
    network = seeded("UNet", arguments)
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    imported(path, "UNet", {"channels": [4, 8], "strides": [2], **SMALL})
    _, found = load_network(tmp_path / "model")
    images = torch.rand(1, 1, 8, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(outputs(found, images), network(images))  # type: ignore[arg-type]


UNET = {**SMALL, "channels": [4, 8], "strides": [2]}

#: Classes and arguments that are wrong, by what the message has to say.
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "class": ("ResNet", {}, "'ResNet' is not one of MONAI's that predict voxels: AHNet, "),
    "download": ("AHNet", {"pretrained": True}, "pretrained of AHNet would download weights"),
    "unknown": ("UNet", {**UNET, "chanels": 3}, "UNet has no argument 'chanels': it has spatial"),
    "missing": ("UNet", SMALL, "UNet needs the arguments channels, strides, which are missing"),
    "value": ("UNet", {**UNET, "norm": "nothing"}, "UNet does not take its arguments"),
    "type": ("UNet", {**UNET, "strides": "2"}, "UNet does not take its arguments"),
    "number": ("UNet", {**UNET, "channels": [4, 10**9]}, "has the number 1000000000: at most"),
    "infinite": ("UNet", {**UNET, "dropout": float("nan")}, "has the number nan: at most"),
    "list": ("UNet", {**UNET, "channels": [1] * 5000}, "channels of UNet has 5000 items: at most"),
    "size": ("UNet", {**UNET, "channels": [60000, 60000]}, "more than 512 tensors or 4294967296"),
    "depth": (
        "SegResNet",
        {**SMALL, "blocks_down": [1, 60000], "blocks_up": [1]},
        "more than 512 tensors or",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_classes_and_arguments_that_are_wrong_are_refused(case, monkeypatch):
    monkeypatch.setattr(monai_network, "MOST_TENSORS", 512)
    architecture, arguments, message = WRONG[case]
    with pytest.raises(ModelError, match=message):
        build(architecture, arguments, source="model.json")


def test_weights_of_another_network_are_refused_with_both_shapes(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(seeded("UNet", {**UNET, "channels": [4, 16]}).state_dict(), path)
    with pytest.raises(ModelError, match=r"layer model\.\S+ has the shape \(\d.*must have \("):
        imported(path, "UNet", UNET)
    torch.save({"model.weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match=r"\d+ layers are missing \(model\.0"):
        imported(path, "UNet", UNET)
    state = seeded("UNet", UNET).state_dict()
    name = next(iter(state))
    state[name][0] = torch.nan
    torch.save(state, path)
    with pytest.raises(ModelError, match=f"values of layer {name} are NaN or infinite"):
        imported(path, "UNet", UNET)
    assert not (tmp_path / "model").exists()


def test_a_model_folder_with_other_weights_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(seeded("UNet", UNET).state_dict(), path)
    imported(path, "UNet", UNET)
    weights, card = tmp_path / "model" / "model.safetensors", tmp_path / "model" / "model.json"
    tensors = load_file(weights)
    name = next(name for name, tensor in tensors.items() if tensor.shape[0] > 1)
    save_file({**tensors, name: tensors[name][:1].clone()}, weights)
    with pytest.raises(ModelError, match="it was changed or belongs to another model"):
        load_network(tmp_path / "model")
    values = json.loads(card.read_text())
    values["weights_sha256"] = file_sha256(weights)
    card.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=f"layer {name} has the shape .* must have "):
        load_network(tmp_path / "model")


def test_a_count_of_layers_does_not_outlive_a_network_that_is_built(monkeypatch):
    monkeypatch.setattr(monai_network, "MOST_TENSORS", 8)
    with pytest.raises(ModelError, match="more than 8 tensors"):
        build(*WRONG["size"][:2], source="model.json")
    assert len(list(nn.Sequential(*[nn.Linear(1, 1) for _ in range(9)]).parameters())) == 18
