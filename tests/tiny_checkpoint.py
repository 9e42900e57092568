"""Small checkpoints as the upstream family's training writes them: for tests."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_sample import random_network
from torch import Tensor

from parafovea.models.networks.fused_unet import FusedUNet

WINDOW = (16, 16, 32)


def upstream_weights(
    *,
    channels: int = 32,
    classes: int = 3,
    context: int | None = None,
    upsampling: int | None = None,
    seed: int = 0,
) -> OrderedDict[str, Tensor]:
    """Return random weights of a network of the family, with base 4."""
    network = FusedUNet(
        channels,
        classes,
        base_channels=4,
        context_channels=context or 0,
        fusion="none" if context is None else "attention",
        learned_upsampling=upsampling,
    )
    return OrderedDict(random_network(network, seed).state_dict())


def upstream_content(weights: Mapping[str, Tensor], **changes: Any) -> dict[str, Any]:
    """Return a checkpoint's content; `changes` replace values of both configs, None deletes."""
    model_config = {
        "num_classes": int(weights["final_conv.weight"].shape[0]),
        "base_channels": 4,
        "input_size": WINDOW,
        "input_channels": 32,
        "model_id": "facebook/dinov3-vits16-pretrain-lvd1689m",
        "model_type": "dinov3_unet3d",
        "dinov3_slice_size": 32,
        "learn_upsampling": any("learned_upsample" in name for name in weights),
        "use_orthogonal_planes": True,
        "use_half_precision": False,
        "min_resolution_for_raw": 8,
        "base_resolution": 8,
        "use_context_fusion": "context_input_conv.weight" in weights,
        "context_scale": 32 if "context_input_conv.weight" in weights else None,
        "output_type": "labels",
        "affinity_offsets": None,
    }
    training_config = {
        "learning_rate": np.float64(1e-3),
        "use_orthogonal_planes": True,
        "use_context_fusion": model_config["use_context_fusion"],
        "context_scale": model_config["context_scale"],
        "dinov3_stride": None,
        "image_size": 32,
    }
    for name, value in changes.items():
        for config in (model_config, training_config):
            config.pop(name, None)
            if value is not None:
                config[name] = value
    return {
        "epoch": 7,
        "train_losses": [0.5, np.float64(0.25)],
        "class_weights": np.ones(3, np.float32),
        "training_config": training_config,
        "model_config": model_config,
        "unet3d_state_dict": OrderedDict(weights),
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []},
        "scheduler_state_dict": {"last_epoch": 7},
    }


def write_checkpoint(path: Path, content: Any) -> Path:
    """Write a checkpoint file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return path
