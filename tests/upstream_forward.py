"""The forward pass of the DINOv3UNet3D family, stated again from its table of layers.

Plain functions over a dictionary of tensors: nothing of the package is used, so that agreement
with it means something.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def _conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv3d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def _norm(state: State, name: str, x: Tensor, kind: str) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    if kind == "batch":
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-5)
    place = (1, -1, 1, 1, 1)  # batch renormalization, evaluated: no r and no d
    normed = (x - mean.view(place)) / torch.sqrt(var + 1e-5).view(place)
    return weight.view(place) * normed + bias.view(place)


def _block(state: State, name: str, x: Tensor, kind: str) -> Tensor:
    for first in (0, 3):
        x = _conv(state, f"{name}.{first}", x)
        x = F.relu(_norm(state, f"{name}.{first + 1}", x, kind))
    return x


def _fused(state: State, name: str, raw: Tensor, context: Tensor, kind: str) -> Tensor:
    hidden = _conv(state, f"{name}.context_proj.0", context)
    hidden = F.relu(_norm(state, f"{name}.context_proj.1", hidden, kind))
    attention = torch.sigmoid(_conv(state, f"{name}.context_proj.3", hidden))
    return raw + _conv(state, f"{name}.raw_proj", raw) * attention


def _upsampled(
    state: State, x: Tensor, factor: int | None, size: tuple[int, ...], kind: str
) -> Tensor:
    if factor is None:
        return x
    index = 0
    for _ in range({2: 1, 4: 2, 8: 3}[factor]):
        name = f"learned_upsample.{index}"
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        x = F.conv_transpose3d(x, weight, bias, stride=2, padding=1)
        x = F.relu(_norm(state, f"learned_upsample.{index + 1}", x, kind))
        index += 3
    x = _conv(state, f"learned_upsample.{index}", x)
    if tuple(x.shape[2:]) != size:
        x = F.interpolate(x, size=size, mode="trilinear", align_corners=False)
    return x


def upstream_forward(
    state: State,
    features: Tensor,
    context: Tensor | None = None,
    *,
    size: tuple[int, ...],
    upsampling: int | None = None,
    norm: str = "batch",
) -> Tensor:
    """Return logits (N, class, z, y, x) of evaluation mode, where dropout does nothing."""
    x = _upsampled(state, _conv(state, "input_conv", features), upsampling, size, norm)
    wide = None
    if context is not None:
        wide = _conv(state, "context_input_conv", context)
        wide = _upsampled(state, wide, upsampling, size, norm)
    skips = []
    for level in range(1, 5):
        x = _block(state, f"enc{level}", x, norm)
        skip = x
        if wide is not None:
            guide = _conv(state, f"context_proj{level}", wide)
            skip = _fused(state, f"context_fusion{level}", x, guide, norm)
            wide = F.avg_pool3d(wide, 2)
        skips.append(skip)
        x = F.max_pool3d(x, 2)
    x = _block(state, "bottleneck", x, norm)
    for level in range(4, 0, -1):
        x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        x = _block(state, f"dec{level}", torch.cat([x, skips[level - 1]], dim=1), norm)
    return _conv(state, "final_conv", x)
