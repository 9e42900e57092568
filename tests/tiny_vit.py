"""Tiny seeded vision models, saved as `save_pretrained` writes them: for tests."""

from pathlib import Path

import torch
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 56,
    "patch_size": 14,
    "initializer_range": 0.2,
}
TEXT = {**SIZES, "vocab_size": 50, "max_position_embeddings": 8}

#: A model of each family that has files of its own, with its patch and the tokens before others.
MODELS = {
    "dinov2": (lambda more: Dinov2Model(Dinov2Config(**SIZES, **more)), 14, 1),
    "dinov2_with_registers": (
        lambda more: Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(**SIZES, num_register_tokens=3, **more)
        ),
        14,
        4,
    ),
    "dinov3_vit": (
        lambda more: DINOv3ViTModel(DINOv3ViTConfig(**SIZES, num_register_tokens=4, **more)),
        14,
        5,
    ),
    "dinov3_convnext": (
        lambda more: DINOv3ConvNextModel(
            DINOv3ConvNextConfig(
                hidden_sizes=[8, 16, 24, 32],
                depths=[1, 1, 2, 1],
                layer_scale_init_value=0.5,
                initializer_range=0.2,
                **more,
            )
        ),
        32,
        1,
    ),
    "vit": (lambda more: ViTModel(ViTConfig(**SIZES, **more)), 14, 1),
    "vit_classifier": (lambda more: ViTForImageClassification(ViTConfig(**SIZES, **more)), 14, 1),
    "siglip_vision": (
        lambda more: SiglipVisionModel(SiglipVisionConfig(**siglip_sizes(), **more)),
        14,
        0,
    ),
    "siglip": (
        lambda more: SiglipModel(
            SiglipConfig(text_config=TEXT, vision_config={**siglip_sizes(), **more})
        ),
        14,
        0,
    ),
}


def siglip_sizes():
    """Return the sizes that a Siglip model knows."""
    return {name: value for name, value in SIZES.items() if name != "initializer_range"}


def saved_model(folder: Path, name: str, **more) -> Path:
    """Write one of `MODELS`, its weights larger than training would start with."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = MODELS[name][0](more)
        with torch.no_grad():
            for values in network.parameters():
                values.add_(torch.randn_like(values) * 0.05)
        network.save_pretrained(folder)
    return folder


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
