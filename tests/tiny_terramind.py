"""Seeded weights of a TerraMind encoder, under the names of the published files: for tests."""

import torch

from parafovea.settings.backbones.terramind import TERRAMIND

#: Bands of each modality, by its name in the files.
COUNTS = {"sen2l2a": 12, "sen2l1c": 13, "sen2rgb": 3, "sen1grd": 2, "sen1rtc": 2, "dem": 1}


def terramind_weights(size, seed=0):
    """Seeded tensors under the names of the published files."""
    variant = TERRAMIND[size]
    rng = torch.Generator().manual_seed(seed)
    width = variant.width

    def some(*shape, scale=0.05):
        return torch.randn(shape, generator=rng) * scale

    found = {"encoder_norm.weight": 1 + some(width), "encoder_norm.bias": torch.zeros(width)}
    for name, count in COUNTS.items():
        start = f"encoder_embeddings.untok_{name}@224"
        found[f"{start}.proj.weight"] = some(width, 256 * count, scale=0.02)
        found[f"{start}.mod_emb"] = some(1, 1, width)
        found[f"{start}.pos_emb"] = some(1, 196, width, scale=0.3)
    hidden = int(8 / 3 * width)
    for n in range(variant.depth):
        for norm in ("norm1", "norm2"):
            found[f"encoder.{n}.{norm}.weight"] = 1 + some(width)
            found[f"encoder.{n}.{norm}.bias"] = torch.zeros(width)
        for layer, shape in {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (hidden, width),
            "mlp.fc2": (width, hidden),
            "mlp.fc3": (hidden, width),
        }.items():
            found[f"encoder.{n}.{layer}.weight"] = some(*shape)
    return {**found, "decoder.0.norm1.weight": some(8), "decoder_norm.weight": some(8)}
