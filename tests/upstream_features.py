"""Features of the upstream family, stated again plane by plane: nothing of the package is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.transform import resize
from torch.nn import functional as F
from transformers import DINOv3ViTModel

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def stated(folder: Path, volume: np.ndarray[Any, Any], planes: str, size: int) -> torch.Tensor:
    """Features (channel, z, y, x) at full resolution, plane by plane in plain words of torch."""
    network = DINOv3ViTModel.from_pretrained(folder).eval()

    def tokens_of(plane: np.ndarray[Any, Any]) -> torch.Tensor:
        square = resize(plane, (size, size), preserve_range=True, anti_aliasing=True)
        square = square.astype(plane.dtype)
        span = square.max() - square.min() + 1e-8
        grey = ((square - square.min()) / span * 255).astype(np.uint8)
        image = torch.from_numpy(grey).float().expand(1, 3, -1, -1) / 255
        with torch.inference_mode():
            states = network(pixel_values=(image - MEAN) / DEVIATION).last_hidden_state
        rows = size // 16
        patches = states[0, 5:].T.reshape(1, -1, rows, rows)
        return F.interpolate(patches, size=plane.shape, mode="bilinear", align_corners=False)[0]

    views = {
        "xy": lambda: torch.stack([tokens_of(p) for p in volume], dim=1),
        "xz": lambda: torch.stack([tokens_of(volume[:, i]) for i in range(volume.shape[1])], dim=2),
        "yz": lambda: torch.stack([tokens_of(p) for p in np.moveaxis(volume, 2, 0)], dim=3),
    }
    return torch.stack([views[plane]() for plane in planes.split("+")]).mean(dim=0)
