"""Tiny seeded transformers, saved as `save_pretrained` writes them."""

from pathlib import Path

import pytest
import torch
from transformers import DINOv3ViTConfig, DINOv3ViTModel


def _saved(folder: Path, layers: int) -> Path:
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


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers: the real thing, small."""
    return _saved(tmp_path_factory.mktemp("vit") / "two", layers=2)


@pytest.fixture(scope="session")
def patch_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No layers: a token is its own patch's embedding, so positions can be told exactly."""
    return _saved(tmp_path_factory.mktemp("vit") / "none", layers=0)
