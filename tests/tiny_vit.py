"""A tiny seeded transformer, saved as `save_pretrained` writes it: for tests."""

from pathlib import Path

import torch
from transformers import DINOv3ViTConfig, DINOv3ViTModel


def saved_vit(folder: Path, layers: int) -> Path:
    """Write a transformer of 32 channels and so many layers, and return its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = DINOv3ViTConfig(
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=64,
            patch_size=16,
            num_register_tokens=4,
            initializer_range=0.05,
        )
        DINOv3ViTModel(config).save_pretrained(folder)
    return folder
