"""A small detector of random weights for coarse scans: for tests."""

from __future__ import annotations

from pathlib import Path

from tiny_sample import random_network

from parafovea.backbones import feature_channels
from parafovea.geometry.grid import Shape, Vector
from parafovea.models.folder import save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.settings.recipe import BackboneSpec, ModelSpec

#: A coarse scan of a whole chest, and the detector's voxels.
SHAPE: Shape = (40, 52, 68)
SPACING: Vector = (6.0, 4.0, 4.0)


def save_detector(folder: Path) -> ModelSpec:
    """Write a model folder of kind `detection` and return what it says."""
    channels = feature_channels(BackboneSpec(), dimensions=3)
    spec = ModelSpec.model_validate(
        {
            "kind": "detection",
            "unit": "millimeter",
            "spacing": SPACING,
            "normalization": {"method": "window", "low": -1000, "high": 400},
            "context": {"spacing": [12, 12, 12]},
            "network": {"base_channels": 4, "max_channels": 8},
            "classes": ["nodule"],
            "window": [16, 32, 32],
            "name": folder.name,
            "input_channels": channels + 1,
            "context_channels": channels,
            "weights_sha256": "0" * 64,
        }
    )
    save_model(folder, spec, random_network(FusedUNet.from_spec(spec)))
    return spec
