import json
import shutil

import numpy as np
import pytest
import torch
from transformers import DINOv3ViTModel

from parafovea.backbones import feature_channels, load_backbone
from parafovea.backbones.image_statistics import IMAGENET_MEAN, IMAGENET_STD
from parafovea.errors import GridError, ModelError
from parafovea.settings.recipe import BackboneSpec


def dinov3(folder, dimensions=3, **arguments):
    spec = BackboneSpec(name="dinov3", arguments={"weights": str(folder), **arguments})
    return load_backbone(spec, spacing=(1.0, 1.0, 1.0), dimensions=dimensions)


def block_for(backbone, tokens, seed=0):
    """A random block of so many tokens, halo included."""
    terms = zip(tokens, backbone.stride, backbone.halo, strict=True)
    shape = [n * k + 2 * h for n, k, h in terms]
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def direct(folder, plane):
    """Tokens (row, column, channel) of one plane, straight from transformers."""
    network = DINOv3ViTModel.from_pretrained(folder).eval()
    image = plane[None, None].expand(1, 3, -1, -1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        states = network(pixel_values=(image - mean) / std).last_hidden_state
    rows, columns = (n // 16 for n in plane.shape)
    return states[0, 5:].reshape(rows, columns, -1)


def test_channels_are_those_announced_from_the_configuration_alone(tiny_vit):
    spec = BackboneSpec(name="dinov3", arguments={"weights": str(tiny_vit)})
    backbone = dinov3(tiny_vit, overlap=0)
    tokens = backbone(block_for(backbone, (2, 3, 2)))
    assert tokens.shape == (32, 2, 3, 2)
    assert tokens.dtype == torch.float32
    assert feature_channels(spec, dimensions=3) == len(set(backbone.channels)) == 32


def test_tokens_are_those_of_transformers_in_order_without_cls_and_registers(tiny_vit):
    backbone = dinov3(tiny_vit, overlap=16)
    block = block_for(backbone, (1, 2, 3))
    expected = direct(tiny_vit, block[0])[1:-1, 1:-1]
    torch.testing.assert_close(backbone(block)[:, 0].movedim(0, -1), expected, atol=1e-5, rtol=1e-5)


def test_every_plane_puts_its_tokens_where_its_voxels_lie(patch_vit):
    backbone = dinov3(patch_vit, planes="xy+xz+yz", overlap=16, batch_size=2)
    assert backbone.stride == backbone.halo == (16, 16, 16)
    block = block_for(backbone, (2, 3, 4))
    found = backbone(block)
    for z, y, x in np.ndindex(2, 3, 4):
        cube = block[tuple(slice(16 + 16 * i, 32 + 16 * i) for i in (z, y, x))]
        planes = [cube[7], cube[:, 7], cube[:, :, 7]]  # rows and columns in the order z, y, x
        mean = torch.stack([direct(patch_vit, plane)[0, 0] for plane in planes]).mean(0)
        torch.testing.assert_close(found[:, z, y, x], mean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("planes", ["xy", "xy+xz+yz"])
@pytest.mark.parametrize("stride", [4, 5, 8])
def test_a_bright_token_answers_at_its_own_place_in_enlarged_planes(patch_vit, planes, stride):
    backbone = dinov3(patch_vit, planes=planes, stride=stride)
    block = torch.full_like(block_for(backbone, (5, 6, 7)), 0.5)
    place = (2, 4, 3)
    spans = [
        slice(h + i * k, h + (i + 1) * k)
        for i, k, h in zip(place, backbone.stride, backbone.halo, strict=True)
    ]
    ramp = torch.linspace(0, 1, stride)
    before = backbone(block)
    bright = block.clone()
    # A ramp, since the last norm of the network cannot tell one even patch from another.
    bright[tuple(spans)] = ramp[:, None] * ramp
    change = (backbone(bright) - before).norm(dim=0)
    assert tuple(int(i) for i in np.unravel_index(int(change.argmax()), change.shape)) == place
    assert float(change[:, :2, 5:].max()) < 1e-5


def test_content_moved_by_one_token_moves_its_tokens(tiny_vit):
    backbone = dinov3(tiny_vit, stride=8, overlap=64)
    block = block_for(backbone, (1, 8, 8))
    moved = block.roll((8, 8), dims=(1, 2))
    here, there = backbone(block), backbone(moved)
    apart = (there[:, :, 1:, 1:] - here[:, :, :-1, :-1]).norm()
    still = (there - here).norm()
    assert apart < 0.2 * still


def test_the_middle_slice_of_each_group_is_seen(patch_vit):
    backbone = dinov3(patch_vit, plane_step=3, overlap=0)
    assert backbone.stride == (3, 16, 16)
    block = block_for(backbone, (2, 1, 1))
    found = backbone(block)
    for token, middle in ((0, 1), (1, 4)):
        torch.testing.assert_close(found[:, token, 0, 0], direct(patch_vit, block[middle])[0, 0])


def test_results_do_not_depend_on_the_batch_or_on_blocks_along_z(tiny_vit):
    one, many = dinov3(tiny_vit, overlap=16, batch_size=1), dinov3(tiny_vit, overlap=16)
    block = block_for(one, (5, 2, 2))
    whole = many(block)
    torch.testing.assert_close(one(block), whole, atol=1e-5, rtol=1e-5)
    parts = torch.cat([many(block[:3]), many(block[3:])], dim=1)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
    assert one.fingerprint == many.fingerprint


def test_the_default_tile_is_512_enlarged_pixels_with_four_tokens_around(tiny_vit):
    plain, fine = dinov3(tiny_vit), dinov3(tiny_vit, stride=4)
    assert (plain.tile[1:], plain.halo) == ((512, 512), (0, 64, 64))
    assert (fine.tile[1:], fine.halo) == ((128, 128), (0, 16, 16))


def test_a_stride_coarser_than_the_patch_is_refused(tiny_vit):
    with pytest.raises(ModelError, match="stride 32 is coarser than the patch of 16"):
        dinov3(tiny_vit, stride=32)


def test_a_block_without_whole_tokens_is_refused(tiny_vit):
    with pytest.raises(GridError, match="along x"):
        dinov3(tiny_vit, overlap=0)(torch.zeros(1, 16, 24))


def test_fingerprint_follows_weights_and_arguments_but_not_the_folder(
    tiny_vit, patch_vit, tmp_path
):
    base = dinov3(tiny_vit).fingerprint
    shutil.copytree(tiny_vit, tmp_path / "moved")
    assert dinov3(tmp_path / "moved").fingerprint == base
    assert str(tiny_vit) not in base
    changed = [
        dinov3(patch_vit),
        dinov3(tiny_vit, stride=8),
        dinov3(tiny_vit, tile=256),
        dinov3(tiny_vit, overlap=32),
        dinov3(tiny_vit, plane_step=2),
        dinov3(tiny_vit, planes="xy+xz+yz"),
    ]
    prints = {base, *(backbone.fingerprint for backbone in changed)}
    assert len(prints) == len(changed) + 1
    assert json.loads(base)["name"] == "dinov3"


def test_the_network_cannot_learn_and_does_not_drop(tiny_vit):
    backbone = dinov3(tiny_vit, overlap=0)
    block = block_for(backbone, (1, 1, 1)).requires_grad_(True)
    tokens = backbone(block)
    assert not tokens.requires_grad
    assert torch.equal(tokens, backbone(block))
