"""Seeded weights of a Prithvi-EO encoder, under the names of the published files: for tests."""

import torch

from parafovea.settings.backbones.prithvi import PRITHVI


def weights_of(name, seed=0):
    """Seeded tensors under the names of the published files."""
    variant = PRITHVI[name]
    rng = torch.Generator().manual_seed(seed)
    width = variant.width

    def some(*shape, scale=0.05):
        return torch.randn(shape, generator=rng) * scale

    found = {
        "cls_token": some(1, 1, width),
        "pos_embed": some(1, 197, width, scale=9),
        "patch_embed.proj.weight": some(width, 6, 1, variant.patch, variant.patch),
        "patch_embed.proj.bias": some(width),
        "norm.weight": 1 + some(width),
        "norm.bias": some(width),
    }
    for n in range(variant.depth):
        for norm in ("norm1", "norm2"):
            found[f"blocks.{n}.{norm}.weight"] = 1 + some(width)
            found[f"blocks.{n}.{norm}.bias"] = some(width)
        for layer, (out, into) in {
            "attn.qkv": (3, 1),
            "attn.proj": (1, 1),
            "mlp.fc1": (4, 1),
            "mlp.fc2": (1, 4),
        }.items():
            found[f"blocks.{n}.{layer}.weight"] = some(out * width, into * width)
            found[f"blocks.{n}.{layer}.bias"] = some(out * width)
    if variant.coordinates:
        found["temporal_embed_enc.scale"] = torch.tensor([0.1])
        found["location_embed_enc.scale"] = torch.tensor([0.2])
    prefix = "" if variant.first else "encoder."
    decoder = {"decoder_norm.weight" if variant.first else "decoder.norm.weight": some(8)}
    return {**{prefix + key: value for key, value in found.items()}, **decoder}
